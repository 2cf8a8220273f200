"""How far data sets lie from the training simulations of a space; see `misspecification`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbiwb.diagnostics._ruler import Ruler, gaussian_kernel
from sbiwb.diagnostics._statistics import tail
from sbiwb.evidence import FeatureSpace

MIN_SIMULATIONS = 20  # in training and in test
SETS = 1_000  # sets of simulations
ROUNDING = 1e-6  # of features in float32, relative


@dataclass(frozen=True)
class Distances:
    """How far M data sets lie from the training simulations.

    Args:
        p: Probability that a simulation lies as far or farther, (M,); NaN where a data set is not
            finite.
        mahalanobis: (M,).
        mmd2: Squared maximum mean discrepancy of each data set alone, (M,).
        usual_mahalanobis: Of N test simulations, (N,).
        usual_mmd2: The same, (N,).
    """

    p: np.ndarray
    mahalanobis: np.ndarray
    mmd2: np.ndarray
    usual_mahalanobis: np.ndarray
    usual_mmd2: np.ndarray


def distances(space: FeatureSpace) -> Distances:
    """How far each real data set of a space lies from its training simulations.

    For use where one observation is at hand.

    Raises:
        ValueError: `trouble_of(space)` is not None.
    """
    trouble = trouble_of(space)
    if trouble:
        raise ValueError(trouble)
    return distances_by(Ruler.of(space.train), space)


def trouble_of(space: FeatureSpace) -> str | None:
    """Why no data set of this space can be judged, or None."""
    if not len(space.observed):
        return "there is no real data set to compare"
    if not space.columns:
        return "the space has no columns"
    train, test = len(space.train), len(space.test)
    if min(train, test) < MIN_SIMULATIONS:
        return f"{train} training and {test} test simulations: judging needs hundreds"
    bad = _bad_rows(space.train) + _bad_rows(space.test)
    if bad:
        return f"{bad} simulations are not finite"
    return None


def _bad_rows(rows: np.ndarray) -> int:
    return int((~np.isfinite(rows)).any(axis=1).sum())


def distances_by(ruler: Ruler, space: FeatureSpace) -> Distances:
    """How far each real data set lies, by a ruler of the training simulations."""
    finite = np.isfinite(space.observed).all(axis=1)
    usual = _measures(ruler, ruler(space.test))
    real = _measures(ruler, ruler(space.observed[finite]))
    p = np.full(len(finite), np.nan)
    measured = np.full((len(finite), 2), np.nan)
    p[finite] = _joint_p(usual, real)
    measured[finite] = real
    inside = ruler.mean_kernel_inside(ruler.narrow)
    return Distances(p, measured[:, 0], measured[:, 1] + inside, usual[:, 0], usual[:, 1] + inside)


def _measures(ruler: Ruler, unit: np.ndarray) -> np.ndarray:
    """Mahalanobis distance, and MMD² but for its constant, of each data set alone, (n, 2)."""
    mmd2 = 1 - 2 * ruler.mean_kernel(unit, ruler.narrow)
    return np.stack([ruler.mahalanobis(unit), mmd2], axis=1)


def _joint_p(usual: np.ndarray, real: np.ndarray) -> np.ndarray:
    """One exact p-value a data set (M,) from two measures.

    Args:
        usual: Of simulations, (N, 2).
        real: Of real data, (M, 2).
    """
    real = _with_ties(usual, real)
    p = np.array([_pooled_p(np.vstack([usual, row])) for row in real])
    tails = np.stack([tail(usual[:, j], real[:, j]) for j in range(2)])
    return np.minimum(p, 2 * tails.min(axis=0))


def _with_ties(usual: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Real measures (M, 2), each that of the nearest simulation where but rounding parts them.

    A network's features of one data set differ in the last bits from those of the same data in a
    batch; where the data are 0 or 1 the equal half of all simulations would count as nearer.
    """
    tied = real.copy()
    for j, column in enumerate(np.sort(usual, axis=0).T):
        right = np.searchsorted(column, real[:, j]).clip(1, len(column) - 1)
        left = right - 1
        is_left = real[:, j] - column[left] < column[right] - real[:, j]
        nearest = column[np.where(is_left, left, right)]
        is_tie = np.isclose(real[:, j], nearest, rtol=ROUNDING, atol=0)
        tied[is_tie, j] = nearest[is_tie]
    return tied


def _pooled_p(pool: np.ndarray) -> float:
    """Share of rows (N + 1, 2) whose more extreme rank is as extreme as that of the last."""
    below = [np.searchsorted(np.sort(column), column, side="left") for column in pool.T]
    extreme = (len(pool) - np.stack(below)).min(axis=0)
    return (extreme <= extreme[-1]).mean()


@dataclass(frozen=True)
class SetMeasure:
    """MMD² of sets, by a kernel of N test simulations (N, N) and their mean kernels (N,)."""

    ruler: Ruler
    kernel: np.ndarray
    near: np.ndarray
    inside: float

    @classmethod
    def of(cls, ruler: Ruler, test: np.ndarray) -> SetMeasure:
        kernel = gaussian_kernel(test, test, ruler.wide)
        near = ruler.mean_kernel(test, ruler.wide)
        return cls(ruler, kernel, near, ruler.mean_kernel_inside(ruler.wide))

    def of_real(self, unit: np.ndarray) -> float:
        """But for the constant `inside`, of standardised rows (M, K)."""
        own = gaussian_kernel(unit, unit, self.ruler.wide).mean()
        return own - 2 * self.ruler.mean_kernel(unit, self.ruler.wide).mean()

    def usual(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """The same of sets of simulations, (SETS,)."""
        values = np.empty(SETS)
        for number in range(SETS):
            rows = rng.choice(len(self.near), members, replace=False)
            values[number] = self.kernel[np.ix_(rows, rows)].mean() - 2 * self.near[rows].mean()
        return values
