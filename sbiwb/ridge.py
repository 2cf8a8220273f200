"""Ridge regression whose penalty is chosen by generalised cross-validation.

References:
    Hoerl, Kennard 1970, Ridge regression, https://doi.org/10.1080/00401706.1970.10488634.
    Golub, Heath, Wahba 1979, Generalized cross-validation as a method for choosing a good ridge
    parameter, https://doi.org/10.1080/00401706.1979.10489751.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PENALTIES = 10.0 ** np.arange(-4, 7)
MIN_FREEDOM = 1e-9  # share of degrees of freedom that a fit leaves at least


@dataclass(frozen=True)
class RidgeFit:
    """Weights, and what they leave.

    Args:
        weights: (K, D).
        residual: Of the N rows, (N, D).
        freedom: Share of the degrees of freedom that each column's fit leaves, (D,).
    """

    weights: np.ndarray
    residual: np.ndarray
    freedom: np.ndarray

    def covariance(self) -> np.ndarray:
        """Of the residual, (D, D), as new rows would have it."""
        apart = self.residual / self.freedom  # whose mean square is the cross-validated error
        return apart.T @ apart / len(apart)


def ridge(design: np.ndarray, targets: np.ndarray) -> RidgeFit:
    """Each column of the targets with its penalty of least generalised cross-validation error.

    Args:
        design: (N, K).
        targets: (N, D).
    """
    u, values, v = np.linalg.svd(design, full_matrices=False)
    projected = u.T @ targets
    weights = np.zeros((design.shape[1], targets.shape[1]))
    residual, freedom = targets.copy(), np.ones(targets.shape[1])
    lowest = np.full(targets.shape[1], np.inf)
    for penalty in PENALTIES:
        kept = values**2 / (values**2 + penalty)
        left = targets - u @ (kept[:, None] * projected)
        free = max(MIN_FREEDOM, 1 - kept.sum() / len(targets))
        error = (left**2).sum(axis=0) / free**2
        better = error < lowest
        scaled = (values / (values**2 + penalty))[:, None] * projected[:, better]
        weights[:, better], residual[:, better] = v.T @ scaled, left[:, better]
        freedom[better], lowest[better] = free, error[better]
    return RidgeFit(weights, residual, freedom)
