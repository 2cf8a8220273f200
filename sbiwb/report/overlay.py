"""Draws of one posterior made by several methods: their distances as CSV, and all of them over one
another in a pair plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.csv_tables import csv_text, six_digits
from sbiwb.report.figures import BLUE, GREEN, INK, ORANGE, PINK, SKY, YELLOW
from sbiwb.report.pair_grid import Column, PairGrid
from sbiwb.report.pair_plot import draw_marginal, draw_pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY)


@dataclass(frozen=True)
class Distance:
    """How far a method's draws of one data set are from the reference's.

    Args:
        method: Its name.
        data_set: The data set.
        draws: Draws on each side, of C2ST and MMD².
        c2st: Accuracy of a classifier between them; 0.5 where it cannot tell them apart.
        mmd2: Squared maximum mean discrepancy of the columns in sd of the reference; 0 if the same,
            at times below.
        shift: |m1 - m2| / sd of the reference, by column, of all draws.
        ratio: sd / sd of the reference, by column, of all draws.
    """

    method: str
    data_set: str
    draws: int
    c2st: float
    mmd2: float
    shift: Mapping[str, float]
    ratio: Mapping[str, float]


def overlay_csv(rows: Sequence[Distance]) -> str:
    """A line a method and data set: its distances, then shift and ratio of each column."""
    columns = list(rows[0].shift)
    shifts = map("mean_shift[{}]".format, columns)
    ratios = map("sd_ratio[{}]".format, columns)
    head = ["method", "data_set", "draws", "c2st", "mmd2", *shifts, *ratios]
    return csv_text(head, map(_csv_row, rows))


def _csv_row(row: Distance) -> list[object]:
    numbers = [row.c2st, row.mmd2, *row.shift.values(), *row.ratio.values()]
    return [row.method, row.data_set, row.draws, *map(six_digits, numbers)]


def overlay_picture(
    draws: Mapping[str, np.ndarray], labels: Sequence[str], *, title: str
) -> Figure:
    """Pair plot of several methods' draws.

    Args:
        draws: (S, D) by method, the reference first; S may differ.
        labels: Of the D columns, with units.
        title: Of the picture.
    """
    every = np.concatenate(list(draws.values()))
    columns = [Column.of(label, every[:, i]) for i, label in enumerate(labels)]
    grid = PairGrid.of(columns, title)
    for place, (name, theta) in enumerate(draws.items()):
        _draw_method(grid, name, theta, place)
    _legend(grid)
    return grid.figure


def _draw_method(grid: PairGrid, name: str, theta: np.ndarray, place: int) -> None:
    """Draws (S, D) of one method; the first is the reference."""
    is_reference = place == 0
    colour = INK if is_reference else COLOURS[(place - 1) % len(COLOURS)]
    for i, axes in grid.diagonal():
        draw_marginal(
            axes, grid.columns[i], theta[:, i], colour=colour, name=name, filled=is_reference
        )
    for across, up, axes in grid.below():
        pair, spans = theta[:, [across, up]], (grid.columns[across], grid.columns[up])
        draw_pair(axes, *spans, pair, colour=colour, filled=is_reference)


def _legend(grid: PairGrid) -> None:
    """Beside the first panel, where there is room."""
    handles, names = grid.panels[0, 0].get_legend_handles_labels()
    if len(grid.columns) == 1:
        grid.panels[0, 0].legend(handles, names, frameon=False)
        return
    place = {"loc": "upper left", "borderaxespad": 0}
    grid.panels[0, 1].legend(handles, names, frameon=False, **place)
