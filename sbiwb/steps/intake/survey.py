"""The first reading of imported files: everything is checked, a few bytes a row are kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sbiwb.contracts import Distribution, Reporter
from sbiwb.errors import DataError
from sbiwb.records import Columns, Pairs, Ragged, Variable
from sbiwb.simulation.blocks import Failure, FailureCounter
from sbiwb.simulation.layout import Layout, Observable
from sbiwb.steps.intake.columns import MappedFile, Variables
from sbiwb.store.arrays import flatten
from sbiwb.store.audit import digests, may_compare, values_of

DENSE = -1  # length of a variable that is no list


@dataclass(frozen=True)
class SurveyedShape:
    """What an observable looked like in all rows so far.

    Args:
        dtype: Wide enough for all.
        item: Shape of a row, or of a member.
        shortest: Members; `DENSE` where it is no list.
        longest: The same.
    """

    dtype: np.dtype[np.generic]
    item: tuple[int, ...]
    shortest: int
    longest: int

    @classmethod
    def of(cls, variable: Variable) -> SurveyedShape:
        values = values_of(variable)
        lengths = np.array([DENSE])
        if isinstance(variable, Ragged):
            lengths = variable.lengths
        shortest, longest = int(lengths.min()), int(lengths.max())
        return cls(values.dtype, values.shape[1:], shortest, longest)

    @property
    def is_dense(self) -> bool:
        return self.shortest == DENSE

    def observable(self, *, missing: bool) -> Observable:
        """What every row looks like: lists of one length are arrays."""
        shape, ragged = self.item, False
        if not self.is_dense:
            ragged = self.shortest != self.longest
            length = 0 if ragged else self.longest
            shape = (length, *self.item)
        example = Observable.of(np.zeros((1, *shape), self.dtype), missing=missing)
        return replace(example, shape=shape, ragged=ragged)

    def joined(self, other: SurveyedShape) -> SurveyedShape | None:
        """Both: types are widened, lengths may vary; None where anything else differs."""
        if self.item != other.item or self.is_dense != other.is_dense:
            return None
        return SurveyedShape(
            np.result_type(self.dtype, other.dtype),
            self.item,
            min(self.shortest, other.shortest),
            max(self.longest, other.longest),
        )


@dataclass
class Survey:
    """What the files hold.

    Args:
        rows: Rows, bad ones and copies included.
        ledger: Rows that are not finite, as failed simulations.
        digests: Of every row.
        is_compared: Whether equal rows are copies.
        shapes: Of each observable.
        bytes: Of all values.
    """

    rows: int = 0
    ledger: list[Failure] = field(default_factory=list)
    digests: list[np.ndarray] = field(default_factory=list)
    is_compared: bool = False
    shapes: dict[str, SurveyedShape] = field(default_factory=dict)
    bytes: int = 0

    @property
    def bytes_per_row(self) -> float:
        return self.bytes / max(1, self.rows)

    def layout(self, missing: Collection[str]) -> Layout:
        """What every row looks like; in observables named by `missing` NaN is a value."""
        return {
            name: shape.observable(missing=name in missing) for name, shape in self.shapes.items()
        }

    def add(self, pairs: Pairs, failed: Sequence[Failure]) -> None:
        """Takes note of further rows."""
        self.ledger += failed
        self.digests.append(digests(pairs))
        self.is_compared |= may_compare(pairs)
        self.rows += len(pairs)
        self.bytes += sum(array.nbytes for array in flatten(pairs).values())


def survey(
    files: Sequence[MappedFile], variables: Variables, max_rate: float, reporter: Reporter
) -> Survey:
    """Reads everything once, keeps a few bytes of each row, and refuses what cannot be used.

    Raises:
        DataError: Rows that cannot be used at all.
        FailureRateError: More rows are not finite than `max_rate` allows.
    """
    result = Survey()
    counter = FailureCounter(max_rate)
    with reporter.task("read", len(files), unit="files") as ticker:
        for mapped in files:
            for chunk in mapped.chunks():
                pairs = typed(variables, chunk, result.rows, mapped.file.path)
                _note_shapes(result.shapes, pairs, mapped.file.path)
                failed = _failed_rows(pairs, variables.missing, result.rows)
                counter.add(len(pairs), len(failed), _example(failed))
                result.add(pairs, failed)
            ticker.advance(rows=result.rows)
    return result


def _example(failed: Sequence[Failure]) -> str:
    if not failed:
        return ""
    return f"{failed[0].message} in row {failed[0].block}"


def typed(variables: Variables, pairs: Pairs, first: int, path: Path) -> Pairs:
    """Parameters and context in the types and shapes that the prior gives.

    Args:
        variables: With their distributions.
        pairs: As they stand in the file.
        first: Number of the first row among all.
        path: The file.

    Raises:
        DataError: Another shape, or a value not finite or outside the prior's support.
    """
    theta = _typed_columns(pairs.theta, variables.theta, first, path)
    return Pairs(theta, _typed_columns(pairs.context, variables.context, first, path), pairs.x)


def _typed_columns(
    columns: Columns, distributions: Mapping[str, Distribution], first: int, path: Path
) -> Columns:
    typed_columns: dict[str, Variable] = {}
    for name, distribution in distributions.items():
        table = _table(name, columns[name], distribution, path)
        _check_support(name, table, distribution, first, path)
        if distribution.discrete:
            table = table.astype(np.int64)
        typed_columns[name] = table.reshape(len(table), *distribution.event)
    return typed_columns


def _table(name: str, variable: Variable, distribution: Distribution, path: Path) -> np.ndarray:
    """The values of a parameter or design variable, (N, K)."""
    rows, values = len(variable), values_of(variable)
    shape = f"{values.shape[1:] or 'one number'} a row"
    if isinstance(variable, Ragged) and (variable.lengths != distribution.size).any():
        shape = "lists of varying length"
    elif values.size == rows * distribution.size:
        return values.astype(np.float64).reshape(rows, distribution.size)
    raise DataError(
        f"'{name}' has {shape}, the YAML says {distribution.event or 'one number'}",
        where=path,
        todo="Set `shape` of it in the YAML, or name its columns with --column.",
    )


def _check_support(
    name: str, table: np.ndarray, distribution: Distribution, first: int, path: Path
) -> None:
    outside = np.argwhere(~distribution.inside(table))
    if not len(outside):
        return
    row, column = outside[0]
    low, high = distribution.support()
    support = f"[{low[column]:g}, {high[column]:g}] of its prior"
    raise DataError(
        f"'{name}' is {table[row, column]:g} in row {first + row}, outside {support}",
        where=path,
        todo="Mend the file, or the prior in the YAML; where nobody knows it, kind: unknown takes"
        " every finite value.",
    )


def _note_shapes(shapes: dict[str, SurveyedShape], pairs: Pairs, path: Path) -> None:
    """Compares the observables with those of the rows before.

    Raises:
        DataError: Another shape.
    """
    for name, variable in pairs.x.items():
        here = SurveyedShape.of(variable)
        before = shapes.get(name, here)
        both = before.joined(here)
        if both is None:
            what = f"'{name}' has shape {here.item} here and {before.item} before"
            raise DataError(what, where=path, todo="Make all rows alike.")
        shapes[name] = both


def _failed_rows(pairs: Pairs, missing: Collection[str], first: int) -> list[Failure]:
    """Rows whose observables are not finite: simulations that failed."""
    why: dict[int, tuple[str, str]] = {}
    for name, variable in pairs.x.items():
        values = values_of(variable)
        is_bad = np.isinf(values) if name in missing else ~np.isfinite(values)
        for row in _rows(_of_rows(is_bad, variable)):
            why[row] = ("not finite", f"'{name}' is not finite")
    return [_failure(pairs, row, first + row, *why[row]) for row in sorted(why)]


def _rows(marked: np.ndarray) -> list[int]:
    return [int(row) for row in np.flatnonzero(marked)]


def _of_rows(marked: np.ndarray, variable: Variable) -> np.ndarray:
    """Rows of a variable one of whose values is marked, (N,)."""
    entries = np.asarray(marked.any(axis=tuple(range(1, marked.ndim))))
    if not isinstance(variable, Ragged):
        return entries
    rows = np.zeros(len(variable), bool)
    members = np.flatnonzero(entries)
    rows[np.searchsorted(variable.offsets, members, side="right") - 1] = True
    return rows


def _failure(pairs: Pairs, row: int, number: int, kind: str, message: str) -> Failure:
    """A row as a failed simulation; its number among all rows stands for its block."""
    return Failure(
        block=number,
        attempt=0,
        row=0,
        kind=kind,
        message=message,
        theta={name: np.asarray(column[row]) for name, column in pairs.theta.items()},
        context={name: np.asarray(column[row]) for name, column in pairs.context.items()},
        seconds=0.0,
    )
