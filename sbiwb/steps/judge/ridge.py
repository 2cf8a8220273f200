"""What data say of z at a glance: ridge regression on statistics.

For test quantities that a posterior equal to the prior fails.

References:
    Hoerl, Kennard 1970, Ridge regression, https://doi.org/10.1080/00401706.1970.10488634.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PENALTIES = 10.0 ** np.arange(-4, 7)
MIN_FREEDOM = 1e-9  # share of degrees of freedom that a fit leaves at least


def ridge_prediction(numbers: np.ndarray, z: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A prediction of z from numbers.

    The penalty of each column of z is the one with the smallest generalised cross-validation error,
    so that numbers which say nothing predict about nothing.

    Args:
        numbers: Of N data sets, (N, K), on any scale.
        z: Unconstrained parameters of the same, (N, D), centred at 0 under the prior.

    Returns:
        Numbers (n, K) to the prediction (n, D).
    """
    centre = np.median(numbers, axis=0)
    scale = _scale(numbers)
    weights = _ridge(_design(numbers, centre, scale), np.where(np.isfinite(z), z, 0.0))
    return lambda rows: _design(rows, centre, scale) @ weights


def _design(rows: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Terms of the regression, (n, 2 K + 1); tails of heavy-tailed statistics do not rule it."""
    linear = np.arcsinh((rows - centre) / scale)
    return np.hstack([linear, linear**2, np.ones((len(rows), 1))])


def _scale(numbers: np.ndarray) -> np.ndarray:
    """A robust sd of each column, (K,); 1 where it is constant."""
    low, high = np.percentile(numbers, [16, 84], axis=0)
    spread = np.where(high > low, (high - low) / 2, numbers.std(axis=0))
    return np.where(spread > 0, spread, 1.0)


def _ridge(design: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Weights (K, D), each column with its penalty of least generalised cross-validation error."""
    u, values, v = np.linalg.svd(design, full_matrices=False)
    projected = u.T @ z
    best = np.zeros((design.shape[1], z.shape[1]))
    lowest = np.full(z.shape[1], np.inf)
    for penalty in PENALTIES:
        kept = values**2 / (values**2 + penalty)
        residual = ((z - u @ (kept[:, None] * projected)) ** 2).sum(axis=0)
        error = residual / max(MIN_FREEDOM, 1 - kept.sum() / len(z)) ** 2
        weights = v.T @ ((values / (values**2 + penalty))[:, None] * projected)
        better = error < lowest
        best[:, better] = weights[:, better]
        lowest[better] = error[better]
    return best
