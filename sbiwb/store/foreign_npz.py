"""NPZ files of simulations; each array is read from the archive as a stream."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, NoReturn

import numpy as np

from sbiwb.errors import CorruptFile, DataError, DiskError
from sbiwb.store.foreign_file import Chunk, Foreign, check_same_rows, rows_at_once

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Npz(Foreign):
    """Arrays of `numpy.savez`, with one row a simulation."""

    def _columns(self) -> list[str]:
        with self._open() as file:
            return [name.removesuffix(".npy") for name in file.namelist()]

    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        with ExitStack() as stack:
            archive = stack.enter_context(self._open())
            streams = {}
            for name in names:
                file = stack.enter_context(archive.open(f"{name}.npy"))
                streams[name] = _ArrayStream(file, f"{self.path}:{name}")
            counts = {name: stream.shape[0] for name, stream in streams.items()}
            rows = check_same_rows(counts, self.path)
            at_once = rows_at_once(sum(stream.row_bytes for stream in streams.values()))
            for start in range(0, rows, at_once):
                count = min(at_once, rows - start)
                yield {name: stream.next(count) for name, stream in streams.items()}

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except OSError as error:
            raise DiskError.of(error, self.path) from error
        except zipfile.BadZipFile as error:
            todo = "Save plain arrays with numpy.savez."
            raise DataError(
                f"cannot be read as NPZ: {error}", where=self.path, todo=todo
            ) from error


class _ArrayStream:
    """One array of an archive, some rows at a time.

    Args:
        file: The member of the archive.
        where: Archive and member, for messages.
    """

    def __init__(self, file: IO[bytes], where: str) -> None:
        self.file, self.where = file, where
        try:
            read_header = HEADERS[np.lib.format.read_magic(file)]
            self.shape, is_fortran, self.dtype = read_header(file)
        except (ValueError, KeyError) as error:
            self._refuse(f"is no array: {error}", "Save plain numeric arrays with numpy.savez.")
        if self.dtype.kind not in "fiub" or not self.shape:
            self._refuse(f"has type {self.dtype}", "Save arrays of numbers, one row a simulation.")
        if is_fortran and len(self.shape) > 1:
            self._refuse("is stored column by column", "Save numpy.ascontiguousarray(...) of it.")
        self.row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])

    def _refuse(self, what: str, todo: str) -> NoReturn:
        raise DataError(what, where=self.where, todo=todo)

    def next(self, rows: int) -> np.ndarray:
        """The next rows.

        Raises:
            CorruptFile: The archive is cut, or its checksum does not fit.
        """
        todo = "Make the file again."
        try:
            data = self.file.read(rows * self.row_bytes)
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptFile(f"was altered: {error}", where=self.where, todo=todo) from error
        if len(data) != rows * self.row_bytes:
            raise CorruptFile("is cut", where=self.where, todo=todo)
        return np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])
