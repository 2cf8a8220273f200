"""Real observations from CSV, NPZ, JSON or HDF5 as named arrays."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.errors import DataError, DiskError
from sbiwb.store import hdf5

KINDS = (".csv", ".tsv", ".npz", ".json", ".h5", ".hdf5")


@dataclass(frozen=True)
class Table:
    """Named arrays of one file.

    Args:
        path: The file.
        arrays: Columns of a CSV (all of one length), or arrays of any shape.
        rows: Whether these are columns of a table, so that rows can be grouped.
        lines: Line of the file that each row is on.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    rows: bool
    lines: tuple[int, ...] = ()

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise DataError(
                f"has no column '{name}'",
                where=self.path,
                todo=f"It has: {', '.join(self.arrays)}. Map them with `columns`.",
            )
        return self.arrays[name]

    def numbers(self, name: str) -> np.ndarray:
        """A column as float64.

        Raises:
            DataError: It holds something that is no finite number, with the line.
        """
        values = self[name]
        try:
            numbers = values.astype(np.float64)
        except ValueError:
            numbers = np.array([_number(value) for value in values.ravel()]).reshape(values.shape)
        bad = np.argwhere(~np.isfinite(numbers))
        if len(bad):
            place = (
                f"line {self.lines[bad[0][0]]}"
                if self.rows
                else f"index {tuple(int(i) for i in bad[0])}"
            )
            value = values[tuple(bad[0])]
            raise DataError(
                f"column '{name}' holds {str(value)!r} at {place}",
                where=self.path,
                todo="Give a finite number, or leave the row out.",
            )
        return numbers


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def read_table(path: Path) -> Table:
    """Reads a file of observations.

    Raises:
        DataError: Missing, of an unknown kind, empty, or not what its name says.
    """
    if path.suffix.lower() not in KINDS:
        raise DataError(
            f"is no file of observations ('{path.suffix}')",
            where=path,
            todo=f"Use one of: {', '.join(KINDS)}.",
        )
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            "no such file",
            where=path,
            todo="Check the path; in the YAML it is relative to the YAML.",
        ) from error
    except OSError as error:
        raise DiskError.of(error, path) from error
    table = _READERS[path.suffix.lower()](path, data)
    if not table.arrays or all(array.size == 0 for array in table.arrays.values()):
        raise DataError(
            "holds no data",
            where=path,
            todo="A CSV needs a line of column names and at least one row.",
        )
    return table


def _csv(path: Path, data: bytes) -> Table:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not UTF-8 ({error.reason} at byte {error.start})",
            where=path,
            todo="Save it as UTF-8.",
        ) from error
    reader = csv.reader(
        io.StringIO(text),
        delimiter="\t" if path.suffix.lower() == ".tsv" else ",",
        skipinitialspace=True,
    )
    lines = [(reader.line_num, line) for line in reader if line and not line[0].startswith("#")]
    if not lines:
        return Table(path, {}, True)
    names = [name.strip() for name in lines[0][1]]
    _refuse_odd_table(path, text, names, [number for number, _ in lines[1:]])
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"has two columns named '{twice[0]}'",
            where=f"{path}:{lines[0][0]}",
            todo="Rename one of them.",
        )
    for number, line in lines[1:]:
        if len(line) != len(names):
            raise DataError(
                f"line {number} has {len(line)} values for {len(names)} columns",
                where=path,
                todo="Mend that line.",
            )
    columns = {name: _column([line[i] for _, line in lines[1:]]) for i, name in enumerate(names)}
    return Table(path, columns, True, tuple(number for number, _ in lines[1:]))


def _refuse_odd_table(path: Path, text: str, names: list[str], rows: list[int]) -> None:
    """Another separator, no line of names, or a value left out between the rows (line numbers) of a single column."""
    if len(names) == 1 and ";" in names[0]:
        raise DataError(
            "the separator seems to be ';'",
            where=f"{path}:1",
            todo="Use commas between columns, and decimal points.",
        )
    if all(np.isfinite(_number(name)) for name in names):
        raise DataError(
            "the first line holds numbers, not names of columns",
            where=f"{path}:1",
            todo="Add a line of column names.",
        )
    inner = range(rows[0], rows[-1]) if rows else range(0)
    blank = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if number in inner and not line.strip()
    ]
    if len(names) == 1 and blank:
        todo = "Give the number, or NA where it is missing, or remove the line."
        raise DataError(f"column '{names[0]}' is empty in line {blank[0]}", where=path, todo=todo)


def _column(values: list[str]) -> np.ndarray:
    try:
        return np.array([float(value) for value in values])
    except ValueError:
        return np.array([value.strip() for value in values], dtype=str)


def _npz(path: Path, data: bytes) -> Table:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return Table(path, {name: file[name] for name in file.files}, False)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"cannot be read as NPZ: {error}",
            where=path,
            todo="Save plain numeric arrays with numpy.savez.",
        ) from error


def _json(path: Path, data: bytes) -> Table:
    try:
        value = json.loads(data)
        arrays = {str(name): np.asarray(item, dtype=np.float64) for name, item in value.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"cannot be read as {{name: numbers}}: {error}",
            where=path,
            todo='For example {"x": [1.2, 3.4]}.',
        ) from error
    return Table(path, arrays, False)


def _hdf5(path: Path, data: bytes) -> Table:
    return Table(path, hdf5.read(data, path, foreign=True), False)


_READERS = {".csv": _csv, ".tsv": _csv, ".npz": _npz, ".json": _json, ".h5": _hdf5, ".hdf5": _hdf5}
