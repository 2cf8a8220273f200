"""Where the variables of a YAML are in a file of the user's own simulations; its rows as pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.contracts import Distribution
from sbiwb.errors import ConfigError, DataError
from sbiwb.records import Columns, Pairs, Ragged, Variable
from sbiwb.store.foreign import Chunk, Foreign
from sbiwb.store.long_tables import LongTable

WHERE = "sbiwb import"
LENGTHS = ("_lengths", "_length")
MATRIX = "theta"  # an array of all parameters
ONLY_OBSERVABLE = "x"  # an array of the only observable, whatever its name in the YAML
MAX_NAMES = 20  # of columns, in a message


@dataclass(frozen=True)
class Variables:
    """What the YAML of imported pairs names.

    Args:
        theta: Prior of each parameter.
        slices: Where each parameter's columns are among those of theta.
        context: Distribution of each design variable.
        x: Observables.
        missing: Observables in which NaN is a value.
    """

    theta: Mapping[str, Distribution]
    slices: Mapping[str, slice]
    context: Mapping[str, Distribution]
    x: tuple[str, ...]
    missing: frozenset[str] = frozenset()

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        """Names by their group in a file."""
        return {"theta": tuple(self.theta), "context": tuple(self.context), "x": self.x}

    @property
    def names(self) -> list[str]:
        return [*self.theta, *self.context, *self.x]


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

    @property
    def read(self) -> list[str]:
        """All columns that it needs."""
        return [*self.columns, *([self.lengths] if self.lengths else [])]

    def of(self, chunk: Chunk) -> Variable:
        """The variable in some rows of the file."""
        if len(self.columns) > 1:
            return np.stack([np.asarray(chunk[name]) for name in self.columns], axis=1)
        values = chunk[self.columns[0]]
        if self.part is not None:
            return np.asarray(values)[:, self.part]
        if self.lengths:
            return _unpadded(np.asarray(values), np.asarray(chunk[self.lengths]))
        return values


def _unpadded(values: np.ndarray, lengths: np.ndarray) -> Ragged:
    """The true members of padded rows (N, M, ...)."""
    return Ragged.of(row[: int(n)] for row, n in zip(values, lengths, strict=True))


Places = dict[str, Place]


@dataclass(frozen=True)
class MappedFile:
    """A file, and where the variables of the YAML are in it.

    Args:
        file: The file.
        places: Of each variable, by group.
        by: Column that numbers the data sets, where a table has a row a member or step.
    """

    file: Foreign
    places: Mapping[str, Places]
    by: str

    @classmethod
    def of(
        cls, file: Foreign, variables: Variables, mapping: Mapping[str, Sequence[str]], by: str
    ) -> MappedFile:
        """Finds every variable.

        Args:
            file: The file.
            variables: What is looked for.
            mapping: Columns by variable, where names differ.
            by: Column that numbers the data sets; empty: a row is one.

        Raises:
            ConfigError: `mapping` names what is no variable.
            DataError: Some are nowhere; with the columns that there are.
        """
        _check_names(variables, mapping)
        columns = file.columns
        if by and (not file.is_table or by not in columns):
            todo = "--by names a column of a CSV or Parquet file."
            raise DataError(f"has no column '{by}'", where=file.path, todo=todo)
        places = _find_all(variables, columns, mapping)
        lost = [name for name in variables.names if name not in places]
        if lost:
            raise _not_found(file, columns, lost)
        groups = {}
        for group, names in variables.groups.items():
            groups[group] = {name: places[name] for name in names}
        return cls(file, groups, by)

    def chunks(self) -> Iterator[Pairs]:
        """The pairs as they stand in the file, some at a time."""
        for chunk in self._chunks():
            groups: dict[str, Columns] = {}
            for group, places in self.places.items():
                groups[group] = {name: place.of(chunk) for name, place in places.items()}
            yield Pairs(**groups)

    def _chunks(self) -> Iterator[Chunk]:
        """The columns that are needed; members of one data set together."""
        names: dict[str, None] = {}
        for places in self.places.values():
            for place in places.values():
                names |= dict.fromkeys(place.read)
        if not self.by:
            return self.file.chunks(list(names))
        names[self.by] = None
        table = LongTable(self.by, self._constant_columns(), self.file.path)
        return table.grouped(self.file.chunks(list(names)))

    def _constant_columns(self) -> frozenset[str]:
        """Columns that are the same in all rows of a data set."""
        constant = {self.by}
        for group in ("theta", "context"):
            for place in self.places[group].values():
                constant |= set(place.columns)
        return frozenset(constant)


def _check_names(variables: Variables, mapping: Mapping[str, Sequence[str]]) -> None:
    unknown = sorted(set(mapping) - set(variables.names))
    if unknown:
        todo = f"There are: {', '.join(variables.names)}."
        what = f"{', '.join(unknown)} is no variable of the YAML"
        raise ConfigError(what, where=f"{WHERE} --column", todo=todo)


def _not_found(file: Foreign, columns: Sequence[str], lost: Sequence[str]) -> DataError:
    listed = ", ".join(columns[:MAX_NAMES])
    if len(columns) > MAX_NAMES:
        listed += ", ..."
    return DataError(
        f"has no column for {', '.join(lost)}",
        where=file.path,
        todo=f"It has: {listed}. Say which: --column {lost[0]}=COLUMN",
    )


def _find_all(
    variables: Variables, columns: Sequence[str], mapping: Mapping[str, Sequence[str]]
) -> Places:
    """The places of all variables that the file has."""
    places: Places = {}
    for group, names in variables.groups.items():
        for name in names:
            place = _find(name, group, columns, mapping)
            if place is not None:
                places[name] = place
    is_matrix = MATRIX in columns and MATRIX not in variables.theta
    if is_matrix and not any(name in places for name in variables.theta):
        for name, part in variables.slices.items():
            places[name] = Place((MATRIX,), part)
    if len(variables.x) == 1 and variables.x[0] not in places and ONLY_OBSERVABLE in columns:
        lengths = _lengths_column(ONLY_OBSERVABLE, columns)
        places[variables.x[0]] = Place((ONLY_OBSERVABLE,), None, lengths)
    return places


def _find(
    name: str, group: str, columns: Sequence[str], mapping: Mapping[str, Sequence[str]]
) -> Place | None:
    """By the user's word, by its name, or by `NAME_0`, ... or `NAME[0]`, ..."""
    if name in mapping:
        return _as_mapped(mapping[name], columns)
    for column in (name, f"{group}/{name}"):
        if column in columns:
            return Place((column,), None, _lengths_column(column, columns))
    return _numbered(name, group, columns)


def _as_mapped(chosen: Sequence[str], columns: Sequence[str]) -> Place | None:
    if not set(chosen) <= set(columns):
        return None
    return Place(tuple(chosen), None, _lengths_column(chosen[0], columns))


def _numbered(name: str, group: str, columns: Sequence[str]) -> Place | None:
    """Columns with neighbouring numbers, the first of which is any."""
    pattern = re.compile(rf"(?:{group}/)?{re.escape(name)}(?:_|\.|\[)?([0-9]+)\]?")
    numbered: dict[int, str] = {}
    for column in columns:
        match = pattern.fullmatch(column)
        if match:
            numbered[int(match[1])] = column
    numbers = sorted(numbered)
    if not numbers or numbers[-1] - numbers[0] + 1 != len(numbers):
        return None
    return Place(tuple(numbered[number] for number in numbers))


def _lengths_column(column: str, columns: Sequence[str]) -> str:
    """The column of true members beside one that is padded; empty where there is none."""
    for end in LENGTHS:
        if column + end in columns:
            return column + end
    return ""
