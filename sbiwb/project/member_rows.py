"""Members of data sets as rows of their own: what a likelihood is trained on.

Each row is one member, step or vector (R, C) with what its density is conditioned on: theta and
context of its data set and, where the structure has an order, its place and what came before. As
pairs, its columns stand where theta stood, and its conditions where x stood.

Whole numbers of many levels are made continuous by a uniform number in (0, 1) added to each, so
that the mass of n is the integral of the density from n to n + 1.

Shapes: N data sets, M members of one, R rows of all, C columns of a member.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.config.structure import DataSetMembers, Structure, ValueKind
from sbiwb.errors import DataError
from sbiwb.records import Columns, Pairs, Ragged, Variable, as_ragged, take
from sbiwb.seeds import generator, place

BEFORE, STEP = "before", "step"  # conditions of a member that has a place
MAX_COLUMNS = 128  # of one row
MAX_LEVELS = 12  # of a column that has a probability for each
MIN_SKEWNESS = 1.0  # of a positive column that is taken by its logarithm
NODES = (0.5 - 0.2886751346, 0.5 + 0.2886751346)  # at which the density of a count is integrated
EDGE = 1e-6  # that a number added to a count stays away from 0 and 1


@dataclass(frozen=True)
class MemberRows:
    """Members of N data sets end to end.

    Args:
        values: (R, C) float64, as the simulator returns them.
        lengths: Members of each data set, (N,).
    """

    values: np.ndarray
    lengths: np.ndarray

    @property
    def data_set(self) -> np.ndarray:
        """The data set of each row, (R,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def step(self) -> np.ndarray:
        """The place of each row in its data set, (R,), from 0."""
        starts = np.cumsum(self.lengths) - self.lengths
        return np.arange(len(self.values)) - np.repeat(starts, self.lengths)

    def row_before(self) -> np.ndarray:
        """Values of the member before, (R, C); NaN for the first of each data set."""
        before = np.roll(self.values, 1, axis=0)
        before[self.step == 0] = np.nan
        return before

    def all_before(self, rows: np.ndarray) -> Ragged:
        """Values of all members before each of these rows."""
        steps = self.step[rows]
        parts = [self.values[row - step : row] for row, step in zip(rows, steps, strict=True)]
        return Ragged.of(parts)


def is_vector(structure: Structure, variables: Iterable[Variable]) -> bool:
    """Whether all numbers of a data set are columns of one row.

    So is a joint density, and so are independent numbers of a list that is not too long: each
    column then is a density of its own.
    """
    if structure.as_ == "joint":
        return True
    width = 0
    for variable in variables:
        if isinstance(variable, Ragged):
            return False
        width += math.prod(variable.shape[1:])
    return structure.may_be_vector and structure.columns is None and width <= MAX_COLUMNS


def member_rows(
    name: str, structure: Structure, x: Columns, *, as_vector: bool = False
) -> MemberRows:
    """The members that a structure sees in N data sets.

    Args:
        name: Of the structure.
        structure: How its members depend on each other.
        x: Observables of the data sets.
        as_vector: Whether all numbers of a data set are one row.

    Raises:
        DataError: Observables of one structure have not the same members, or a list is no whole
            number of members.
    """
    sources = structure.sources(name)
    missing = [source for source in sources if source not in x]
    if missing:
        raise DataError(
            f"names {', '.join(missing)}, which the simulator does not return",
            where=f"problem.structure.{name}",
            todo=f"There are: {', '.join(x)}. Join several with from: [a, b].",
        )
    where = f"problem.structure.{name}"
    if as_vector:
        parts = [_as_vector(where, x[source]) for source in sources]
    else:
        parts = [_as_members(where, structure, x[source]) for source in sources]
    first = parts[0]
    for source, other in zip(sources, parts, strict=True):
        if not np.array_equal(first.lengths, other.lengths):
            raise DataError(
                f"joins {sources[0]} and {source}, whose numbers of members differ",
                where=f"problem.structure.{name}",
                todo="Give each a structure of its own.",
            )
    return MemberRows(np.concatenate([part.values for part in parts], axis=1), first.lengths)


def _as_vector(where: str, variable: Variable) -> MemberRows:
    """One observable as a row for each data set, (N, c)."""
    if isinstance(variable, Ragged):
        raise DataError(
            "has a length of its own in each data set, which no joint density has",
            where=where,
            todo="Say how its members depend on each other: iid, independent, markov or "
            "autoregressive.",
        )
    return MemberRows(_floats(variable).reshape(len(variable), -1), np.ones(len(variable), int))


def _as_members(where: str, structure: Structure, variable: Variable) -> MemberRows:
    """One observable as members (R, c)."""
    if structure.columns is not None:
        return _cut(where, structure.columns, variable)
    if not isinstance(variable, Ragged) and variable.ndim == 1:
        return MemberRows(_floats(variable)[:, None], np.ones(len(variable), int))
    ragged = as_ragged(variable)
    values = _floats(ragged.values)
    return MemberRows(values.reshape(len(values), -1), ragged.lengths)


def _cut(where: str, columns: int, variable: Variable) -> MemberRows:
    """A list of numbers cut into members of so many columns."""
    if isinstance(variable, Ragged) or variable.ndim != 2 or variable.shape[1] % columns:
        raise DataError(
            f"cannot be cut into members of {columns} columns",
            where=where,
            todo="`columns` is for lists of numbers whose length it divides.",
        )
    members = variable.shape[1] // columns
    values = _floats(variable).reshape(-1, columns)
    return MemberRows(values, np.full(len(variable), members))


def _floats(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64)


def value_kinds(names: Sequence[str], values: np.ndarray) -> dict[str, ValueKind]:
    """What each column of training members (R, C) holds."""
    return {name: _kind(column) for name, column in zip(names, values.T, strict=True)}


def _kind(column: np.ndarray) -> ValueKind:
    levels = np.unique(column[: 100 * MAX_LEVELS])
    is_whole = bool((column == np.floor(column)).all())
    if len(levels) <= MAX_LEVELS:
        levels = np.unique(column)
    if is_whole and len(levels) <= MAX_LEVELS:
        return [float(level) for level in levels]
    if is_whole and column.min() >= 0:
        return "count"
    if column.min() > 0 and _skewness(column) > MIN_SKEWNESS:
        return "positive"
    return "number"


def _skewness(column: np.ndarray) -> float:
    centred = column - column.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


def column_names(name: str, structure: Structure, x: Columns, *, as_vector: bool) -> list[str]:
    """Names of the C columns: of the observables, numbered where one has several."""
    names = list[str]()
    for source in structure.sources(name):
        alone = structure.model_copy(update={"from_": None})
        one = {source: take(x[source], np.zeros(1, int))}
        count = member_rows(source, alone, one, as_vector=as_vector).values.shape[1]
        names += [source] if count == 1 else [f"{source}_{place}" for place in range(count)]
    return names


@dataclass(frozen=True)
class TurnedPairs:
    """Pairs whose roles are turned, made from the pairs of data sets.

    Args:
        members: What is read.
    """

    members: DataSetMembers

    def turned(self, pairs: Pairs, split: str, most: int | None = None) -> Pairs:
        """One row for each member of which nothing is missing; `most` of them at random.

        Args:
            pairs: N data sets.
            split: Names the stream of the random numbers.
            most: Rows at most; None: all.
        """
        rows, rng = self.rows(pairs.x), generator(0, "members", place(split))
        chosen = np.flatnonzero(~np.isnan(rows.values).any(1))
        if most is not None and most < len(chosen):
            chosen = np.sort(rng.choice(chosen, most, replace=False))
        return self._pairs(pairs, rows, chosen, rng)

    def one_each(self, pairs: Pairs, split: str) -> Pairs:
        """One member of each data set that has any, so that rows are independent."""
        rows, rng = self.rows(pairs.x), generator(0, "members", place(split))
        order = rng.permutation(np.flatnonzero(~np.isnan(rows.values).any(1)))
        _, first = np.unique(rows.data_set[order], return_index=True)
        return self._pairs(pairs, rows, order[first], rng)

    def rows(self, x: Columns) -> MemberRows:
        """All members of N data sets."""
        members = self.members
        return member_rows(members.members_of, members.structure, x, as_vector=members.as_vector)

    def _pairs(
        self, pairs: Pairs, rows: MemberRows, chosen: np.ndarray, rng: np.random.Generator
    ) -> Pairs:
        added = np.clip(rng.random((len(chosen), rows.values.shape[1])), EDGE, 1 - EDGE)
        columns = self.columns(rows.values[chosen], added)
        return Pairs(columns, {}, self.conditions({**pairs.theta, **pairs.context}, rows, chosen))

    def columns(self, values: np.ndarray, added: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of members (R, C) as the density sees them, by name.

        Args:
            values: As the simulator returns them.
            added: What is added to counts, (R, C) or (C,).
        """
        columns = {}
        added = np.broadcast_to(added, values.shape)
        for place_, (name, kind) in enumerate(self.members.values.items()):
            column = values[:, place_]
            if kind == "count":
                column = column + added[:, place_]
            elif isinstance(kind, list):
                column = _places(column, np.array(kind))
            columns[name] = column
        return columns

    @property
    def fixed_size(self) -> int:
        """Members of every data set, where they are as many."""
        shape = self.members.shapes[self.members.structure.sources(self.members.members_of)[0]]
        if self.members.as_vector or not shape:
            return 1
        return shape[0] // (self.members.structure.columns or 1)

    @property
    def has_varying_size(self) -> bool:
        """Whether data sets have members of a number of their own."""
        shapes = self.members.shapes
        sources = self.members.structure.sources(self.members.members_of)
        return not self.members.as_vector and shapes[sources[0]][:1] == [0]

    @property
    def has_counts(self) -> bool:
        """Whether a column is a count, whose density is integrated."""
        return "count" in self.members.values.values()

    def values(self, columns: np.ndarray) -> np.ndarray:
        """Members (R, C) as the simulator returns them, of draws of the density (R, C)."""
        values = columns.copy()
        for place_, kind in enumerate(self.members.values.values()):
            if kind == "count":
                values[:, place_] = np.floor(columns[:, place_])
            elif isinstance(kind, list):
                values[:, place_] = np.array(kind)[columns[:, place_].astype(np.int64)]
        return values

    def conditions(
        self, given: Mapping[str, Variable], rows: MemberRows, chosen: np.ndarray
    ) -> dict[str, Variable]:
        """What the density of the chosen rows is conditioned on.

        Args:
            given: Parameters and context of N data sets, by name.
            rows: All their members.
            chosen: Which rows, (R,).
        """
        data_set = rows.data_set[chosen]
        conditions: dict[str, Variable] = {
            name: np.asarray(given[name])[data_set] for name in self.members.given
        }
        return {**conditions, **self.own_conditions(rows, chosen)}

    def own_conditions(self, rows: MemberRows, chosen: np.ndarray) -> dict[str, Variable]:
        """Those of the members themselves: place, and what came before."""
        kind, own = self.members.structure.as_, dict[str, Variable]()
        if self.members.as_vector:
            return own
        if self.members.structure.is_ordered:
            own[STEP] = rows.step[chosen].astype(np.float64)
        if kind == "markov":
            own[BEFORE] = rows.row_before()[chosen]
        if kind == "autoregressive":
            own[BEFORE] = rows.all_before(chosen)
        return own


def _places(column: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The place of each value among levels; -1, which has no mass, where it is none of them."""
    at = np.minimum(np.searchsorted(levels, column), len(levels) - 1)
    return np.where(levels[at] == column, at, -1).astype(np.float64)
