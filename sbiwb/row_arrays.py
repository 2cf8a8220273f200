"""Arrays that are read in pieces by their first axis, and may lie on disk. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, overload

import numpy as np


class RowArray(Protocol):
    """An array (N, ...) that is read in pieces by its first axis, and may be larger than memory.

    Every numpy array is one.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class RowView:
    """Some rows of such an array, in the given order, read when asked for.

    Args:
        whole: (N, ...).
        rows: Which of them, (n,).
    """

    whole: RowArray
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.whole.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.whole.dtype

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray:
        return self.whole[self.rows[rows]]


@overload
def at(values: np.ndarray, rows: np.ndarray) -> np.ndarray: ...
@overload
def at(values: RowArray, rows: np.ndarray) -> RowArray: ...
def at(values: RowArray, rows: np.ndarray) -> RowArray:
    """Rows of an array: a copy of those in memory, a view of those on disk."""
    if isinstance(values, np.ndarray):
        return values[rows]
    return RowView(values, rows)


A = TypeVar("A", np.ndarray, RowArray)


def optional_at(values: A | None, rows: np.ndarray) -> A | None:
    """The same where there may be no array."""
    if values is None:
        return None
    return at(values, rows)
