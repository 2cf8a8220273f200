"""Pair plots of draws: a grid of panels, distributions on its diagonal, pairs of columns below.

Smooth densities and contours around 50 and 90 % of the draws for continuous columns
(`kernel_density` says how smooth); bars and scattered points for discrete ones, whose levels stand
at the axes by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import BLUE, GREY, INK, ORANGE, Style, fitted
from sbiwb.report.kernel_density import CellCounts, smooth_density
from sbiwb.report.pair_grid import (
    LABEL_SIZE,
    TEXT_WIDTH,
    UNBOUNDED,
    Column,
    LevelNames,
    PairGrid,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARE_SIZE = 6  # points
MAX_POINTS = 500  # draws that are drawn as points, where contours would be those of chance
SHADE = "#d9d9d9"
BAR_WIDTH = 0.7  # in levels
MAX_SHARES = 6  # levels whose probabilities are written over their bars


def pairs_picture(
    draws: np.ndarray,
    labels: Sequence[str],
    *,
    prior: np.ndarray | None = None,
    levels: Mapping[int, LevelNames] | None = None,
    truth: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    title: str = "Posterior",
) -> Figure:
    """Pair plot of posterior draws.

    Args:
        draws: (S, D).
        labels: Of the D columns, with units.
        prior: Prior draws (R, D), behind them on the diagonal as far as the posterior reaches.
        levels: Names of the values of discrete columns, by their place.
        truth: Of each column, (D,), where it is known.
        reference: Draws of another method (R, D), over them.
        bounds: Of what is possible, lower and upper ones, (D,) each.
        title: Of the picture.
    """
    named = levels or {}
    columns = []
    for i, label in enumerate(labels):
        own = UNBOUNDED if bounds is None else (float(bounds[0][i]), float(bounds[1][i]))
        true = None if truth is None else float(truth[i])
        columns.append(Column.of(label, draws[:, i], named.get(i), own, true))
    others = [] if prior is None else ["prior (grey)"]
    others += [] if reference is None else ["reference (black)"]
    others += [] if truth is None else ["truth (orange)"]
    grid = PairGrid.of(columns, ", ".join([f"{title} (blue)", *others]) if others else title)
    for i, axes in grid.diagonal():
        if prior is not None:
            draw_marginal(axes, columns[i], prior[:, i], colour=GREY, filled=True)
        draw_marginal(axes, columns[i], draws[:, i], colour=BLUE)
        _set_title(axes, columns[i], draws[:, i], is_first=i == 0)
    for across, up, axes in grid.below():
        pair = draws[:, [across, up]]
        draw_pair(axes, columns[across], columns[up], pair, colour=BLUE, filled=True)
    if reference is not None:
        _draw_over(grid, reference)
    if truth is not None:
        _mark(grid, truth)
    return grid.figure


def _draw_over(grid: PairGrid, draws: np.ndarray) -> None:
    """Draws (R, D) of another method as lines."""
    for i, axes in grid.diagonal():
        draw_marginal(axes, grid.columns[i], draws[:, i], colour=INK)
    for across, up, axes in grid.below():
        draw_pair(axes, grid.columns[across], grid.columns[up], draws[:, [across, up]], colour=INK)


def _mark(grid: PairGrid, truth: np.ndarray) -> None:
    """A line at the truth (D,) on the diagonal, a cross at it below."""
    for i, axes in grid.diagonal():
        axes.axvline(truth[i], color=ORANGE, lw=1.2)
    for across, up, axes in grid.below():
        axes.plot(truth[across], truth[up], "+", color=ORANGE, ms=9, mew=1.6)


def _set_title(axes: Axes, column: Column, draws: np.ndarray, *, is_first: bool) -> None:
    """Name, and the median with the 68 % interval, or the most probable level.

    Only the first title needs room of its own: above the others there is nothing.
    """
    words = _most_probable(column, draws) if column.levels else _interval(draws)
    name = fitted(column.name, TEXT_WIDTH, LABEL_SIZE)
    title = axes.set_title(f"{name}\n{fitted(words, TEXT_WIDTH, LABEL_SIZE)}", fontsize=LABEL_SIZE)
    title.set_in_layout(is_first)


def _most_probable(column: Column, draws: np.ndarray) -> str:
    shares = level_shares(draws, column.levels)
    level = max(shares, key=lambda value: shares[value])
    return f"P({column.levels[level]}) = {shares[level]:.2f}"


def level_shares(draws: np.ndarray, levels: LevelNames) -> dict[float, float]:
    """Share of the draws (S,) at each level."""
    return {value: float((draws == value).mean()) for value in levels}


def _interval(draws: np.ndarray) -> str:
    low, middle, high = np.percentile(draws, [16, 50, 84])
    return f"{middle:.3g} +{high - middle:.2g} −{middle - low:.2g}"


def draw_marginal(
    axes: Axes,
    column: Column,
    draws: np.ndarray,
    *,
    colour: str,
    name: str | None = None,
    filled: bool = False,
) -> None:
    """Draws (S,) of one column: its density in view, or the share of each level."""
    if column.levels:
        _draw_bars(axes, column, draws, colour=colour, name=name, filled=filled)
        return
    places, density = smooth_density(draws, column.span, column.bounds)
    if filled:
        axes.fill_between(places, density, color=SHADE, lw=0)
    axes.plot(places, density, color=colour, lw=1.3, label=name)
    highest = max(float(np.max(np.asarray(line.get_ydata()))) for line in axes.lines)
    axes.set_ylim(0, 1.05 * highest or 1)


def _draw_bars(
    axes: Axes, column: Column, draws: np.ndarray, *, colour: str, name: str | None, filled: bool
) -> None:
    shares = level_shares(draws, column.levels)
    style: Style = {"fill": False, "ec": colour, "lw": 1.3}
    if filled:
        style = {"color": SHADE}
    bars = axes.bar(list(shares), list(shares.values()), BAR_WIDTH, label=name, **style)
    if not filled and name is None and len(shares) <= MAX_SHARES:
        axes.bar_label(bars, fmt="%.2f", fontsize=SHARE_SIZE, color=colour)
        axes.margins(y=0.15)


def draw_pair(
    axes: Axes,
    across: Column,
    up: Column,
    pair: np.ndarray,
    *,
    colour: str,
    filled: bool = False,
) -> None:
    """Draws (S, 2) of two columns: contours around the densest 90 and 50 %; points where the draws
    are few, or lie in few cells."""
    cells = CellCounts.of(pair, (across.span, up.span))
    if across.levels or up.levels or len(pair) <= MAX_POINTS or not cells.has_contours:
        shown = pair[:: -(-len(pair) // MAX_POINTS)]
        x, y = across.jittered(shown[:, 0], 0), up.jittered(shown[:, 1], 1)
        axes.plot(x, y, ".", color=colour, ms=2, alpha=0.5)
        return
    if filled:
        axes.contourf(*cells.grid, levels=[cells.levels[0], cells.counts.max()], colors=[SHADE])
    axes.contour(*cells.grid, levels=cells.levels, colors=[colour], linewidths=1.2)
