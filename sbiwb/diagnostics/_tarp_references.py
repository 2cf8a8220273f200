"""Reference points of TARP, and where they come from; see `tarp`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbiwb.evidence import Draws
from sbiwb.seeds import generator

PRIOR, DATA = "tarp_prior", "tarp_data"
MIN_REST = 0.01  # of the prior's variance, that h leaves at least


@dataclass(frozen=True)
class References:
    """Reference points of one kind.

    Args:
        kind: Its name.
        points: (N, D), unconstrained.
        scale: Unit of distance in each dimension, (D,).
    """

    kind: str
    points: np.ndarray
    scale: np.ndarray

    def distances(self, z: np.ndarray, rows: slice) -> np.ndarray:
        """Squared distances of z (n, S, D) to the references of these rows, (n, S).

        Infinite where z is not finite.
        """
        with np.errstate(all="ignore"):
            gap = (z - self.points[rows, None]) / self.scale
            squared = np.einsum("nsd,nsd->ns", gap, gap)
        squared[~np.isfinite(squared)] = np.inf
        return squared


def kinds_of(draws: Draws) -> tuple[str, ...]:
    """References that can be had; both take their scale from the prior."""
    if draws.prior_draws is None:
        return ()
    if draws.ridge_prediction is None:
        return (PRIOR,)
    return PRIOR, DATA


def prior_z(draws: Draws) -> np.ndarray:
    """z of draws from the prior, (R, D).

    Parameters of the test pairs would not do: no reference may depend on a truth.
    """
    if draws.prior_draws is None:
        return np.zeros((0, len(draws.names)))
    z = unconstrained(draws, draws.prior_draws)
    return z[np.isfinite(z).all(axis=1)]


def unconstrained(draws: Draws, theta: np.ndarray) -> np.ndarray:
    """z of theta (..., D)."""
    rows = np.asarray(theta, float)
    if draws.unconstrain is None:
        return rows
    with np.errstate(all="ignore"):
        return draws.unconstrain(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape)


def references_of(draws: Draws, prior: np.ndarray) -> list[References]:
    """Every kind that can be had."""
    rng = generator(draws.seed, "ranks", 4)
    rows = rng.choice(len(prior), draws.n, replace=len(prior) < draws.n)
    references = [References(PRIOR, prior[rows], _spread(prior))]
    if draws.ridge_prediction is not None:
        references.append(_near_the_data(draws.ridge_prediction, prior, draws.seed))
    return references


def _near_the_data(prediction: np.ndarray, prior: np.ndarray, seed: int) -> References:
    """References around what the data alone say of z, h(x) (N, D)."""
    wide = _spread(prior)
    left = np.maximum(wide**2 - _spread(prediction) ** 2, MIN_REST * wide**2)
    spread = np.sqrt(left)
    noise = generator(seed, "ranks", 5).standard_normal(prediction.shape)
    return References(DATA, np.median(prior, axis=0) + prediction + spread * noise, spread)


def _spread(z: np.ndarray) -> np.ndarray:
    """Half the distance between the 16 and 84 % quantiles of z (n, D), (D,).

    It is the sd where z is normal, and finite where tails are heavy.
    """
    low, high = np.quantile(z, [0.16, 0.84], axis=0)
    spread = np.where(high > low, (high - low) / 2, np.ptp(z, axis=0))
    return np.where(spread > 0, spread, 1.0)
