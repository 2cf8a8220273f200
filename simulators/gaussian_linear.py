"""Gaussian linear: ten means seen once each, with normal noise; the posterior is known. No units.

    x = theta + e,   e ~ N(0, s² I),   and under the prior theta ~ N(0, s² I):
    theta | x ~ N(x / 2, s² / 2 I),   s² = 0.1

References:
    Lueckmann, Boelts, Greenberg, Gonçalves & Macke (2021), Benchmarking Simulation-Based Inference,
    https://arxiv.org/abs/2101.04653
"""

import numpy as np

VARIANCE = 0.1  # of the noise, and of the prior in the YAML, on which `posterior` relies


def simulate(theta, *, rng):
    """theta: array (N, D). Returns {"x": (N, D)}."""
    return {"x": theta + np.sqrt(VARIANCE) * rng.standard_normal(theta.shape)}


def log_likelihood(x, *, theta):
    """log p(x | theta) by torch: x {"x": (D,)}, theta (N, D). Returns (N,)."""
    return -0.5 * ((x["x"] - theta) ** 2).sum(-1) / VARIANCE - 0.5 * theta.shape[-1] * np.log(
        2 * np.pi * VARIANCE
    )


def posterior(x, n, rng):
    """Exact draws (n, D) given one data set, under a prior of the noise's variance."""
    return x["x"] / 2 + np.sqrt(VARIANCE / 2) * rng.standard_normal((n, x["x"].size))
