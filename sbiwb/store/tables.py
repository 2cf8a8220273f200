"""Real observations from CSV, NPZ, NPY, JSON, HDF5 or Parquet as named arrays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.errors import CorruptFile, DataError, DiskError
from sbiwb.extras import imported
from sbiwb.store import hdf5
from sbiwb.store.csv_text import read_csv

GAPS = ("", "na", "n/a", "nan", "none", "null")  # what people write where a value is missing
TRUTH = {"true": 1.0, "false": 0.0}
UNNAMED = "the array"  # of a file that holds a single one


@dataclass(frozen=True)
class Table:
    """Named arrays of one file.

    Args:
        path: The file.
        arrays: Columns of a table (all of one length), or arrays of any shape.
        rows: Whether these are columns of a table, so that rows can be grouped.
        lines: Line of the file that each row is on; empty where rows are counted from 0.
        notes: Sentences on what was assumed to read it.
        unnamed: Whether it holds a single array without a name.
    """

    path: Path
    arrays: Mapping[str, np.ndarray]
    rows: bool
    lines: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    unnamed: bool = field(default=False, kw_only=True)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise DataError(
                f"has no column '{name}'",
                where=self.path,
                todo=f"It has: {', '.join(self.arrays)}. Map them with `columns`.",
            )
        return self.arrays[name]

    def missing(self, name: str) -> np.ndarray:
        """Where a column or array has no value: NaN, an empty field, NA, null or the like."""
        values = self[name]
        if values.dtype.kind == "f":
            return np.isnan(values)
        if values.dtype.kind == "U":
            return np.isin(np.char.lower(np.char.strip(values)), GAPS)
        return np.zeros(values.shape, bool)

    def has_booleans(self, name: str) -> bool:
        """Whether a column holds the words TRUE and FALSE, and gaps at most besides."""
        values = self[name]
        if values.dtype.kind != "U":
            return False
        words = np.char.lower(values[~self.missing(name)])
        return bool(words.size) and bool(np.isin(words, list(TRUTH)).all())

    def numbers(self, name: str, *, gaps: bool = False) -> np.ndarray:
        """A column or array as float64.

        Args:
            name: Of the column.
            gaps: Whether values may be missing; they become NaN.

        Raises:
            DataError: It holds something that is no finite number, with the line.
        """
        values = self[name]
        if values.dtype.kind not in "biufUS":
            raise DataError(
                f"'{name}' holds {values.dtype} instead of numbers",
                where=self.path,
                todo="Save plain numbers.",
            )
        numbers = self._converted(name)
        bad = ~np.isfinite(numbers)
        if gaps:
            missing = self.missing(name)
            numbers, bad = np.where(missing, np.nan, numbers), bad & ~missing
        if bad.any():
            self._refuse(name, np.argwhere(bad)[0])
        return numbers

    def _converted(self, name: str) -> np.ndarray:
        """As float64, NaN where that cannot be."""
        values = self[name]
        words = TRUTH if self.has_booleans(name) else {}
        try:
            return values.astype(np.float64)
        except ValueError:
            numbers = [words.get(str(value).lower(), _number(value)) for value in values.ravel()]
            return np.array(numbers).reshape(values.shape)

    def _refuse(self, name: str, index: np.ndarray) -> None:
        place = f"index {tuple(index.tolist())}"
        if self.rows:
            place = f"row {index[0]}"
        if self.lines:
            place = f"line {self.lines[index[0]]}"
        raise DataError(
            f"column '{name}' holds {str(self[name][tuple(index)])!r} at {place}",
            where=self.path,
            todo="Give a finite number, or leave the row out.",
        )


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def read_table(path: Path) -> Table:
    """Reads a file of observations.

    Raises:
        DataError: Missing, of an unknown kind, empty, or not what its name says.
        ConfigError: It is a Parquet file, and pyarrow is not installed.
    """
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(
            f"is no file of observations ('{path.suffix}')",
            where=path,
            todo=f"Use one of: {', '.join(READERS)}.",
        )
    table = read(path, _content(path))
    if all(array.size == 0 for array in table.arrays.values()):
        raise DataError(
            "holds no data",
            where=path,
            todo="A CSV needs a line of column names and at least one row.",
        )
    return table


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            "no such file",
            where=path,
            todo="Check the path; in the YAML it is relative to the YAML.",
        ) from error
    except (OSError, ValueError) as error:
        raise DiskError.of(OSError(*error.args), path) from error


def _csv(path: Path, data: bytes) -> Table:
    text = read_csv(path, data)
    columns = {name: _column(text.column(i)) for i, name in enumerate(text.names)}
    return Table(path, columns, True, text.lines, text.notes)


def _column(values: list[str]) -> np.ndarray:
    """Numbers where all are, else words."""
    try:
        return np.array([float(value) for value in values])
    except ValueError:
        return np.array(values, dtype=str)


def _npz(path: Path, data: bytes) -> Table:
    todo = "Save plain numeric arrays with numpy.savez."
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return Table(path, {name: file[name] for name in file.files}, False)
    except Exception as error:  # numpy, zipfile and zlib raise many kinds for a damaged file
        raise DataError(f"cannot be read as NPZ: {error}", where=path, todo=todo) from error


def _npy(path: Path, data: bytes) -> Table:
    todo = "Save one plain numeric array with numpy.save."
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy raises many kinds for a damaged file
        raise DataError(f"cannot be read as NPY: {error}", where=path, todo=todo) from error
    return Table(path, {UNNAMED: array}, False, unnamed=True)


def _json(path: Path, data: bytes) -> Table:
    arrays = {}
    try:
        for name, item in json.loads(data).items():
            arrays[name] = np.asarray(item, dtype=np.float64)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"cannot be read as {{name: numbers}}: {error}",
            where=path,
            todo='For example {"x": [1.2, 3.4]}.',
        ) from error
    return Table(path, arrays, False)


def _hdf5(path: Path, data: bytes) -> Table:
    todo = "Make the file again, of plain numeric arrays."
    try:
        arrays = hdf5.read(data, path, foreign=True)
    except CorruptFile as error:
        raise CorruptFile(error.what, where=error.where, todo=todo) from error
    except Exception as error:  # h5py raises many kinds for a damaged file
        raise CorruptFile(f"is not a whole HDF5 file ({error})", where=path, todo=todo) from error
    return Table(path, arrays, False)


def _parquet(path: Path, data: bytes) -> Table:
    parquet = imported("pyarrow.parquet", extra="parquet", where=str(path))
    try:
        table = parquet.read_table(io.BytesIO(data))
        columns = {name: _parquet_column(table.column(name)) for name in table.column_names}
    except Exception as error:  # pyarrow has errors of its own
        raise DataError(
            f"cannot be read as Parquet: {error}",
            where=path,
            todo="Save columns of numbers and words.",
        ) from error
    return Table(path, columns, True)


def _parquet_column(column: Any) -> np.ndarray:
    """Numbers with NaN, or words with '', where a value is null."""
    values = column.to_numpy()
    if values.dtype.kind in "biuf":
        return values
    words = ["" if value is None else str(value) for value in values.tolist()]
    return _column(words)


READERS: Mapping[str, Callable[[Path, bytes], Table]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".npz": _npz,
    ".npy": _npy,
    ".json": _json,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".parquet": _parquet,
}
