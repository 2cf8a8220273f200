"""Where the variables of a YAML are in a file of the user's own simulations, and its rows as pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.errors import ConfigError, DataError
from sbiwb.project.project import Project
from sbiwb.records import Pairs, Ragged, Variable
from sbiwb.store.foreign import Chunk, Foreign, Long

WHERE = "sbiwb import"
LENGTHS = ("_lengths", "_length")


@dataclass(frozen=True)
class Place:
    """Where one variable is in a file.

    Args:
        columns: One, or those of a vector.
        part: Its columns of a matrix that all parameters share.
        lengths: Column of the number of true members, where shorter ones are padded.
    """

    columns: tuple[str, ...]
    part: slice | None = None
    lengths: str = ""

    def of(self, chunk: Chunk) -> Variable:
        if len(self.columns) > 1:
            return np.stack([np.asarray(chunk[name]) for name in self.columns], axis=1)
        found = chunk[self.columns[0]]
        if self.part is not None:
            found = np.asarray(found)[:, self.part]
        if self.lengths:
            return Ragged.of(
                [
                    row[: int(n)]
                    for row, n in zip(
                        np.asarray(found), np.asarray(chunk[self.lengths]), strict=True
                    )
                ]
            )
        return found


@dataclass(frozen=True)
class Mapped:
    """A file, and where the variables of the YAML are in it."""

    file: Foreign
    theta: dict[str, Place]
    context: dict[str, Place]
    x: dict[str, Place]
    by: str

    @classmethod
    def of(
        cls, project: Project, file: Foreign, mapping: Mapping[str, list[str]], by: str
    ) -> Mapped:
        """Finds every variable.

        Raises:
            DataError: Some are nowhere; with the columns that there are.
        """
        theta, context, x = _wanted(project)
        unknown = sorted(set(mapping) - {*theta, *context, *x})
        if unknown:
            todo = f"There are: {', '.join([*theta, *context, *x])}."
            raise ConfigError(
                f"{', '.join(unknown)} is no variable of the YAML",
                where=f"{WHERE} --column",
                todo=todo,
            )
        there = file.columns
        if by and (not file.is_table or by not in there):
            raise DataError(
                f"has no column '{by}'",
                where=file.path,
                todo="--by names a column of a CSV or Parquet file.",
            )
        found = {
            name: _find(name, group, there, mapping)
            for group, part in (("theta", theta), ("context", context), ("x", x))
            for name in part
        }
        found |= _matrix(project, found, theta, there)
        if len(x) == 1 and found[x[0]] is None and "x" in there:
            found[x[0]] = Place(("x",), None, _lengths("x", there))
        lost = [name for name, one in found.items() if one is None]
        if lost:
            raise DataError(
                f"has no column for {', '.join(lost)}",
                where=file.path,
                todo=f"It has: {', '.join(there[:20])}{', ...' * (len(there) > 20)}. Say which: --column {lost[0]}=COLUMN",
            )
        whole = {name: one for name, one in found.items() if one is not None}
        return cls(
            file,
            {n: whole[n] for n in theta},
            {n: whole[n] for n in context},
            {n: whole[n] for n in x},
            by,
        )

    def chunks(self) -> Iterator[Pairs]:
        """The pairs as they stand in the file, some at a time."""
        variables = [*self.theta.values(), *self.context.values(), *self.x.values()]
        names = dict.fromkeys(
            name for one in variables for name in (*one.columns, one.lengths) if name
        )
        chunks = self.file.chunks(
            [*names, *([self.by] if self.by and self.by not in names else [])]
        )
        if self.by:
            once = {
                name
                for part in (self.theta, self.context)
                for one in part.values()
                for name in one.columns
            }
            chunks = Long(self.by, frozenset({*once, self.by}), self.file.path).grouped(chunks)
        for chunk in chunks:
            yield Pairs(
                *(
                    {name: one.of(chunk) for name, one in part.items()}
                    for part in (self.theta, self.context, self.x)
                )
            )


def _wanted(project: Project) -> tuple[list[str], list[str], list[str]]:
    """Parameters, design variables, and observables: what inputs use or `drop` names."""
    problem, model = project.config.problem, project.config.model
    used = [name for key, one in model.inputs.items() for name in one.plan(key).variables]
    x = [name for name in dict.fromkeys([*used, *model.drop]) if name not in problem.context]
    return list(problem.parameters), list(problem.context), x


def _find(
    name: str, group: str, there: Sequence[str], mapping: Mapping[str, list[str]]
) -> Place | None:
    """By the user's word, by its name, or by `NAME_0`, `NAME_1`, ... or `NAME[0]`, `NAME[1]`, ..."""
    if name in mapping:
        columns = mapping[name]
        return (
            Place(tuple(columns), None, _lengths(columns[0], there))
            if set(columns) <= set(there)
            else None
        )
    for column in (name, f"{group}/{name}"):
        if column in there:
            return Place((column,), None, _lengths(column, there))
    pattern = re.compile(rf"(?:{group}/)?{re.escape(name)}(?:_|\.|\[)?(\d+)\]?")
    wide = {int(match[1]): column for column in there if (match := pattern.fullmatch(column))}
    places = sorted(wide)
    return (
        Place(tuple(wide[i] for i in places))
        if wide and places == list(range(places[0], places[0] + len(wide)))
        else None
    )


def _lengths(column: str, there: Sequence[str]) -> str:
    return next((column + end for end in LENGTHS if column + end in there), "")


def _matrix(
    project: Project, found: Mapping[str, Place | None], theta: Sequence[str], there: Sequence[str]
) -> dict[str, Place]:
    """Parameters that are columns of one array `theta`, in the order of the YAML."""
    if "theta" in theta or "theta" not in there or any(found[name] is not None for name in theta):
        return {}
    return {name: Place(("theta",), project.prior.slices[name]) for name in theta}
