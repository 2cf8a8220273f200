"""A straight line through 20 noisy points, for data that are a sine: the linear regression of a
teaching notebook.

No units.

    y_i = intercept + slope u_i + 0.1 e_i,   e_i ~ N(0, 1),   weights ~ N(0, I)

at fixed places u_1 .. u_20, uniform draws on [-3, 3] of numpy's old generator with seed 42. With X
= (1, u), prior precision 1 and noise precision 100 the posterior is normal (Bishop 2006, Pattern
Recognition and Machine Learning, section 3.3):

    covariance C = (I + 100 X'X)^-1,   mean 100 C X'y

configs/sine_line.csv is y = sin u + 0.1 e with the next 20 numbers of the same generator: no line,
and the posterior does not know it.
"""

import numpy as np

NOISE = 0.1
PLACES = np.random.RandomState(42).uniform(-3, 3, 20)
DESIGN = np.stack([np.ones_like(PLACES), PLACES], axis=1)
COVARIANCE = np.linalg.inv(np.eye(2) + DESIGN.T @ DESIGN / NOISE**2)


def sine():
    """The notebook's data, (20,): sin u with noise."""
    random = np.random.RandomState(42)
    return np.sin(random.uniform(-3, 3, 20)) + NOISE * random.randn(20)


def simulate(intercept, slope, *, rng):
    """intercept, slope: arrays (N,). Returns {"y": (N, 20)}."""
    return {
        "y": intercept[:, None]
        + slope[:, None] * PLACES
        + NOISE * rng.standard_normal((len(slope), len(PLACES)))
    }


def log_likelihood(x, *, intercept, slope):
    """log p(y | intercept, slope) by torch: x {"y": (20,)}, intercept and slope (N,).

    Returns (N,).
    """
    rest = (x["y"] - intercept[:, None] - slope[:, None] * x["y"].new_tensor(PLACES)) / NOISE
    return -0.5 * (rest**2).sum(-1) - 0.5 * len(PLACES) * np.log(2 * np.pi * NOISE**2)


def mean(x):
    """Posterior mean (2,) of (intercept, slope) given one data set."""
    return COVARIANCE @ DESIGN.T @ x["y"] / NOISE**2


def posterior(x, n, rng):
    """Exact draws (n, 2) given one data set."""
    return rng.multivariate_normal(mean(x), COVARIANCE, size=n)


def show(x, ax):
    """Draws the points."""
    ax.plot(PLACES, x["y"], "o", ms=4)
    ax.set(xlabel="u", ylabel="y")
