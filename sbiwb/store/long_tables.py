"""Tables with one row a member or step, put together to one row a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.errors import DataError
from sbiwb.records import Ragged, join, take
from sbiwb.store.foreign_file import Chunk


@dataclass(frozen=True)
class LongTable:
    """Rows that are members or steps; those of one data set stand together, under one number.

    Args:
        by: The column of that number.
        constant: Columns that are the same in all rows of a data set.
        path: The file.
    """

    by: str
    constant: frozenset[str]
    path: Path

    def grouped(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """One row a data set: a number of each column in `constant`, the others `Ragged`.

        Raises:
            DataError: Rows of a data set stand apart, or a constant column changes in one.
        """
        begun: Chunk = {}  # rows of the last data set, which may go on in the next chunk
        numbers = [np.zeros(0)]
        for chunk in chunks:
            rows = _joined(begun, chunk)
            starts = self._starts(rows)
            numbers.append(np.asarray(rows[self.by])[starts[:-1]])
            if starts[-1]:
                yield self._data_sets(_between(rows, 0, starts[-1]), starts)
            begun = _between(rows, starts[-1], _length(rows))
        if begun:
            numbers.append(np.asarray(begun[self.by])[:1])
            yield self._data_sets(begun, np.array([0, _length(begun)]))
        self._check_together(np.concatenate(numbers))

    def _check_together(self, numbers: np.ndarray) -> None:
        if len(np.unique(numbers)) < len(numbers):
            what = f"rows of one '{self.by}' stand apart"
            raise DataError(what, where=self.path, todo=f"Sort the file by '{self.by}'.")

    def _starts(self, chunk: Chunk) -> np.ndarray:
        """Where each data set begins."""
        numbers = np.asarray(chunk[self.by])
        return np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))

    def _data_sets(self, chunk: Chunk, offsets: np.ndarray) -> Chunk:
        """The rows between neighbouring offsets as one data set each."""
        grouped: Chunk = {}
        for name, column in chunk.items():
            values = np.asarray(column)
            if name in self.constant:
                self._check_constant(name, values, chunk, offsets)
                grouped[name] = values[offsets[:-1]]
            else:
                grouped[name] = Ragged(values, offsets.astype(np.int64))
        return grouped

    def _check_constant(
        self, name: str, values: np.ndarray, chunk: Chunk, offsets: np.ndarray
    ) -> None:
        first = np.repeat(values[offsets[:-1]], np.diff(offsets))
        changes = (first != values) & ~(np.isnan(first) & np.isnan(values))
        if not changes.any():
            return
        number = np.asarray(chunk[self.by])[changes.argmax()]
        what = f"'{name}' changes within {self.by} = {number:g}"
        raise DataError(what, where=self.path, todo="It is one number for each data set.")


def _joined(begun: Chunk, chunk: Chunk) -> Chunk:
    if not begun:
        return chunk
    return {name: join([begun[name], column]) for name, column in chunk.items()}


def _between(chunk: Chunk, start: int, stop: int) -> Chunk:
    rows = np.arange(start, stop)
    return {name: take(column, rows) for name, column in chunk.items()}


def _length(chunk: Chunk) -> int:
    return len(next(iter(chunk.values())))
