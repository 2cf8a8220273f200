"""One variable as rows of channels.

A row is a data set (vector), a member or time step of one (set, series), or a cell (grid).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from sbiwb.errors import DataError
from sbiwb.records import Ragged, Variable


@dataclass(frozen=True)
class Flat:
    """A variable of N data sets, end to end.

    Args:
        values: (rows, C) float64, finite, or NaN where a value is missing.
        lengths: Members or steps of each data set, (N,); None for a vector, where rows are data
            sets, and for a grid.
        grid: Sizes of a grid's axes; empty for the others.
    """

    values: np.ndarray
    lengths: np.ndarray | None = None
    grid: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Number of data sets."""
        return (
            len(self.values) // max(1, prod(self.grid))
            if self.lengths is None
            else len(self.lengths)
        )

    def spread(self, values: np.ndarray) -> np.ndarray:
        """One row a data set, (N, C'), repeated to each of its members or cells, (rows, C')."""
        return np.repeat(values, prod(self.grid) if self.lengths is None else self.lengths, axis=0)


def flatten(
    name: str, kind: str, variable: Variable, *, axes: int = 2, missing: bool = False
) -> Flat:
    """Reads a variable as the rows of a `vector`, `set`, `series` or `grid`.

    Args:
        name: Its name, for messages.
        kind: What the input takes it for.
        variable: (N,) or (N, C) for a vector; (N, M), (N, M, C) or `Ragged` for a set or a series;
            (N, *grid) or (N, *grid, C) for a grid.
        axes: Axes of a grid.
        missing: Whether NaN is accepted, as a value that was not observed.

    Raises:
        DataError: If it has another shape, holds no numbers, holds infinity, or NaN that is not
            accepted.
    """
    values = variable.values if isinstance(variable, Ragged) else np.asarray(variable)
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"holds {values.dtype} instead of numbers",
            where=name,
            todo="Give each category a number.",
        )
    flat = (
        _ragged(name, kind, variable)
        if isinstance(variable, Ragged)
        else _array(name, kind, values, axes)
    )
    _check_finite(name, flat, missing)
    return flat


def _ragged(name: str, kind: str, variable: Ragged) -> Flat:
    if kind in ("vector", "grid"):
        raise DataError(
            "has a length of its own in every data set",
            where=name,
            todo="Use 'as: set' or 'as: series'.",
        )
    if variable.values.ndim > 2:
        todo = "A member is one number or one row of them."
        raise DataError(f"has members of shape {variable.values.shape[1:]}", where=name, todo=todo)
    return Flat(_rows(variable.values, variable.values.shape[1:]), variable.lengths)


def _array(name: str, kind: str, values: np.ndarray, axes: int) -> Flat:
    ahead = {"vector": 1, "set": 2, "series": 2, "grid": 1 + axes}[kind]
    if values.ndim not in (ahead, ahead + 1):
        raise DataError(f"has the shape {values.shape}", where=name, todo=_shapes(kind, axes))
    lead, rows = values.shape[:ahead], _rows(values, values.shape[ahead:])
    if kind == "vector":
        return Flat(rows)
    return Flat(rows, grid=lead[1:]) if kind == "grid" else Flat(rows, np.full(lead[0], lead[1]))


def _shapes(kind: str, axes: int) -> str:
    """Which arrays a kind takes."""
    if kind == "grid":
        ahead = ("N, A", "N, A, B")[axes - 1]
        return (
            f"A grid with 'axes: {axes}' has the shape ({ahead}) or ({ahead}, C): N data sets, C "
            "channels. "
            f"Write 'axes: {3 - axes}', or choose another 'as'."
        )
    expected = "(N,) or (N, C)" if kind == "vector" else "(N, M) or (N, M, C)"
    return (
        f"A {kind} has the shape {expected}: N data sets, M members or steps, C channels. "
        "Choose another 'as'."
    )


def _rows(values: np.ndarray, item: tuple[int, ...]) -> np.ndarray:
    return (
        np.asarray(values, np.float64).reshape(-1, item[0])
        if item
        else np.asarray(values, np.float64).reshape(-1, 1)
    )


def _check_finite(name: str, flat: Flat, missing: bool) -> None:
    bad = ~np.isfinite(flat.values)
    if missing and bad.any():
        bad = np.isinf(flat.values)
    if bad.any():
        row, channel = np.argwhere(bad)[0]
        first = flat.values[row, channel]
        what = f"{int(bad.sum())} of {bad.size} values are not finite, the first one {first}"
        todo = (
            "If NaN says that a value is missing, add the transform nan_to_mask; else let the "
            "simulator return a finite code."
            if np.isnan(first)
            else "Leave such members out, or let the simulator return a finite code for them."
        )
        raise DataError(what, where=f"{name}, {place(flat, int(row), int(channel))}", todo=todo)


def place(flat: Flat, row: int, channel: int = 0) -> str:
    """Where a row of the flat values lies, in words; everything counts from 0."""
    end = f", channel {channel}" if flat.values.shape[1] > 1 else ""
    if flat.grid:
        at, cell = divmod(row, prod(flat.grid))
        return (
            f"data set {at}, cell {tuple(int(i) for i in np.unravel_index(cell, flat.grid))}{end}"
        )
    if flat.lengths is None:
        return f"data set {row}{end}"
    ends = np.cumsum(flat.lengths)
    at = int(np.searchsorted(ends, row, side="right"))
    return f"data set {at}, position {row - int(ends[at] - flat.lengths[at])}{end}"


def check_alike(flats: dict[str, Flat]) -> None:
    """Compares the sources of one input.

    Raises:
        DataError: Two of them have not the same data sets of the same size.
    """
    first, *others = flats
    for other in others:
        a, b = flats[first], flats[other]
        where = f"{first}, {other}"
        check_count(first, a, other, b)
        if a.grid != b.grid:
            todo = "Sources of one input must have the same cells; else make two inputs of them."
            raise DataError(
                f"{first} has {cells(a.grid)} cells and {other} has {cells(b.grid)}",
                where=where,
                todo=todo,
            )
        if a.lengths is None or b.lengths is None or np.array_equal(a.lengths, b.lengths):
            continue
        row = int(np.flatnonzero(a.lengths != b.lengths)[0])
        what = (
            f"{first} has {a.lengths[row]} members and {other} has {b.lengths[row]} in data "
            f"set {row}"
        )
        raise DataError(
            what,
            where=where,
            todo="Sources of one input must have the same lengths; else make two inputs of them.",
        )


def check_count(first: str, a: Flat, other: str, b: Flat) -> None:
    """Raises unless both have as many data sets."""
    if a.count != b.count:
        what = f"{first} has {a.count} data sets and {other} has {b.count}"
        raise DataError(what, where=f"{first}, {other}", todo="Give both for the same data sets.")


def cells(grid: tuple[int, ...]) -> str:
    """Sizes of a grid in words."""
    return " x ".join(map(str, grid))
