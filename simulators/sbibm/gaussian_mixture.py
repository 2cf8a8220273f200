"""Gaussian mixture: one mean seen through a wide or a narrow normal, half and half. No units.

    x ~ N(theta, I) / 2 + N(theta, 0.01 I) / 2;
    under the prior U(-10, 10)^2 the posterior is the same mixture about x within the box

References:
    Sisson, Fan & Tanaka (2007), https://doi.org/10.1073/pnas.0607208104
    Lueckmann, Boelts, Greenberg, Gonçalves & Macke (2021), Benchmarking Simulation-Based Inference,
    https://arxiv.org/abs/2101.04653
"""

import numpy as np

SDS = (1.0, 0.1)
BOUND = 10.0  # of the prior in the YAML, on which `posterior` relies


def simulate(theta, *, rng):
    """theta: array (N, D). Returns {"x": (N, D)}."""
    sd = rng.choice(SDS, len(theta))
    return {"x": theta + sd[:, None] * rng.standard_normal(theta.shape)}


def log_likelihood(x, *, theta):
    """log p(x | theta) by torch: x {"x": (D,)}, theta (N, D). Returns (N,)."""
    import torch

    square, d = ((x["x"] - theta) ** 2).sum(-1), theta.shape[-1]
    each = [-0.5 * square / sd**2 - d * np.log(sd) for sd in SDS]
    return torch.logsumexp(torch.stack(each), 0) - np.log(len(SDS)) - 0.5 * d * np.log(2 * np.pi)


def posterior(x, n, rng):
    """Exact draws (n, D) given one data set; those of a mixture that fall outside the box are
    refused.

    Refusing draws of the whole mixture leaves each part the share that it has within the box.
    """
    kept = np.empty((0, x["x"].size))
    while len(kept) < n:
        theta = x["x"] + rng.choice(SDS, (n, 1)) * rng.standard_normal((n, x["x"].size))
        kept = np.concatenate([kept, theta[(np.abs(theta) <= BOUND).all(1)]])
    return kept[:n]
