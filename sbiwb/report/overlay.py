"""Draws of one posterior made by several methods: their distances as CSV, and all of them over one another in a pair plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import BLUE, GREEN, ORANGE, _figure, _span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, safe for the colour-blind; the reference is black.
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
INK, SHADE = "#222222", "#d9d9d9"
BINS, CELLS = 40, 36  # of a histogram on the diagonal, and of one side of a panel below it
SMOOTH = 1.0  # cells
HELD = (0.9, 0.5)  # shares of the draws within the contours
FEW = 500  # draws that are drawn as points, where contours would be those of chance


@dataclass(frozen=True)
class Distance:
    """How far a method's draws of one data set are from the reference's.

    Args:
        method: Its name.
        data_set: The data set.
        draws: Draws on each side, of C2ST and MMD².
        c2st: Accuracy of a classifier between them; 0.5 where it cannot tell them apart.
        mmd2: Squared maximum mean discrepancy of the columns in sd of the reference; 0 if the same, at times below.
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
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = list(rows[0].shift)
    heading = [f"{what}[{column}]" for what in ("mean_shift", "sd_ratio") for column in columns]
    writer.writerow(["method", "data_set", "draws", "c2st", "mmd2", *heading])
    for row in rows:
        numbers = [row.c2st, row.mmd2, *row.shift.values(), *row.ratio.values()]
        writer.writerow(
            [row.method, row.data_set, row.draws, *(f"{number:.6g}" for number in numbers)]
        )
    return buffer.getvalue()


def overlay_picture(
    draws: Mapping[str, np.ndarray], labels: Sequence[str], *, title: str
) -> Figure:
    """Pair plot of several methods' draws: steps on the diagonal, contours around 50 and 90 % of the draws below it.

    Args:
        draws: (S, D) by method, the reference first; S may differ.
        labels: Of the D columns, with units.
        title: Of the picture.
    """
    d = len(labels)
    figure = _figure(1.9 * max(2, d) + 1.2, 1.9 * max(2, d) + 0.6)
    grid = figure.subplots(d, d, squeeze=False, sharex="col")
    spans = [_span(np.concatenate([one[:, i] for one in draws.values()])) for i in range(d)]
    for row in range(d):
        for column in range(d):
            axes = grid[row, column]
            if column > row:
                axes.axis("off")
                continue
            _panel(axes, draws, (column, row), spans)
            _label(axes, labels, (column, row), last=d - 1)
    handles, names = grid[0, 0].get_legend_handles_labels()
    if d == 1:
        grid[0, 0].legend(handles, names, frameon=False)
    else:
        grid[0, 1].legend(handles, names, loc="upper left", frameon=False, borderaxespad=0)
    figure.suptitle(title, fontsize=11)
    return figure


def _panel(
    axes: Axes,
    draws: Mapping[str, np.ndarray],
    place: tuple[int, int],
    spans: Sequence[tuple[float, float]],
) -> None:
    column, row = place
    axes.set_xlim(spans[column])
    if column != row:
        axes.set_ylim(spans[row])
    for i, (name, theta) in enumerate(draws.items()):
        colour = INK if i == 0 else COLOURS[(i - 1) % len(COLOURS)]
        if column == row:
            _steps(axes, theta[:, column], spans[column], colour=colour, name=name, filled=i == 0)
        else:
            _contours(
                axes,
                theta[:, [column, row]],
                (spans[column], spans[row]),
                colour=colour,
                filled=i == 0,
            )


def _steps(
    axes: Axes,
    values: np.ndarray,
    span: tuple[float, float],
    *,
    colour: str,
    name: str,
    filled: bool,
) -> None:
    counts, edges = np.histogram(values, bins=BINS, range=span)
    density = counts / len(values) / np.diff(edges)
    if filled:
        axes.stairs(density, edges, color=SHADE, fill=True)
    axes.stairs(density, edges, color=colour, lw=1.3, label=name)
    axes.set_yticks([])


def _contours(
    axes: Axes,
    pair: np.ndarray,
    spans: tuple[tuple[float, float], tuple[float, float]],
    *,
    colour: str,
    filled: bool,
) -> None:
    """Around the densest cells with 90 and 50 % of a pair of columns (S, 2); points where the draws are few or lie in few cells."""
    from scipy.ndimage import gaussian_filter

    counts, *edges = np.histogram2d(pair[:, 0], pair[:, 1], bins=CELLS, range=spans)
    smooth = gaussian_filter(counts, SMOOTH)
    high, low = (_level(smooth, share) for share in reversed(HELD))
    if len(pair) <= FEW or not 0 < low < high < smooth.max():
        axes.plot(*pair[:: -(-len(pair) // FEW)].T, ".", color=colour, ms=2, alpha=0.5)
        return
    x, y = (0.5 * (edge[1:] + edge[:-1]) for edge in edges)
    if filled:
        axes.contourf(x, y, smooth.T, levels=[low, smooth.max()], colors=[SHADE])
    axes.contour(x, y, smooth.T, levels=[low, high], colors=[colour], linewidths=1.2)


def _level(counts: np.ndarray, share: float) -> float:
    """The least count among the densest cells that hold this share of all."""
    falling = np.sort(counts, axis=None)[::-1]
    return float(falling[np.searchsorted(np.cumsum(falling), share * falling.sum())])


def _label(axes: Axes, labels: Sequence[str], place: tuple[int, int], *, last: int) -> None:
    column, row = place
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", nbins=4)
    if column == row:
        axes.spines["left"].set_visible(False)
    else:
        axes.locator_params(axis="y", nbins=4)
    if row == last:
        axes.set_xlabel(labels[column])
        axes.tick_params(axis="x", rotation=30)
    if column == 0 and row > 0:
        axes.set_ylabel(labels[row])
    elif column != row:
        axes.set_yticklabels([])
