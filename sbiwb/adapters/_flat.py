"""One variable as rows of channels: a row is a data set (vector) or a member or time step of one (set, series)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbiwb.errors import DataError
from sbiwb.records import Ragged, Variable


@dataclass(frozen=True)
class Flat:
    """A variable of N data sets, end to end.

    Args:
        values: (rows, C) float64, finite.
        lengths: Members or steps of each data set, (N,); None for a vector, where rows are data sets.
    """

    values: np.ndarray
    lengths: np.ndarray | None

    @property
    def count(self) -> int:
        """Number of data sets."""
        return len(self.values) if self.lengths is None else len(self.lengths)


def flatten(name: str, kind: str, variable: Variable) -> Flat:
    """Reads a variable as the rows of a `vector`, `set` or `series`.

    Args:
        name: Its name, for messages.
        kind: What the input takes it for.
        variable: (N,) or (N, C) for a vector; (N, M), (N, M, C) or `Ragged` for a set or a series.

    Raises:
        DataError: If it has another shape, holds no numbers, or holds NaN or infinity.
    """
    values = variable.values if isinstance(variable, Ragged) else np.asarray(variable)
    if values.dtype.kind not in "biuf":
        raise DataError(f"holds {values.dtype} instead of numbers", where=name, todo="Give each category a number.")
    flat = _ragged(name, kind, variable) if isinstance(variable, Ragged) else _array(name, kind, values)
    _check_finite(name, flat)
    return flat


def _ragged(name: str, kind: str, variable: Ragged) -> Flat:
    if kind == "vector":
        raise DataError("has a length of its own in every data set", where=name, todo="Use 'as: set' or 'as: series'.")
    if variable.values.ndim > 2:
        todo = "A member is one number or one row of them."
        raise DataError(f"has members of shape {variable.values.shape[1:]}", where=name, todo=todo)
    return Flat(_rows(variable.values, variable.values.shape[1:]), variable.lengths)


def _array(name: str, kind: str, values: np.ndarray) -> Flat:
    dims = {"vector": (1, 2), "set": (2, 3), "series": (2, 3)}[kind]
    if values.ndim not in dims:
        expected = "(N,) or (N, C)" if kind == "vector" else "(N, M) or (N, M, C)"
        todo = f"A {kind} has the shape {expected}: N data sets, M members or steps, C channels. Choose another 'as'."
        raise DataError(f"has the shape {values.shape}", where=name, todo=todo)
    if kind == "vector":
        return Flat(_rows(values, values.shape[1:]), None)
    return Flat(_rows(values, values.shape[2:]), np.full(len(values), values.shape[1]))


def _rows(values: np.ndarray, item: tuple[int, ...]) -> np.ndarray:
    return np.asarray(values, np.float64).reshape(-1, item[0]) if item else np.asarray(values, np.float64).reshape(-1, 1)


def _check_finite(name: str, flat: Flat) -> None:
    bad = ~np.isfinite(flat.values)
    if bad.any():
        row, channel = np.argwhere(bad)[0]
        what = f"{int(bad.sum())} of {bad.size} values are not finite, the first one {flat.values[row, channel]}"
        todo = "Leave such members out, or let the simulator return a finite code for them."
        raise DataError(what, where=f"{name}, {place(flat, int(row), int(channel))}", todo=todo)


def place(flat: Flat, row: int, channel: int = 0) -> str:
    """Where a row of the flat values lies, in words; everything counts from 0."""
    end = f", channel {channel}" if flat.values.shape[1] > 1 else ""
    if flat.lengths is None:
        return f"data set {row}{end}"
    ends = np.cumsum(flat.lengths)
    at = int(np.searchsorted(ends, row, side="right"))
    return f"data set {at}, position {row - int(ends[at] - flat.lengths[at])}{end}"


def check_alike(flats: dict[str, Flat]) -> None:
    """Raises unless all sources of one input have the same data sets with the same lengths, naming the two that differ."""
    first, *others = flats
    for other in others:
        a, b = flats[first], flats[other]
        where = f"{first}, {other}"
        if a.count != b.count:
            what = f"{first} has {a.count} data sets and {other} has {b.count}"
            raise DataError(what, where=where, todo="Give both for the same data sets.")
        if a.lengths is None or b.lengths is None or np.array_equal(a.lengths, b.lengths):
            continue
        row = int(np.flatnonzero(a.lengths != b.lengths)[0])
        what = f"{first} has {a.lengths[row]} members and {other} has {b.lengths[row]} in data set {row}"
        raise DataError(what, where=where, todo="Sources of one input must have the same lengths; else make two inputs of them.")
