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
        if self.lengths is not None:
            return len(self.lengths)
        return len(self.values) // max(1, self._rows_each)

    @property
    def _rows_each(self) -> int:
        """Rows of a data set that has no length of its own: its cells."""
        return prod(self.grid)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """One row a data set, (N, C'), repeated to each of its members or cells, (rows, C')."""
        repeats = self.lengths
        if repeats is None:
            repeats = np.array(self._rows_each)
        return np.repeat(values, repeats, axis=0)

    def place(self, row: int, channel: int) -> str:
        """Where a value lies, in words; everything counts from 0."""
        place = self._place_of_row(row)
        if self.values.shape[1] > 1:
            return f"{place}, channel {channel}"
        return place

    def _place_of_row(self, row: int) -> str:
        if self.grid:
            data_set, cell = divmod(row, self._rows_each)
            places = np.array(np.unravel_index(cell, self.grid)).tolist()
            return f"data set {data_set}, cell {tuple(places)}"
        if self.lengths is None:
            return f"data set {row}"
        ends = np.cumsum(self.lengths)
        data_set = int(np.searchsorted(ends, row, side="right"))
        return f"data set {data_set}, position {row - int(ends[data_set] - self.lengths[data_set])}"


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
    if isinstance(variable, Ragged):
        _check_numbers(name, variable.values)
        flat = _ragged(name, kind, variable)
    else:
        values = np.asarray(variable)
        _check_numbers(name, values)
        flat = _array(name, kind, values, axes)
    _check_finite(name, flat, missing)
    return flat


def _check_numbers(name: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"holds {values.dtype} instead of numbers",
            where=name,
            todo="Give each category a number.",
        )


def _ragged(name: str, kind: str, variable: Ragged) -> Flat:
    if kind in ("vector", "grid"):
        raise DataError(
            "has a length of its own in every data set",
            where=name,
            todo="Use 'as: set' or 'as: series'.",
        )
    if variable.values.ndim > 2:
        raise DataError(
            f"has members of shape {variable.values.shape[1:]}",
            where=name,
            todo="A member is one number or one row of them.",
        )
    return Flat(_rows(variable.values, 1), variable.lengths)


def _array(name: str, kind: str, values: np.ndarray, axes: int) -> Flat:
    ahead = {"vector": 1, "set": 2, "series": 2, "grid": 1 + axes}[kind]
    if values.ndim not in (ahead, ahead + 1):
        raise DataError(f"has the shape {values.shape}", where=name, todo=_shapes(kind, axes))
    rows = _rows(values, ahead)
    if kind == "vector":
        return Flat(rows)
    if kind == "grid":
        return Flat(rows, grid=values.shape[1:ahead])
    data_sets, members = values.shape[:2]
    return Flat(rows, np.full(data_sets, members))


def _rows(values: np.ndarray, ahead: int) -> np.ndarray:
    """Values as (rows, C): the axes `ahead` are rows, and one more has the channels."""
    channels = 1
    if values.ndim > ahead:
        channels = values.shape[-1]
    return np.asarray(values, np.float64).reshape(-1, channels)


def _shapes(kind: str, axes: int) -> str:
    """Which arrays a kind takes."""
    if kind == "grid":
        ahead = ("N, A", "N, A, B")[axes - 1]
        return (
            f"A grid with 'axes: {axes}' has the shape ({ahead}) or ({ahead}, C): N data sets, "
            f"C channels. Write 'axes: {3 - axes}', or choose another 'as'."
        )
    expected = "(N, M) or (N, M, C)"
    if kind == "vector":
        expected = "(N,) or (N, C)"
    return (
        f"A {kind} has the shape {expected}: N data sets, M members or steps, C channels. "
        "Choose another 'as'."
    )


def _check_finite(name: str, flat: Flat, missing: bool) -> None:
    bad = ~np.isfinite(flat.values)
    if missing:
        bad = np.isinf(flat.values)
    if not bad.any():
        return
    row, channel = np.argwhere(bad)[0].tolist()
    first = flat.values[row, channel]
    todo = "Leave such members out, or let the simulator return a finite code for them."
    if np.isnan(first):
        todo = (
            "If NaN says that a value is missing, add the transform nan_to_mask; "
            "else let the simulator return a finite code."
        )
    raise DataError(
        f"{int(bad.sum())} of {bad.size} values are not finite, the first one {first}",
        where=f"{name}, {flat.place(row, channel)}",
        todo=todo,
    )


def check_alike(flats: dict[str, Flat]) -> None:
    """Compares the sources of one input.

    Raises:
        DataError: Two of them have not the same data sets of the same size.
    """
    first, *others = flats
    for other in others:
        check_count(first, flats[first], other, flats[other])
        _check_sizes(first, flats[first], other, flats[other])


def check_count(first: str, a: Flat, other: str, b: Flat) -> None:
    """Compares the numbers of data sets.

    Raises:
        DataError: They differ.
    """
    if a.count != b.count:
        raise DataError(
            f"{first} has {a.count} data sets and {other} has {b.count}",
            where=f"{first}, {other}",
            todo="Give both for the same data sets.",
        )


def _check_sizes(first: str, a: Flat, other: str, b: Flat) -> None:
    where = f"{first}, {other}"
    if a.grid != b.grid:
        raise DataError(
            f"{first} has {cells(a.grid)} cells and {other} has {cells(b.grid)}",
            where=where,
            todo="Sources of one input must have the same cells; else make two inputs of them.",
        )
    if a.lengths is None or b.lengths is None or np.array_equal(a.lengths, b.lengths):
        return
    row = int(np.flatnonzero(a.lengths != b.lengths)[0])
    raise DataError(
        f"{first} has {a.lengths[row]} members and {other} has {b.lengths[row]} in data set {row}",
        where=where,
        todo="Sources of one input must have the same lengths; else make two inputs of them.",
    )


def cells(grid: tuple[int, ...]) -> str:
    """Sizes of a grid in words."""
    return " x ".join(map(str, grid))
