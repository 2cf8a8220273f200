"""Bayesian linear regression on a set of pairs (u, y) of any size; the posterior is known.

No units.

    u ~ U(-3, 3),  y = intercept + slope u + noise_sd e,  e ~ N(0, 1)

Under independent priors N(0, prior_sd²) the posterior is normal, with precision A and mean m:

    A = I / prior_sd² + X'X / noise_sd²,   m = A^-1 X'y / noise_sd²,   X = (1, u)

so that n, the sums of u, u², y and uy, are all that a summary network has to learn.
"""

import numpy as np

SPAN = 3.0  # u lies between -SPAN and SPAN
NOISE_SD = 1.0
PRIOR_SD = 1.0  # as in the YAML, on which `posterior` relies


def simulate(intercept, slope, n_pairs, *, rng):
    """intercept, slope: arrays (N,). n_pairs: integers (N,).

    Returns {"u": N arrays (n_pairs,), "y": the same}.
    """
    sizes = np.asarray(n_pairs, int)
    padded = (len(sizes), sizes.max())
    u = rng.uniform(-SPAN, SPAN, padded)
    y = intercept[:, None] + slope[:, None] * u + NOISE_SD * rng.standard_normal(padded)
    return {"u": (u, sizes), "y": (y, sizes)}


def log_likelihood(x, *, intercept, slope):
    """log p(y | u, intercept, slope) by torch: x {"u": (n,), "y": (n,)}, intercept and slope (N,).

    Returns (N,).
    """
    rest = (x["y"] - intercept[:, None] - slope[:, None] * x["u"]) / NOISE_SD
    return -0.5 * (rest**2).sum(-1) - 0.5 * len(x["y"]) * np.log(2 * np.pi * NOISE_SD**2)


def exact(x):
    """Mean (2,) and covariance (2, 2) of the posterior of (intercept, slope) given one data set."""
    design = np.stack([np.ones_like(x["u"]), x["u"]], axis=1)
    covariance = np.linalg.inv(np.eye(2) / PRIOR_SD**2 + design.T @ design / NOISE_SD**2)
    return covariance @ design.T @ x["y"] / NOISE_SD**2, covariance


def posterior(x, n, rng):
    """Exact draws (n, 2) given one data set."""
    return rng.multivariate_normal(*exact(x), size=n)


def show(x, ax):
    """Draws the pairs."""
    ax.plot(x["u"], x["y"], "o", ms=4)
    ax.set(xlabel="u", ylabel="y")
