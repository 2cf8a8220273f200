"""Gaussian linear with a uniform prior: ten means in a box, seen once each with normal noise.

No units.

    x = theta + e,   e ~ N(0, 0.1 I);
    under the prior U(-1, 1)^10 the posterior is N(x, 0.1 I) within the box

References:
    Lueckmann, Boelts, Greenberg, Gonçalves & Macke (2021), Benchmarking Simulation-Based Inference,
    https://arxiv.org/abs/2101.04653
"""

import numpy as np
from scipy.special import ndtr, ndtri

VARIANCE = 0.1
BOUND = 1.0  # of the prior in the YAML, on which `posterior` relies


def simulate(theta, *, rng):
    """theta: array (N, D). Returns {"x": (N, D)}."""
    return {"x": theta + np.sqrt(VARIANCE) * rng.standard_normal(theta.shape)}


def log_likelihood(x, *, theta):
    """log p(x | theta) by torch: x {"x": (D,)}, theta (N, D). Returns (N,)."""
    return -0.5 * ((x["x"] - theta) ** 2).sum(-1) / VARIANCE - 0.5 * theta.shape[-1] * np.log(
        2 * np.pi * VARIANCE
    )


def posterior(x, n, rng):
    """Exact draws (n, D) given one data set: a normal within the box, column by column."""
    sd = np.sqrt(VARIANCE)
    low, high = ndtr((-BOUND - x["x"]) / sd), ndtr((BOUND - x["x"]) / sd)
    return x["x"] + sd * ndtri(low + (high - low) * rng.random((n, x["x"].size)))
