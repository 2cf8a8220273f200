"""What data say of z at a glance: ridge regression on statistics, for test quantities that a posterior equal to the prior fails.

References:
    Hoerl, Kennard 1970, Ridge regression, https://doi.org/10.1080/00401706.1970.10488634.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PENALTIES = 10.0 ** np.arange(-4, 7)


def ridge_prediction(numbers: np.ndarray, z: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A prediction of z from numbers.

    The penalty of each column of z is the one with the smallest generalised cross-validation error, so that numbers which say
    nothing predict about nothing.

    Args:
        numbers: Of N data sets, (N, K), on any scale.
        z: Unconstrained parameters of the same, (N, D), centred at 0 under the prior.

    Returns:
        Numbers (n, K) to the prediction (n, D).
    """
    centre, scale = np.median(numbers, axis=0), _scale(numbers)

    def design(rows: np.ndarray) -> np.ndarray:
        linear = np.arcsinh(
            (rows - centre) / scale
        )  # tails of heavy-tailed statistics do not rule the fit
        return np.hstack([linear, linear**2, np.ones((len(rows), 1))])

    weights = _ridge(design(numbers), np.where(np.isfinite(z), z, 0.0))
    return lambda rows: design(rows) @ weights


def _scale(numbers: np.ndarray) -> np.ndarray:
    low, high = np.percentile(numbers, [16, 84], axis=0)
    spread = np.where(high > low, (high - low) / 2, numbers.std(axis=0))
    return np.where(spread > 0, spread, 1.0)


def _ridge(design: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Weights (K, D) with the penalty of least generalised cross-validation error for each column."""
    u, values, v = np.linalg.svd(design, full_matrices=False)
    projected, n = u.T @ z, len(z)
    best, lowest = np.zeros((design.shape[1], z.shape[1])), np.full(z.shape[1], np.inf)
    for penalty in PENALTIES:
        kept = values**2 / (values**2 + penalty)
        residual = ((z - u @ (kept[:, None] * projected)) ** 2).sum(axis=0)
        error = residual / max(1e-9, 1 - kept.sum() / n) ** 2
        weights = v.T @ ((values / (values**2 + penalty))[:, None] * projected)
        better = error < lowest
        best[:, better], lowest[better] = weights[:, better], error[better]
    return best
