"""The panels of a pair plot: columns with their spans and ticks, and the grid that they are drawn
in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.pictures import new_figure
from sbiwb.report.figures import POINTS, Span, fitted, hide_spines, span_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

PANEL = 1.9  # inches
LABEL_SIZE, TICK_SIZE = 9, 7  # points
TEXT_WIDTH = 0.78 * PANEL * POINTS  # what a label may take of a panel
JITTER = 0.22  # in levels
NARROW = 1e-3  # width of a span, against its place, below which ticks count from within it
UNBOUNDED = (-np.inf, np.inf)

LevelNames = Mapping[float, str]


@dataclass(frozen=True)
class Column:
    """One column of a pair plot.

    Args:
        label: Its name, with its unit.
        span: What is shown of it.
        levels: Names of its values, where it is discrete.
        bounds: Of what is possible.
    """

    label: str
    span: Span
    levels: LevelNames = field(default_factory=dict)
    bounds: Span = UNBOUNDED

    @classmethod
    def of(
        cls,
        label: str,
        draws: np.ndarray,
        levels: LevelNames | None = None,
        bounds: Span = UNBOUNDED,
        truth: float | None = None,
    ) -> Column:
        """A column with these draws (S,), and a value that is to be in view."""
        if not levels:
            low, high = span_of(draws)
            if truth is not None:
                room = 0.05 * (high - low)
                low, high = min(low, truth - room), max(high, truth + room)
            return cls(label, (low, high), bounds=bounds)
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
