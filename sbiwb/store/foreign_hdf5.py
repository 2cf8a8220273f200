"""HDF5 files of simulations, read a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from sbiwb.errors import CorruptFile, DataError, DiskError
from sbiwb.records import Ragged, Variable
from sbiwb.store.foreign_file import Chunk, Foreign, check_same_rows, rows_at_once
from sbiwb.store.hdf5 import refuse_link, refuse_odd

AGAIN = "Make the file again."


class Hdf5(Foreign):
    """Arrays by full name; `NAME/values` beside `NAME/offsets` are arrays of varying length."""

    def _columns(self) -> list[str]:
        with self._open() as file:
            names = _array_names(file, self.path)
        dense, ragged = list[str](), set[str]()
        for name in names:
            if name.endswith("/offsets"):
                ragged.add(name.removesuffix("/offsets"))
        for name in names:
            if name.rpartition("/")[0] not in ragged:
                dense.append(name)
        return dense + sorted(ragged)

    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        with self._open() as file:
            columns = {name: _column(file[name], name, self.path) for name in names}
            counts = {name: column.rows for name, column in columns.items()}
            rows = check_same_rows(counts, self.path)
            row_bytes = sum(column.bytes for column in columns.values()) / max(1, rows)
            for part in _slices(rows, rows_at_once(row_bytes)):
                yield {name: column.read(part) for name, column in columns.items()}

    def _open(self) -> h5py.File:
        try:
            return h5py.File(self.path, "r", locking=False)
        except OSError as error:
            if not self.path.is_file():
                raise DiskError.of(error, self.path) from error
            what = f"is not a whole HDF5 file ({error})"
            raise CorruptFile(what, where=self.path, todo=AGAIN) from error


def _slices(rows: int, at_once: int) -> Iterator[slice]:
    for start in range(0, rows, at_once):
        yield slice(start, min(start + at_once, rows))


@dataclass(frozen=True)
class _Column:
    """One variable of a file, dense or ragged.

    Args:
        values: One row a simulation, or all members end to end.
        offsets: Where each row's members begin and the last end; None where it is dense.
    """

    values: h5py.Dataset
    offsets: np.ndarray | None = None

    @property
    def rows(self) -> int:
        if self.offsets is None:
            return int(self.values.shape[0])
        return len(self.offsets) - 1

    @property
    def bytes(self) -> int:
        return int(self.values.size * self.values.dtype.itemsize)

    def read(self, rows: slice) -> Variable:
        if self.offsets is None:
            return np.asarray(self.values[rows])
        offsets = self.offsets[rows.start : rows.stop + 1]
        return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])


def _column(item: h5py.Dataset | h5py.Group, name: str, path: Path) -> _Column:
    if isinstance(item, h5py.Dataset):
        return _Column(item)
    values, offsets = item["values"], np.asarray(item["offsets"][...], np.int64)
    rises = (np.diff(offsets) >= 0).all()
    if not rises or offsets[0] != 0 or offsets[-1] != len(values):
        what = f"offsets of '{name}' do not fit its values"
        raise DataError(what, where=path, todo="They rise from 0 to the number of values.")
    return _Column(values, offsets)


def _array_names(group: h5py.Group, path: Path) -> list[str]:
    """Full names of the arrays with one row or more; links and the like are refused."""
    names: list[str] = []
    for name in group:
        refuse_link(group, name, path)
        item = group[name]
        if isinstance(item, h5py.Group):
            names += _array_names(item, path)
            continue
        refuse_odd(item, path)
        if item.shape:
            names.append(item.name.lstrip("/"))
    return names
