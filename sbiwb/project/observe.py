"""Real data from a file: columns become observables, groups of rows become data sets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.config.model import Observation
from sbiwb.errors import DataError
from sbiwb.project.grouping import (
    Group,
    check_countable,
    grouped_rows,
    labels_of,
    one_number,
    values_by_column,
)
from sbiwb.records import Ragged, Variable
from sbiwb.simulation.layout import Layout, Observable
from sbiwb.store.tables import Table, read_table

ROWS = "rows"  # as the value of a context variable: the number of rows of each data set


@dataclass(frozen=True)
class DataSets:
    """N observed data sets.

    Args:
        name: Of the observation: the folder under `sample/`.
        labels: One a data set, such as `subject 3, conflict LC`.
        x: Observables by name, (N, ...) or `Ragged`.
        context: Context variables by name, (N, ...).
        keys: Values of the grouping columns, each (N,).
        notes: Sentences on what was assumed to read the file, and on what is left out of it.
    """

    name: str
    labels: tuple[str, ...]
    x: dict[str, Variable]
    context: dict[str, np.ndarray]
    keys: dict[str, list[str]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def variables(self) -> dict[str, Variable]:
        """Observables and context by name."""
        return {**self.x, **self.context}

    def observed(self, data_set: int) -> dict[str, np.ndarray]:
        """The observables of one data set."""
        return {name: np.asarray(values[data_set]) for name, values in self.x.items()}


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
        """The file."""
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
    options = observation.options
    _refuse_unknown(observation, set(layout), set(context))
    table = _named_by(layout, options, read_table(observation.path))
    reading = _Reading(table, options, grouped_rows(table, options.group_by))
    x = {name: reading.observable(name, observable) for name, observable in layout.items()}
    contexts = {name: reading.context(name, shape) for name, shape in context.items()}
    contexts = _repeated(x, contexts, table.path)
    return DataSets(
        observation.name,
        _labels(observation, reading.groups, len(next(iter(x.values())))),
        x,
        contexts,
        values_by_column(options.group_by, reading.groups),
        reading.notes([*layout, *context]),
    )


def _labels(observation: NamedObservation, groups: Sequence[Group], count: int) -> tuple[str, ...]:
    """Names of N data sets: by their groups, by their numbers, or the observation's."""
    if count != len(groups):
        return tuple(f"{observation.name} {i}" for i in range(count))
    labels = labels_of(observation.options.group_by, groups)
    return tuple(label or observation.name for label in labels)


def _refuse_unknown(observation: NamedObservation, x: set[str], context: set[str]) -> None:
    """Names that nothing here has."""
    _refuse_stray("columns", observation.options.columns, x | context, observation.path)
    _refuse_stray("context", observation.options.context, context, observation.path)


def _refuse_stray(
    option: str, named: Collection[str], existing: Collection[str], path: Path
) -> None:
    unknown = sorted(set(named) - set(existing))
    if unknown:
        raise DataError(
            f"{option} names {', '.join(unknown)}, which does not exist",
            where=path,
            todo=f"There are: {', '.join(sorted(existing)) or 'none'}.",
        )


def _named_by(layout: Layout, options: Observation, table: Table) -> Table:
    """The table, with a single unnamed array named as the only observable reads it."""
    if not table.unnamed:
        return table
    if len(layout) > 1:
        raise DataError(
            f"holds one array, and the simulator returns {', '.join(layout)}",
            where=table.path,
            todo="Save all of them by name with numpy.savez, as .npz.",
        )
    ((name, _),) = layout.items()
    (array,) = table.arrays.values()
    return Table(table.path, {_columns_of(name, options)[0]: array}, False)


def _columns_of(name: str, options: Observation) -> list[str]:
    """Columns of the file that a variable is read from."""
    columns = options.columns.get(name, name)
    if isinstance(columns, str):
        return [columns]
    return list(columns)


@dataclass(frozen=True)
class _Reading:
    """A file, how to read it, and the groups of its rows that are data sets."""

    table: Table
    options: Observation
    groups: Sequence[Group]

    def observable(self, name: str, expected: Observable) -> Variable:
        """One observable of all data sets."""
        columns = _columns_of(name, self.options)
        if not self.table.rows:
            return self._array(name, expected, self._numbers(name, expected, columns[0]))
        self._check_column(name, expected)
        values = [self._numbers(name, expected, column) for column in columns]
        joined = values[0]
        if len(values) > 1:
            joined = np.stack(values, axis=1)
        return self._fit(name, expected, [group.take(joined) for group in self.groups])

    def _check_column(self, name: str, expected: Observable) -> None:
        """An array of several axes comes in columns that are named."""
        is_wide = len(expected.shape) > 1 and not expected.ragged
        if is_wide and name not in self.table.arrays and name not in self.options.columns:
            raise DataError(
                f"has no column '{name}', an array of shape {expected.shape}",
                where=self.table.path,
                todo=_how_arrays_come(name),
            )

    def context(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A context variable: a number, `rows`, a column constant in each data set, or an array."""
        given = self.options.context.get(name)
        if given == ROWS:
            check_countable(self.table)
            return np.array([group.count(self.table) for group in self.groups], np.float64)
        if given is not None and not isinstance(given, str):
            return np.full((len(self.groups), *shape), given, dtype=np.float64)
        values = self.table.numbers(self._context_column(name, given))
        if not self.table.rows:
            return _data_sets_of(name, values, shape, self.table.path)
        parts = [one_number(name, group.take(values), self.table.path) for group in self.groups]
        return np.stack(parts).reshape(len(parts), *shape)

    def _context_column(self, name: str, given: str | None) -> str:
        """The column of a context variable: that under `context`, under `columns`, or its own."""
        if given is not None:
            return given
        column = _columns_of(name, self.options)[0]
        if column not in self.table.arrays:
            raise DataError(
                f"says nothing of the context variable '{name}'",
                where=self.table.path,
                todo=f"Add a column, or in the YAML context: {{{name}: NUMBER}}; "
                f"{name}: rows counts the rows of each data set.",
            )
        return column

    def notes(self, names: Sequence[str]) -> tuple[str, ...]:
        """What was assumed to read these variables, and which columns are left out."""
        read = self._columns_read(names)
        notes = list(self.table.notes)
        for column in read:
            if self.table.has_booleans(column):
                notes.append(f"in column {column}, TRUE is 1 and FALSE is 0")
        unused = sorted(set(self.table.arrays) - set(read) - set(self.options.group_by))
        if unused and self.table.rows:
            notes.append(f"columns {', '.join(unused)} are not used")
        return tuple(notes)

    def _columns_read(self, names: Sequence[str]) -> list[str]:
        """Columns of the file that these variables come from, each once."""
        columns: list[object] = list(self.options.context.values())
        for name in names:
            columns += _columns_of(name, self.options)
        return [column for column in self.table.arrays if column in columns]

    def _numbers(self, name: str, expected: Observable, column: str) -> np.ndarray:
        """A column or array as float64, NaN where a value is missing."""
        try:
            return self.table.numbers(column, gaps=expected.missing)
        except DataError as error:
            if not self.table.missing(column).any():
                raise
            gaps = (
                f"For gaps: problem.missing: [{name}], a simulator that leaves them (NaN), "
                "and the transform nan_to_mask."
            )
            raise DataError(error.what, where=error.where, todo=f"{error.todo} {gaps}") from error

    def _array(self, name: str, expected: Observable, values: np.ndarray) -> Variable:
        """An array of a file without rows: one data set, or many with a first axis of data sets."""
        if values.ndim == len(expected.shape):
            return self._fit(name, expected, [values])
        if values.ndim == 0:
            return self._fit(name, expected, [values[None]])
        return self._fit(name, expected, list(values))

    def _fit(self, name: str, expected: Observable, parts: list[np.ndarray]) -> Variable:
        """Data sets of one observable in the shape that the simulator returns."""
        if expected.shape in ((), (1,)):
            parts = [one_number(name, part, self.table.path) for part in parts]
            return np.stack(parts).reshape(len(parts), *expected.shape)
        is_vector = len(expected.shape) == 1 and not expected.ragged
        if is_vector and all(part.shape == (1, *expected.shape) for part in parts):
            parts = [part[0] for part in parts]
        for part in parts:
            self._check_shape(name, expected, part)
        if expected.ragged:
            return Ragged.of(parts)
        return np.stack(parts)

    def _check_shape(self, name: str, expected: Observable, part: np.ndarray) -> None:
        fixed = int(expected.ragged)  # the first axis may be of any length
        axes = len(expected.shape)
        if part.ndim == axes and part.shape[fixed:] == expected.shape[fixed:]:
            return
        shape = f"shape {expected.shape}"
        if expected.ragged:
            shape = f"any number of rows of shape {expected.shape[1:]}"
        todo = (
            "Give as many rows as the simulator does, "
            "or part the rows into data sets with group_by."
        )
        if self.table.rows and part.ndim < axes:
            todo = _how_arrays_come(name)
        raise DataError(
            f"'{name}' has shape {part.shape}, the simulator returns {shape}",
            where=self.table.path,
            todo=todo,
        )


def _data_sets_of(name: str, values: np.ndarray, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """A context variable of N data sets, (N, *shape), from that of one or of all."""
    if values.ndim == len(shape):
        values = values[None]
    if values.shape[1:] != shape:
        raise DataError(
            f"'{name}' has shape {values.shape}, and is {shape} for each data set",
            where=path,
            todo="Give one value for each data set, or one for all.",
        )
    return values


def _how_arrays_come(name: str) -> str:
    """How an array of several axes comes in a file."""
    return (
        f"Save it as '{name}' in an NPZ or HDF5 file; "
        f"a CSV takes a column for each place of its last axis: columns: {{{name}: [a, b]}}."
    )


def _repeated(
    x: Mapping[str, Variable], context: Mapping[str, np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    """Context of all data sets; given once, it holds for all."""
    counts = {name: len(variable) for name, variable in {**x, **context}.items()}
    count = max(counts.values())
    repeated = dict(context)
    for name, values in context.items():
        if len(values) == 1:
            repeated[name] = np.repeat(values, count, axis=0)
            counts[name] = count
    if len(set(counts.values())) > 1:
        raise DataError(
            f"has different numbers of data sets: {counts}",
            where=path,
            todo="Give each variable as many.",
        )
    return repeated
