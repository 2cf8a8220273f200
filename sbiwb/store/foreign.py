"""Simulations in files of the user's own (CSV, NPZ, HDF5, Parquet), read a few rows at a time: files larger than memory are no matter."""

from __future__ import annotations

import csv
import math
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sbiwb.errors import CorruptFile, DataError, DiskError, SbiwbError
from sbiwb.extras import imported
from sbiwb.records import Ragged, Variable, join, take
from sbiwb.store.hdf5 import refuse_odd

CHUNK_BYTES = 8 << 20
MOST_ROWS = 1 << 16
EMPTY = {"", "na", "nan", "null", "none"}

Chunk = dict[str, Variable]


class Foreign(ABC):
    """One file: names of its columns, and their rows in order.

    Args:
        path: The file.
    """

    is_table = False

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def columns(self) -> list[str]:
        """Names of columns, or of arrays with one entry a simulation.

        Raises:
            DataError: The file is damaged, or not what its name says.
        """
        with _readable(self.path):
            return self._columns()

    def chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """These columns, some rows at a time: (n, ...) or `Ragged`.

        Raises:
            DataError: The file is damaged, or holds anything but numbers.
        """
        with _readable(self.path):
            yield from self._chunks(names)

    @abstractmethod
    def _columns(self) -> list[str]:
        """As `columns`; may raise what its library does."""

    @abstractmethod
    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """As `chunks`; may raise what its library does."""


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Says which file is damaged: numpy, zipfile, h5py and pyarrow raise many kinds for one."""
    try:
        yield
    except SbiwbError:
        raise
    except Exception as error:
        raise CorruptFile(
            f"cannot be read ({type(error).__name__}: {error})",
            where=path,
            todo="Is it cut or altered? Make the file again.",
        ) from error


class Csv(Foreign):
    """Columns of numbers below a line of names; an empty field or NA is a missing value."""

    is_table = True

    def _columns(self) -> list[str]:
        with self._open() as file:
            return _names(self._rows(file), self.path)

    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        with self._open() as file:
            reader = self._rows(file)
            there = _names(reader, self.path)
            if not there:
                return
            places = [there.index(name) for name in names]
            at_once = min(MOST_ROWS, max(1, CHUNK_BYTES // (64 * len(there))))
            lines = (
                (reader.line_num, line) for line in reader if line and not line[0].startswith("#")
            )
            while rows := list(islice(lines, at_once)):
                values = np.array(
                    [_numbers(line, places, number, len(there), self.path) for number, line in rows]
                )
                yield {name: values[:, i] for i, name in enumerate(names)}

    def _open(self) -> Any:
        try:
            return open(self.path, encoding="utf-8-sig", newline="")
        except OSError as error:
            raise DiskError.of(error, self.path) from error

    def _rows(self, file: Any) -> Any:
        return csv.reader(
            file,
            delimiter="\t" if self.path.suffix.lower() == ".tsv" else ",",
            skipinitialspace=True,
        )


def _names(reader: Any, path: Path) -> list[str]:
    try:
        line: list[str] = next(
            (line for line in reader if line and not line[0].startswith("#")), []
        )
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not UTF-8 ({error.reason})", where=path, todo="Save it as UTF-8."
        ) from error
    names = [name.strip() for name in line]
    if len(names) == 1 and ";" in names[0]:
        raise DataError(
            "the separator seems to be ';'",
            where=f"{path}:1",
            todo="Use commas between columns, and decimal points.",
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"has two columns named '{twice[0]}'", where=f"{path}:1", todo="Rename one of them."
        )
    return names


def _numbers(
    line: Sequence[str], places: Sequence[int], number: int, width: int, path: Path
) -> list[float]:
    if len(line) != width:
        raise DataError(
            f"line {number} has {len(line)} values for {width} columns",
            where=path,
            todo="Mend that line.",
        )
    try:
        return [float(line[place]) for place in places]
    except ValueError:
        return [_number(line[place], number, path) for place in places]


def _number(text: str, number: int, path: Path) -> float:
    if text.strip().lower() in EMPTY:
        return math.nan
    try:
        return float(text)
    except ValueError as error:
        raise DataError(
            f"'{text}' is no number",
            where=f"{path}:{number}",
            todo="Give a number, or leave the field empty.",
        ) from error


class Npz(Foreign):
    """Arrays of `numpy.savez`; each is read from the archive as a stream."""

    def _columns(self) -> list[str]:
        with self._open() as file:
            return [name.removesuffix(".npy") for name in file.namelist()]

    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        with ExitStack() as opened:
            file = opened.enter_context(self._open())
            streams = {
                name: _Stream(opened.enter_context(file.open(f"{name}.npy")), name, self.path)
                for name in names
            }
            rows = _same_rows({name: one.shape[0] for name, one in streams.items()}, self.path)
            at_once = _at_once(sum(one.row_bytes for one in streams.values()))
            for start in range(0, rows, at_once):
                yield {name: one.next(min(at_once, rows - start)) for name, one in streams.items()}

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except OSError as error:
            raise DiskError.of(error, self.path) from error
        except zipfile.BadZipFile as error:
            raise DataError(
                f"cannot be read as NPZ: {error}",
                where=self.path,
                todo="Save plain arrays with numpy.savez.",
            ) from error


class _Stream:
    """One array of an archive, some rows at a time."""

    def __init__(self, file: Any, name: str, path: Path) -> None:
        self.file, self.where = file, f"{path}:{name}"
        try:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            self.shape, fortran, self.dtype = read(file)
        except ValueError as error:
            raise DataError(
                f"is no array: {error}",
                where=self.where,
                todo="Save plain numeric arrays with numpy.savez.",
            ) from error
        if self.dtype.kind not in "fiub" or not self.shape:
            raise DataError(
                f"has type {self.dtype}",
                where=self.where,
                todo="Save arrays of numbers, one row a simulation.",
            )
        if fortran and len(self.shape) > 1:
            raise DataError(
                "is stored column by column",
                where=self.where,
                todo="Save numpy.ascontiguousarray(...) of it.",
            )
        self.row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])

    def next(self, rows: int) -> np.ndarray:
        try:
            data = self.file.read(rows * self.row_bytes)
        except (OSError, zipfile.BadZipFile) as error:  # its checksum does not fit
            raise CorruptFile(
                f"was altered: {error}", where=self.where, todo="Make the file again."
            ) from error
        if len(data) != rows * self.row_bytes:
            raise CorruptFile("is cut", where=self.where, todo="Make the file again.")
        return np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])


class Hdf5(Foreign):
    """Arrays of an HDF5 file by full name; `NAME/values` beside `NAME/offsets` are arrays of varying length."""

    def _columns(self) -> list[str]:
        with self._open() as file:
            found = _arrays(file, self.path)
        ragged = {name.removesuffix("/offsets") for name in found if name.endswith("/offsets")}
        return [name for name in found if name.rpartition("/")[0] not in ragged] + sorted(ragged)

    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        with self._open() as file:
            try:
                yield from self._read(file, names)
            except OSError as error:
                raise CorruptFile(
                    f"cannot be read: {error}", where=self.path, todo="Make the file again."
                ) from error

    def _read(self, file: h5py.File, names: Sequence[str]) -> Iterator[Chunk]:
        offsets = {
            name: np.asarray(file[name]["offsets"][...], np.int64)
            for name in names
            if isinstance(file[name], h5py.Group)
        }
        counts = {
            name: len(offsets[name]) - 1 if name in offsets else file[name].shape[0]
            for name in names
        }
        rows = _same_rows(counts, self.path)
        for name, one in offsets.items():
            if one[0] != 0 or (np.diff(one) < 0).any() or one[-1] != len(file[name]["values"]):
                raise DataError(
                    f"offsets of '{name}' do not fit its values",
                    where=self.path,
                    todo="They rise from 0 to the number of values.",
                )
        sizes = [file[name]["values"] if name in offsets else file[name] for name in names]
        at_once = _at_once(sum(one.size * one.dtype.itemsize for one in sizes) / max(1, rows))
        for start in range(0, rows, at_once):
            stop = min(start + at_once, rows)
            yield {
                name: _ragged(file[name], offsets[name][start : stop + 1])
                if name in offsets
                else file[name][start:stop]
                for name in names
            }

    def _open(self) -> h5py.File:
        try:
            return h5py.File(self.path, "r", locking=False)
        except OSError as error:
            if not self.path.is_file():
                raise DiskError.of(error, self.path) from error
            raise CorruptFile(
                f"is not a whole HDF5 file ({error})", where=self.path, todo="Make the file again."
            ) from error


def _arrays(group: Any, path: Path) -> list[str]:
    """Full names of the arrays with one row or more; links and the like are refused."""
    found = []
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise CorruptFile(
                f"{group.name}/{name} is a link", where=path, todo="Only plain arrays are read."
            )
        item = group[name]
        if isinstance(item, h5py.Group):
            found += _arrays(item, path)
            continue
        refuse_odd(item, path)
        if item.shape:
            found.append(item.name.lstrip("/"))
    return found


def _ragged(group: Any, offsets: np.ndarray) -> Ragged:
    return Ragged(group["values"][offsets[0] : offsets[-1]], offsets - offsets[0])


class Parquet(Foreign):
    """Columns of numbers, or of lists of numbers; needs pyarrow."""

    is_table = True

    def _columns(self) -> list[str]:
        return list(self._open().schema_arrow.names)

    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        file = self._open()
        width = (
            file.metadata.row_group(0).total_byte_size / max(1, file.metadata.row_group(0).num_rows)
            if file.num_row_groups
            else 1
        )
        for batch in file.iter_batches(batch_size=_at_once(width), columns=list(names)):
            yield {name: self._variable(name, batch.column(name)) for name in names}

    def _variable(self, name: str, column: Any) -> Variable:
        arrow = imported("pyarrow", extra="parquet", where=str(self.path))
        kind = column.type
        if (
            arrow.types.is_list(kind)
            or arrow.types.is_large_list(kind)
            or arrow.types.is_fixed_size_list(kind)
        ):
            if column.null_count:
                raise DataError(
                    f"column '{name}' has empty rows", where=self.path, todo="Give each row a list."
                )
            lengths = np.asarray(column.value_lengths().to_numpy(zero_copy_only=False), np.int64)
            return Ragged(
                self._flat(name, column.flatten()), np.concatenate([[0], np.cumsum(lengths)])
            )
        return self._flat(name, column)

    def _flat(self, name: str, column: Any) -> np.ndarray:
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype.kind not in "fiub":
            raise DataError(
                f"column '{name}' has type {column.type}",
                where=self.path,
                todo="Only numbers and lists of numbers are read.",
            )
        return values

    def _open(self) -> Any:
        parquet = imported("pyarrow.parquet", extra="parquet", where=str(self.path))
        try:
            return parquet.ParquetFile(self.path)
        except OSError as error:
            raise DiskError.of(error, self.path) from error
        except Exception as error:  # pyarrow has errors of its own
            raise DataError(
                f"cannot be read as Parquet: {error}", where=self.path, todo="Make the file again."
            ) from error


KINDS: Mapping[str, type[Foreign]] = {
    ".csv": Csv,
    ".tsv": Csv,
    ".npz": Npz,
    ".h5": Hdf5,
    ".hdf5": Hdf5,
    ".parquet": Parquet,
}


def foreign(path: Path) -> Foreign:
    """A file by the end of its name.

    Raises:
        DataError: Missing, or of a kind that is not read.
    """
    if path.suffix.lower() not in KINDS:
        raise DataError(
            f"is no file of simulations ('{path.suffix}')",
            where=path,
            todo=f"Use one of: {', '.join(KINDS)}.",
        )
    if not path.is_file():
        raise DataError("no such file", where=path, todo="Check the path.")
    return KINDS[path.suffix.lower()](path)


def _at_once(row_bytes: float) -> int:
    return min(MOST_ROWS, max(1, int(CHUNK_BYTES / max(1, row_bytes))))


def _same_rows(counts: Mapping[str, int], path: Path) -> int:
    """How many rows all arrays have.

    Raises:
        DataError: They have not the same number.
    """
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise DataError(
            f"arrays differ in length: {told}", where=path, todo="Give each one row a simulation."
        )
    return next(iter(counts.values()), 0)


@dataclass(frozen=True)
class Long:
    """Rows of a table that are members or steps of data sets; those of one data set stand together, under one number.

    Args:
        by: The column of that number.
        once: Columns that are the same in all rows of a data set.
        path: The file.
    """

    by: str
    once: frozenset[str]
    path: Path

    def grouped(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """One row a data set: a number of each column in `once`, the others `Ragged`."""
        rest: Chunk = {}
        seen: list[np.ndarray] = []
        for chunk in chunks:
            whole = {name: join([rest[name], chunk[name]]) for name in chunk} if rest else chunk
            starts = self._starts(whole)
            last = int(starts[-1])
            rest = {name: take(one, np.arange(last, len(one))) for name, one in whole.items()}
            if last:
                seen.append(np.asarray(whole[self.by])[starts[:-1]])
                yield self._data_sets(
                    {name: take(one, np.arange(last)) for name, one in whole.items()}, starts
                )
        if rest:
            count = len(next(iter(rest.values())))
            seen.append(np.asarray(rest[self.by])[:1])
            yield self._data_sets(rest, np.array([0, count]))
        numbers = np.concatenate(seen) if seen else np.zeros(0)
        if len(np.unique(numbers)) < len(numbers):
            raise DataError(
                f"rows of one '{self.by}' stand apart",
                where=self.path,
                todo=f"Sort the file by '{self.by}'.",
            )

    def _starts(self, chunk: Chunk) -> np.ndarray:
        """Where each data set begins."""
        numbers = np.asarray(chunk[self.by])
        return np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))

    def _data_sets(self, chunk: Chunk, offsets: np.ndarray) -> Chunk:
        found: Chunk = {}
        for name, column in chunk.items():
            values = np.asarray(column)
            if name not in self.once:
                found[name] = Ragged(values, offsets.astype(np.int64))
                continue
            first = np.repeat(values[offsets[:-1]], np.diff(offsets))
            odd = np.flatnonzero((first != values) & ~(np.isnan(first) & np.isnan(values)))
            if len(odd):
                number = np.asarray(chunk[self.by])[odd[0]]
                raise DataError(
                    f"'{name}' changes within {self.by} = {number:g}",
                    where=self.path,
                    todo="It is one number for each data set.",
                )
            found[name] = values[offsets[:-1]]
        return found
