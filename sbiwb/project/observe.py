"""From a file of real data to data sets the posterior can read: columns to observables, groups to data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sbiwb.config.model import Observation
from sbiwb.errors import DataError
from sbiwb.records import Ragged, Variable
from sbiwb.simulation.layout import Layout, Observable
from sbiwb.store.tables import Table, read_table

GAPS = ("", "na", "n/a", "nan", "none", "null")  # what people write where a value is missing


@dataclass(frozen=True)
class DataSets:
    """N observed data sets.

    Args:
        name: Of the observation: the folder under `sample/`.
        labels: One a data set, such as `subject 3, conflict LC`.
        x: Observables by name, (N, ...) or `Ragged`.
        context: Context variables by name, (N, ...).
        keys: Values of the grouping columns, each (N,).
    """

    name: str
    labels: tuple[str, ...]
    x: dict[str, Variable]
    context: dict[str, np.ndarray]
    keys: dict[str, list[str]]
    unused: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def variables(self) -> dict[str, Variable]:
        return {**self.x, **self.context}


@dataclass(frozen=True)
class NamedObservation:
    """Real data that are not read yet.

    Args:
        name: The folder under `sample/`.
        options: The section of the YAML, or the like made from the command line.
        base: Folder its path is relative to.
    """

    name: str
    options: Observation
    base: Path

    @property
    def path(self) -> Path:
        return self.base / self.options.file


def observe(
    observation: NamedObservation, layout: Layout, context: Mapping[str, tuple[int, ...]]
) -> DataSets:
    """Reads one observation.

    Where the simulator may leave a value out, so may the file: an empty cell, NA or NaN.

    Args:
        observation: Its file, and how to read it.
        layout: What the simulator returns.
        context: Shape of each context variable.

    Raises:
        DataError: Missing columns, wrong lengths, values that are no numbers: with file and place.
    """
    name, what = observation.name, observation.options
    _refuse_unknown(observation, set(layout), set(context))
    table = read_table(observation.path)
    groups = _groups(table, what.group_by)
    rows = [rows for _, rows in groups]
    x = {key: _observable(key, one, table, what, rows) for key, one in layout.items()}
    known = {key: _context(key, shape, table, what, rows) for key, shape in context.items()}
    _same_count(x, known, table.path)
    n = len(next(iter(x.values())))
    labels = [
        ", ".join(f"{key} {value}" for key, value in zip(what.group_by, values, strict=True))
        for values, _ in groups
    ]
    if n != len(labels):
        labels = [f"{name} {i}" for i in range(n)]
    keys = {key: [values[i] for values, _ in groups] for i, key in enumerate(what.group_by)}
    read = {column for key in (*layout, *context) for column in _columns(key, what)} | set(
        what.group_by
    )
    unused = tuple(sorted(set(table.arrays) - read)) if table.rows else ()
    return DataSets(name, tuple(label or name for label in labels), x, known, keys, unused)


def _refuse_unknown(observation: NamedObservation, x: set[str], context: set[str]) -> None:
    """Names that nothing here has."""
    what = observation.options
    for option, named, known in (
        ("columns", what.columns, x | context),
        ("context", what.context, context),
    ):
        unknown = sorted(set(named) - known)
        if unknown:
            raise DataError(
                f"{option} names {', '.join(unknown)}, which does not exist",
                where=observation.path,
                todo=f"There are: {', '.join(sorted(known)) or 'none'}.",
            )


Group = tuple[tuple[str, ...], np.ndarray | None]


def _groups(table: Table, by: Sequence[str]) -> list[Group]:
    """(values of the grouping columns, rows) in order of first appearance; one group of all rows without them."""
    if not by:
        return [((), None)]
    if not table.rows:
        raise DataError(
            "only the rows of a CSV can be grouped",
            where=table.path,
            todo="Give arrays with a first axis of data sets instead.",
        )
    keys = list(zip(*(_words(table[name]) for name in by), strict=True))
    found = dict.fromkeys(keys)
    return [(key, np.array([i for i, other in enumerate(keys) if other == key])) for key in found]


def _words(column: np.ndarray) -> list[str]:
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in column.tolist()]


def _columns(key: str, what: Observation) -> list[str]:
    named = what.columns.get(key, key)
    return [named] if isinstance(named, str) else list(named)


def _observable(
    key: str, one: Observable, table: Table, what: Observation, groups: list[np.ndarray | None]
) -> Variable:
    columns = _columns(key, what)
    if not table.rows:
        return _array(key, one, table, _numbers(key, one, table, columns[0]))
    if len(one.shape) > 1 and not one.ragged and columns == [key] and key not in table.arrays:
        raise DataError(
            f"has no column '{key}', an array of shape {one.shape}",
            where=table.path,
            todo=_wide(key),
        )
    values = [_numbers(key, one, table, column) for column in columns]
    joined = values[0] if len(values) == 1 else np.stack(values, axis=1)
    parts = [joined if rows is None else joined[rows] for rows in groups]
    return _fit(key, one, parts, table)


def _wide(key: str) -> str:
    """How an array of several axes comes in a file."""
    return f"Save it as '{key}' in an NPZ or HDF5 file; a CSV takes a column for each place of its last axis: columns: {{{key}: [a, b]}}."


def _numbers(key: str, one: Observable, table: Table, column: str) -> np.ndarray:
    """A column or array as float64, NaN where a value is missing.

    Raises:
        DataError: A value is missing and may not be, or is no finite number.
    """
    missing = _missing(table[column])
    if not missing.any():
        return table.numbers(column)
    if one.missing:
        filled = np.where(missing, np.zeros((), int).astype(table[column].dtype), table[column])
        return np.where(missing, np.nan, replace(table, arrays={column: filled}).numbers(column))
    try:
        return table.numbers(column)
    except DataError as error:
        gaps = f"For gaps: problem.missing: [{key}], a simulator that leaves them (NaN), and the transform nan_to_mask."
        raise DataError(error.what, where=error.where, todo=f"{error.todo} {gaps}") from error


def _missing(values: np.ndarray) -> np.ndarray:
    """Where an array of numbers holds NaN, or one of words says that there is no value."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "U":
        return np.isin(np.char.lower(np.char.strip(values)), GAPS)
    return np.zeros(values.shape, bool)


def _fit(key: str, one: Observable, parts: list[np.ndarray], table: Table) -> Variable:
    """Data sets of one observable in the shape that the simulator returns."""
    if one.shape == () or one.shape == (1,):
        parts = [_only(key, part, table.path) for part in parts]
        return np.stack(parts).reshape(len(parts), *one.shape)
    wide = (
        len(one.shape) == 1
        and not one.ragged
        and all(part.shape == (1, *one.shape) for part in parts)
    )
    parts = [part[0] for part in parts] if wide else parts
    for part in parts:
        if (one.ragged and part.shape[1:] != one.shape[1:]) or (
            not one.ragged and part.shape != one.shape
        ):
            expected = (
                f"any number of rows of shape {one.shape[1:]}"
                if one.ragged
                else f"shape {one.shape}"
            )
            raise DataError(
                f"'{key}' has shape {part.shape}, the simulator returns {expected}",
                where=table.path,
                todo=_wide(key)
                if table.rows and part.ndim < len(one.shape)
                else "Give as many rows as the simulator does, or part the rows into data sets with group_by.",
            )
    return Ragged.of(parts) if one.ragged else np.stack(parts)


def _only(key: str, part: np.ndarray, path: Path) -> np.ndarray:
    if len(np.unique(part)) != 1:
        raise DataError(
            f"'{key}' is one number a data set, but has {part.size} values",
            where=path,
            todo="Part the rows with group_by.",
        )
    return np.ravel(part)[:1]


def _array(key: str, one: Observable, table: Table, values: np.ndarray) -> Variable:
    """An array of a file without rows: one data set, or many with a first axis of data sets."""
    if values.ndim == len(one.shape):
        return _fit(key, one, [values], table)
    return (
        _fit(key, one, list(values), table)
        if values.ndim
        else _fit(key, one, [values[None]], table)
    )


def _context(
    key: str,
    shape: tuple[int, ...],
    table: Table,
    what: Observation,
    groups: list[np.ndarray | None],
) -> np.ndarray:
    """A context variable: a number in the YAML, `rows`, a column that is constant within each data set, or an array."""
    given = what.context.get(key)
    if given == "rows":
        sizes = [
            len(next(iter(table.arrays.values()))) if rows is None else len(rows) for rows in groups
        ]
        return np.array(sizes, dtype=np.float64)
    if given is not None:
        return np.full((len(groups), *shape), given, dtype=np.float64)
    column = _columns(key, what)[0]
    if column not in table.arrays:
        raise DataError(
            f"says nothing of the context variable '{key}'",
            where=table.path,
            todo=f"Add a column, or in the YAML context: {{{key}: NUMBER}}; {key}: rows counts the rows of each data set.",
        )
    values = table.numbers(column)
    if not table.rows:
        return values if values.ndim > len(shape) else values[None]
    return np.stack(
        [
            _only(key, values if rows is None else values[rows], table.path).reshape(shape)
            for rows in groups
        ]
    )


def _same_count(x: Mapping[str, Variable], context: Mapping[str, np.ndarray], path: Path) -> None:
    """Context given once holds for all data sets; otherwise all variables have as many data sets."""
    counts = {name: len(variable) for name, variable in {**x, **context}.items()}
    n = max(counts.values())
    for name in context:
        if counts[name] == 1 and n > 1:
            context[name] = np.repeat(context[name], n, axis=0)  # type: ignore[index]
            counts[name] = n
    if len(set(counts.values())) > 1:
        raise DataError(
            f"has different numbers of data sets: {counts}",
            where=path,
            todo="Give each variable as many.",
        )
