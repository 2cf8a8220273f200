"""Whether members or numbers that stand side by side resemble each other: series, or set?

A permutation test. Its statistic is the squared correlation of neighbours in a data set, in the
mean over data sets: squared, for a process may as well alternate, and which it does may depend on
theta. Without order it is as large after a permutation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.records import Variable, as_ragged
from sbiwb.seeds import generator

PERMUTATIONS = 199
MAX_SETS = 300  # that are looked at
MAX_MEMBERS = 200  # of each
MIN_MEMBERS = 4  # of a set that says anything of neighbours
LEVEL = 0.01
SEED = 0  # the same answer on every machine

Sets = list[np.ndarray]  # (M, C) each, centred


@dataclass(frozen=True)
class Resemblance:
    """Of neighbours.

    Args:
        correlation: Root of their mean squared correlation above that of any two members.
        p: Of no order.
    """

    correlation: float
    p: float

    @property
    def is_ordered(self) -> bool:
        """Whether the order of the members tells something."""
        return self.p <= LEVEL


def of_members(variable: Variable) -> Resemblance:
    """The members of each data set, of N sets (M, *item) or `Ragged`; each set is permuted by
    itself."""
    ragged = as_ragged(variable)
    sets = list[np.ndarray]()
    for row in range(min(len(ragged), MAX_SETS)):
        values = np.asarray(ragged[row][:MAX_MEMBERS], np.float64)
        if len(values) >= MIN_MEMBERS:
            sets.append(_ranked(values.reshape(len(values), -1)))
    rng = generator(SEED, "neighbours")
    others = [
        _strength([rng.permutation(members) for members in sets]) for _ in range(PERMUTATIONS)
    ]
    return _compared(_strength(sets), others)


def of_columns(values: np.ndarray) -> Resemblance:
    """The columns of N fixed lists of numbers (N, C), each by its ranks among the lists; all lists
    are permuted alike.

    Columns of other scales and places are then alike, and columns that belong together for other
    reasons than their place stay together whatever the order.
    """
    complete = _filled(values[: MAX_SETS * MIN_MEMBERS])
    varying = complete[:, np.ptp(complete, axis=0) > 0]
    if varying.shape[1] < MIN_MEMBERS:
        return Resemblance(0.0, 1.0)
    ranks = _ranked(varying)

    def strength(order: np.ndarray) -> float:
        return float(np.mean(_correlations(ranks[:, order]) ** 2))

    columns, rng = np.arange(ranks.shape[1]), generator(SEED, "neighbours")
    others = [strength(rng.permutation(columns)) for _ in range(PERMUTATIONS)]
    return _compared(strength(columns), others)


def _filled(values: np.ndarray) -> np.ndarray:
    """Medians in place of missing values; without columns that were never observed."""
    observed = values[:, ~np.isnan(values).all(axis=0)]
    return np.where(np.isnan(observed), np.nanmedian(observed, axis=0), observed)


def _ranked(values: np.ndarray) -> np.ndarray:
    """Ranks in each column, centred and of one scale: tails must not decide."""
    from scipy.stats import rankdata

    ranks = rankdata(_filled(values), axis=0)
    return (ranks - ranks.mean(axis=0)) / len(values)


def _compared(strength: float, others: Sequence[float]) -> Resemblance:
    p = (1 + sum(other >= strength for other in others)) / (1 + len(others))
    return Resemblance(math.sqrt(max(0.0, strength - float(np.mean(others)))), p)


def _strength(sets: Sets) -> float:
    """Mean over data sets of the squared correlation of neighbours; 0 of none."""
    squares = [float(_correlations(members.T).mean()) ** 2 for members in sets]
    return sum(squares) / max(1, len(squares))


def _correlations(rows: np.ndarray) -> np.ndarray:
    """The correlation of neighbours in each row of (N, M); 0 where all are one."""
    total = (rows**2).sum(axis=1)
    return (rows[:, :-1] * rows[:, 1:]).sum(axis=1) / np.where(total > 0, total, 1.0)
