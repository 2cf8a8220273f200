r"""A network with one hidden layer through noisy points of a sine: the Bayesian neural network of a
teaching notebook.

No units.

    y_i = f(u_i) + noise e_i,   f(u) = sum_h v_h tanh(a_h u + b_h) + c,
    weights = (a, b, v, c) ~ N(0, I)

with `hidden` units, so 3 `hidden` + 1 weights. The places u are the first `points` uniform draws on
[-3, 3] of numpy's old generator with seed 42; with 20 of them, configs/sine_network.csv are the
data of `sine_line`.

The weights are not identified: units may change places, and tanh(-x) = -tanh(x) lets any unit
change the signs of a, b and v. Every posterior has 2^hidden hidden! copies of each mode. Curves are
what can be compared.

References:
    Neal 1996, Bayesian Learning for Neural Networks, https://doi.org/10.1007/978-1-4612-0745-0
"""

import numpy as np

SPAN = 3.0


def places(points):
    """Where the curve is seen, (points,)."""
    return np.random.RandomState(42).uniform(-SPAN, SPAN, points)


def sine(points, noise):
    """sin u with noise at those places, (points,)."""
    random = np.random.RandomState(42)
    return np.sin(random.uniform(-SPAN, SPAN, points)) + noise * random.randn(points)


def curve(weights, at):
    """f at places (M,) of weights (N, 3 H + 1), both arrays or both tensors; returns (N, M)."""
    hidden = (weights.shape[1] - 1) // 3
    a, b, v = (weights[:, part * hidden : (part + 1) * hidden, None] for part in range(3))
    inside = a * at + b
    units = inside.tanh() if hasattr(inside, "tanh") else np.tanh(inside)
    return (v * units).sum(1) + weights[:, -1:]


def simulate(weights, *, rng, points, hidden, noise):
    """weights: array (N, 3 hidden + 1). Returns {"y": (N, points)}."""
    if weights.shape[1] != 3 * hidden + 1:
        raise ValueError(
            f"{hidden} hidden units have {3 * hidden + 1} weights, not {weights.shape[1]}"
        )
    return {
        "y": curve(weights, places(points)) + noise * rng.standard_normal((len(weights), points))
    }


def log_likelihood(x, *, weights, noise):
    """log p(y | weights) by torch: x {"y": (points,)}, weights (N, D). Returns (N,)."""
    y = x["y"]
    rest = (y - curve(weights, y.new_tensor(places(len(y))))) / noise
    return -0.5 * (rest**2).sum(-1) - 0.5 * len(y) * np.log(2 * np.pi * noise**2)


def show(x, ax):
    """Draws the points."""
    ax.plot(places(len(x["y"])), x["y"], "o", ms=4)
    ax.set(xlabel="u", ylabel="y")
