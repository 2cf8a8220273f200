"""What data say of z at a glance: ridge regression on statistics.

For test quantities that a posterior equal to the prior fails.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sbiwb.ridge import ridge


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
    weights = ridge(_design(numbers, centre, scale), np.where(np.isfinite(z), z, 0.0)).weights
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
