r"""Simple likelihood, complex posterior: four draws of a normal in the plane, whose posterior has four modes. No units.

    x_1, ..., x_4 ~ N(m, S),  m = (t1, t2),  S = [[s1², rho s1 s2], [rho s1 s2, s2²]],  s1 = t3²,  s2 = t4²,  rho = tanh(t5)

with theta = (t1, ..., t5). The squares forget the signs of t3 and t4.

References:
    Papamakarios, Sterratt & Murray (2019), Sequential Neural Likelihood, https://arxiv.org/abs/1805.07226
    Lueckmann, Boelts, Greenberg, Gonçalves & Macke (2021), Benchmarking Simulation-Based Inference, https://arxiv.org/abs/2101.04653
"""

import numpy as np

DRAWS = 4


def simulate(theta, *, rng):
    """theta: array (N, 5). Returns {"x": (N, 8)}, the draws one after the other."""
    noise = rng.standard_normal((len(theta), DRAWS, 2))
    points = theta[:, None, :2] + np.einsum("nij,nmj->nmi", root(theta), noise)
    return {"x": points.reshape(len(theta), -1)}


def root(theta):
    """Lower Cholesky factor of S, (N, 2, 2)."""
    s1, s2, rho = theta[:, 2] ** 2, theta[:, 3] ** 2, np.tanh(theta[:, 4])
    rest = 1 / np.cosh(theta[:, 4])  # sqrt(1 - rho²), exact also where rho rounds to 1
    return np.stack([np.stack([s1, np.zeros_like(s1)], -1), np.stack([rho * s2, rest * s2], -1)], 1)


def log_likelihood(x, theta):
    """log p(x | theta): x (8,), theta (N, 5). Returns (N,)."""
    factor = root(theta)
    points = x.reshape(DRAWS, 2) - theta[:, None, :2]
    first = points[..., 0] / factor[:, 0, 0, None]
    second = (points[..., 1] - factor[:, 1, 0, None] * first) / factor[:, 1, 1, None]
    return -DRAWS * np.log(2 * np.pi * factor[:, 0, 0] * factor[:, 1, 1]) - 0.5 * (first**2 + second**2).sum(-1)


def show(x, ax):
    """Marks the four points."""
    ax.plot(x["x"][0::2], x["x"][1::2], "o")
    ax.set(xlabel="first coordinate", ylabel="second coordinate")
