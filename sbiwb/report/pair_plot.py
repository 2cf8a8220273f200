"""Pair plots of draws: a grid of panels, distributions on its diagonal, pairs of columns below.

Smooth densities and contours for continuous columns; bars and scattered points for discrete ones,
whose levels stand at the axes by name.

A density is that of the draws under a normal kernel, whose sd is `bandwidth` of them, reflected at
the ends of what is possible; contours hold 50 and 90 % of draws counted in 36 x 36 cells, smoothed
by one cell.

References:
    Silverman (1986), Density Estimation for Statistics and Data Analysis, 3.31
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.pictures import new_figure
from sbiwb.report.figures import (
    BLUE,
    GREY,
    ORANGE,
    POINTS,
    Span,
    Style,
    fitted,
    hide_spines,
    span_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

PANEL = 1.9  # inches
LABEL_SIZE, TICK_SIZE, SHARE_SIZE = 9, 7, 6  # points
TEXT_WIDTH = 0.78 * PANEL * POINTS  # what a label may take of a panel
PLACES, CELLS = 512, 36  # of a density on the diagonal, and of one side of a panel below it
SMOOTH = 1.0  # cells
HELD = (0.9, 0.5)  # shares of the draws within the contours
MAX_POINTS = 500  # draws that are drawn as points, where contours would be those of chance
SHADE = "#d9d9d9"
BAR_WIDTH, JITTER = 0.7, 0.22  # in levels
MAX_SHARES = 6  # levels whose probabilities are written over their bars
NARROW = 1e-3  # width of a span, against its place, below which ticks count from within it

LevelNames = Mapping[float, str]


@dataclass(frozen=True)
class Column:
    """One column of a pair plot.

    Args:
        label: Its name, with its unit.
        span: What is shown of it.
        levels: Names of its values, where it is discrete.
    """

    label: str
    span: Span
    levels: LevelNames = field(default_factory=dict)

    @classmethod
    def of(cls, label: str, draws: np.ndarray, levels: LevelNames | None = None) -> Column:
        """A column with these draws (S,)."""
        if not levels:
            return cls(label, span_of(draws))
        return cls(label, (min(levels) - 0.6, max(levels) + 0.6), levels)

    @property
    def name(self) -> str:
        return self.label.partition(" (")[0]

    @cached_property
    def origin(self) -> float:
        """Where its ticks count from: 0, or a round number within a narrow span far from 0."""
        low, high = self.span
        width = high - low
        if self.levels or width > NARROW * max(abs(low), abs(high)):
            return 0.0
        digits = -int(np.floor(np.log10(width)))
        return round((low + high) / 2, digits)

    @property
    def axis_label(self) -> str:
        label = fitted(self.label, TEXT_WIDTH, LABEL_SIZE)
        if not self.origin:
            return label
        return f"{label}\nminus {self.origin:.15g}"

    def jittered(self, values: np.ndarray, seed: int) -> np.ndarray:
        """Values to draw as points; those of a level side by side."""
        if not self.levels:
            return values
        return values + np.random.default_rng(seed).uniform(-JITTER, JITTER, len(values))

    def set_ticks(self, axis: Axis) -> None:
        """A few numbers, or the levels by name."""
        from matplotlib.ticker import FuncFormatter

        if self.levels:
            axis.set_ticks(list(self.levels), list(self.levels.values()))
            return
        axis.set_ticks(self._ticks())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value - self.origin:.4g}"))

    def _ticks(self) -> np.ndarray:
        """Round numbers counted from the origin: far from it matplotlib loses all but one."""
        from matplotlib.ticker import MaxNLocator

        low, high = self.span
        locator = MaxNLocator(3, prune="both")
        steps = np.asarray(locator.tick_values(low - self.origin, high - self.origin))
        ticks = self.origin + steps
        return ticks[(low <= ticks) & (ticks <= high)]


@dataclass(frozen=True)
class PairGrid:
    """The panels of D columns.

    Args:
        figure: The whole.
        panels: Axes, (D, D); those above the diagonal are empty.
        columns: D of them.
    """

    figure: Figure
    panels: np.ndarray
    columns: Sequence[Column]

    @classmethod
    def of(cls, columns: Sequence[Column], title: str) -> PairGrid:
        """An empty grid with its axes labelled."""
        d = len(columns)
        size = PANEL * max(2, d)
        figure = new_figure(size + 1.2, size + 0.9)
        panels = figure.subplots(d, d, squeeze=False, sharex="col")
        figure.suptitle(fitted(title, size * POINTS, 11), fontsize=11)
        grid = cls(figure, panels, columns)
        grid._label()
        return grid

    def diagonal(self) -> Iterator[tuple[int, Axes]]:
        yield from enumerate(self.panels.diagonal())

    def below(self) -> Iterator[tuple[int, int, Axes]]:
        """Column across, column upwards, and their panel."""
        for row in range(len(self.columns)):
            for column in range(row):
                yield column, row, self.panels[row, column]

    def _label(self) -> None:
        for axes in self.panels[np.triu_indices(len(self.columns), 1)]:
            axes.axis("off")
        for i, axes in self.diagonal():
            axes.set_yticks([])
            axes.set_xlim(self.columns[i].span)
            hide_spines(axes, "top", "right", "left")
        for _, row, axes in self.below():
            axes.set_ylim(self.columns[row].span)
            axes.set_yticks([])
            hide_spines(axes, "top", "right")
        self._label_bottom()
        self._label_left()

    def _label_bottom(self) -> None:
        for column, axes in zip(self.columns, self.panels[-1], strict=True):
            axes.set_xlabel(column.axis_label, fontsize=LABEL_SIZE)
            column.set_ticks(axes.xaxis)
            axes.tick_params(axis="x", labelsize=TICK_SIZE)
            if column.levels:
                axes.tick_params(axis="x", rotation=90)

    def _label_left(self) -> None:
        for column, axes in zip(self.columns[1:], self.panels[1:, 0], strict=True):
            axes.set_ylabel(column.axis_label, fontsize=LABEL_SIZE)
            column.set_ticks(axes.yaxis)
            axes.tick_params(axis="y", labelsize=TICK_SIZE)


def pairs_picture(
    draws: np.ndarray,
    labels: Sequence[str],
    *,
    prior: np.ndarray | None = None,
    levels: Mapping[int, LevelNames] | None = None,
    truth: np.ndarray | None = None,
    title: str = "Posterior",
) -> Figure:
    """Pair plot of posterior draws.

    Args:
        draws: (S, D).
        labels: Of the D columns, with units.
        prior: Prior draws (R, D), behind them on the diagonal as far as the posterior reaches.
        levels: Names of the values of discrete columns, by their place.
        truth: Of each column, (D,), where it is known.
        title: Of the picture.
    """
    named = levels or {}
    shown = draws if truth is None else np.vstack([draws, truth])
    columns = [Column.of(label, shown[:, i], named.get(i)) for i, label in enumerate(labels)]
    others = [] if prior is None else ["prior (grey)"]
    others += [] if truth is None else ["truth (orange)"]
    grid = PairGrid.of(columns, " and ".join([f"{title} (blue)", *others]) if others else title)
    for i, axes in grid.diagonal():
        if prior is not None:
            draw_marginal(axes, columns[i], prior[:, i], colour=GREY, filled=True)
        draw_marginal(axes, columns[i], draws[:, i], colour=BLUE)
        _set_title(axes, columns[i], draws[:, i], is_first=i == 0)
    for across, up, axes in grid.below():
        pair = draws[:, [across, up]]
        draw_pair(axes, columns[across], columns[up], pair, colour=BLUE, filled=True)
    if truth is not None:
        _mark(grid, truth)
    return grid.figure


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
    places, density = smooth_density(draws, column.span)
    if filled:
        axes.fill_between(places, density, color=SHADE, lw=0)
    axes.plot(places, density, color=colour, lw=1.3, label=name)
    axes.set_ylim(bottom=0)


def bandwidth(draws: np.ndarray) -> float:
    """Silverman's rule of thumb for draws (S,): 0.9 min(sd, IQR / 1.34) S^-1/5."""
    low, high = np.percentile(draws, [25, 75])
    spread = min(float(draws.std()), float(high - low) / 1.34) or float(draws.std())
    return 0.9 * spread * len(draws) ** -0.2


def smooth_density(draws: np.ndarray, span: Span) -> tuple[np.ndarray, np.ndarray]:
    """Density of draws (S,) at places of a span, both (PLACES,); mass that the kernel would carry
    beyond the outermost draws is reflected, so that a density does not sink at a bound."""
    from scipy.ndimage import gaussian_filter1d

    inside = draws[(span[0] <= draws) & (draws <= span[1])]
    edges = np.linspace(*span, PLACES + 1)
    places, width = 0.5 * (edges[1:] + edges[:-1]), float(edges[1] - edges[0])
    if not len(inside):
        return places, np.zeros(PLACES)
    counts = np.histogram(draws, edges)[0] / (len(draws) * width)
    first, last = np.flatnonzero(counts)[[0, -1]]
    smooth = np.zeros(PLACES)
    smoothing = max(1.0, bandwidth(inside) / width)
    smooth[first : last + 1] = gaussian_filter1d(counts[first : last + 1], smoothing)
    return places, smooth


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
    cells = _CellCounts.of(pair, (across.span, up.span))
    if across.levels or up.levels or len(pair) <= MAX_POINTS or not cells.has_contours:
        shown = pair[:: -(-len(pair) // MAX_POINTS)]
        x, y = across.jittered(shown[:, 0], 0), up.jittered(shown[:, 1], 1)
        axes.plot(x, y, ".", color=colour, ms=2, alpha=0.5)
        return
    if filled:
        axes.contourf(*cells.grid, levels=[cells.levels[0], cells.counts.max()], colors=[SHADE])
    axes.contour(*cells.grid, levels=cells.levels, colors=[colour], linewidths=1.2)


@dataclass(frozen=True)
class _CellCounts:
    """Smoothed counts of draws over two columns.

    Args:
        counts: (CELLS, CELLS), the first axis across.
        edges: Of the cells, across and upwards.
    """

    counts: np.ndarray
    edges: Sequence[np.ndarray]

    @classmethod
    def of(cls, pair: np.ndarray, spans: tuple[Span, Span]) -> _CellCounts:
        from scipy.ndimage import gaussian_filter

        counts, *edges = np.histogram2d(pair[:, 0], pair[:, 1], bins=CELLS, range=spans)
        return cls(gaussian_filter(counts, SMOOTH), edges)

    @property
    def grid(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centres across, centres upwards, and counts as matplotlib takes them."""
        x, y = (0.5 * (edge[1:] + edge[:-1]) for edge in self.edges)
        return x, y, self.counts.T

    @cached_property
    def levels(self) -> list[float]:
        """Counts at the contours, rising."""
        return [densest_level(self.counts, share) for share in HELD]

    @property
    def has_contours(self) -> bool:
        low, high = self.levels
        return 0 < low < high < self.counts.max()


def densest_level(counts: np.ndarray, share: float) -> float:
    """The least count among the densest cells that hold this share of all."""
    falling = np.sort(counts, axis=None)[::-1]
    return float(falling[np.searchsorted(np.cumsum(falling), share * falling.sum())])
