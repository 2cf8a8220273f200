"""Data drawn from a learned likelihood: members together, or step after step where each depends on
those before.

Shapes: S points theta, M members of a data set, C columns of a member, R rows of all.
"""

from __future__ import annotations

import numpy as np

from sbiwb.posterior import Posterior
from sbiwb.project.member_rows import MemberRows, TurnedPairs
from sbiwb.records import Columns, Ragged, Variable


def emulated(
    pairs: TurnedPairs,
    density: Posterior,
    given: Columns,
    sizes: np.ndarray,
    rng: np.random.Generator,
) -> MemberRows:
    """Members of S data sets.

    Args:
        pairs: How members are read.
        density: Of their columns.
        given: Parameters and context by name, S rows each.
        sizes: Members of each data set, (S,); 1 where all its numbers are one row.
        rng: Source of all random numbers.
    """
    rows = MemberRows(np.full((int(sizes.sum()), len(pairs.members.values)), np.nan), sizes)
    if pairs.members.structure.as_ in ("markov", "autoregressive"):
        steps = [np.flatnonzero(rows.step == t) for t in range(int(sizes.max(initial=0)))]
    else:
        steps = [np.arange(len(rows.values))]
    for chosen in steps:
        conditions = pairs.conditions(given, rows, chosen)  # sees the values of the steps before
        columns = density.sample(conditions, 1, rng)[:, 0]
        rows.values[chosen] = pairs.values(columns)
    return rows


def observables(pairs: TurnedPairs, rows: MemberRows) -> dict[str, Variable]:
    """Members as the simulator returns them: S rows of each observable."""
    members, start = pairs.members, 0
    x: dict[str, Variable] = {}
    for name in members.structure.sources(members.members_of):
        shape = tuple(members.shapes[name])
        width = _width(members.as_vector, members.structure.columns, shape)
        x[name] = _shaped(rows, rows.values[:, start : start + width], shape)
        start += width
    return x


def _width(as_vector: bool, columns: int | None, shape: tuple[int, ...]) -> int:
    """Columns that an observable of this shape has in a row."""
    if as_vector:
        return int(np.prod(shape))
    if columns is not None:
        return columns
    return int(np.prod(shape[1:]))


def _shaped(rows: MemberRows, values: np.ndarray, shape: tuple[int, ...]) -> Variable:
    if shape and shape[0] == 0:
        offsets = np.concatenate([[0], np.cumsum(rows.lengths)]).astype(np.int64)
        return Ragged(values.reshape(-1, *shape[1:]), offsets)
    return values.reshape(len(rows.lengths), *shape)
