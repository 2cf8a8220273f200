"""Whether members or numbers that stand side by side resemble each other: series, or set?

A permutation test. Its statistic is the mean correlation of neighbours, over data sets and
channels; under exchangeability it is as large after any permutation of the members of each set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sbiwb.records import Ragged, Variable, as_ragged
from sbiwb.seeds import generator

PERMUTATIONS = 199
MAX_SETS = 200  # that are looked at
MAX_MEMBERS = 200  # of each
MIN_MEMBERS = 4  # of a set that says anything of neighbours
LEVEL = 0.01
SEED = 0  # the same answer on every machine


@dataclass(frozen=True)
class Resemblance:
    """Of neighbours.

    Args:
        correlation: Their mean correlation.
        p: Of exchangeable members.
    """

    correlation: float
    p: float

    @property
    def is_ordered(self) -> bool:
        """Whether the order of the members tells something."""
        return self.p <= LEVEL


def of_members(variable: Variable) -> Resemblance:
    """The members of each data set, of N sets (M, *item) or `Ragged`."""
    ragged = as_ragged(variable)
    sets = [_centred(values) for values in _first_members(ragged) if len(values) >= MIN_MEMBERS]
    rng = generator(SEED, "neighbours")
    return _tested(
        sum(map(_neighbours, sets)),
        [sum(_neighbours(rng.permutation(one)) for one in sets) for _ in range(PERMUTATIONS)],
        sum(float((one**2).sum()) for one in sets),
    )


def of_columns(values: np.ndarray) -> Resemblance:
    """The columns of N fixed lists of numbers (N, C), by their ranks among the lists.

    Columns of other scales and places are then alike, and what is left is whether those side by
    side move together.
    """
    from scipy.stats import rankdata

    known = values[:, ~np.isnan(values).all(axis=0)]
    complete = np.where(np.isnan(known), np.nanmedian(known, axis=0), known)
    varying = complete[:, np.ptp(complete, axis=0) > 0]
    if varying.shape[1] < MIN_MEMBERS:
        return Resemblance(0.0, 1.0)
    correlations = np.corrcoef(rankdata(varying, axis=0), rowvar=False)
    rng = generator(SEED, "neighbours")
    count = len(correlations)
    permuted = []
    for _ in range(PERMUTATIONS):
        order = rng.permutation(count)
        permuted.append(float(np.diag(correlations[np.ix_(order, order)], 1).sum()))
    return _tested(float(np.diag(correlations, 1).sum()), permuted, count - 1.0)


def _first_members(ragged: Ragged) -> Iterator[np.ndarray]:
    for row in range(min(len(ragged), MAX_SETS)):
        values = np.asarray(ragged[row][:MAX_MEMBERS], np.float64)
        yield values.reshape(len(values), -1)


def _centred(values: np.ndarray) -> np.ndarray:
    """Ranks of the members (M, C), centred and of one scale: tails must not decide."""
    from scipy.stats import rankdata

    ranks = rankdata(np.nan_to_num(values, nan=0.0), axis=0)
    return (ranks - ranks.mean(axis=0)) / len(values)


def _neighbours(values: np.ndarray) -> float:
    return float((values[:-1] * values[1:]).sum())


def _tested(statistic: float, permuted: list[float], scale: float) -> Resemblance:
    """Two-sided: neighbours may also avoid each other."""
    if not scale:
        return Resemblance(0.0, 1.0)
    centre = float(np.median(permuted))
    distances = np.abs(np.array(permuted) - centre)
    p = (1 + int((distances >= abs(statistic - centre)).sum())) / (1 + len(permuted))
    return Resemblance(statistic / scale, p)
