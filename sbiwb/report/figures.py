"""What the pictures share: colours, figures without a display, panels, and text that fits."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sbiwb.pictures import new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, safe for the colour-blind.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
PINK, YELLOW, SKY = "#CC79A7", "#E69F00", "#56B4E9"
INK = "#222222"  # what others are held against
DPI = 130
PANEL_COLUMNS = 3
POINTS = 72  # of an inch
NO_WIDTH = 1e-13  # of a column, against its place; rounding alone is some 1e-16

Span = tuple[float, float]
LegendPlace = Literal["outside lower center", "outside upper center"]
Style = dict[str, Any]  # keyword arguments of matplotlib's methods


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


@dataclass(frozen=True)
class Panels:
    """A figure of equal panels, a few in a row.

    Args:
        figure: The whole.
        axes: Its panels, as many as asked for.
    """

    figure: Figure
    axes: Sequence[Axes]

    @classmethod
    def of(cls, count: int, *, width: float, height: float, columns: int = PANEL_COLUMNS) -> Panels:
        """`count` panels of this size in inches."""
        columns = min(columns, count)
        rows = -(-count // columns)
        figure = new_figure(width * columns, height * rows)
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for unused in every[count:]:
            unused.axis("off")
        return cls(figure, list(every[:count]))

    def legend(self, place: LegendPlace = "outside lower center") -> None:
        """One legend for all panels."""
        handles: dict[str, Artist] = {}
        for axes in self.axes:
            shown, labels = axes.get_legend_handles_labels()
            handles.update(zip(labels, shown, strict=True))
        if not handles:
            return
        artists, labels = list(handles.values()), list(handles)
        columns = len(labels)
        self.figure.legend(handles=artists, labels=labels, loc=place, ncols=columns, frameon=False)


def hide_spines(axes: Axes, *sides: str) -> None:
    axes.spines[list(sides)].set_visible(False)


def span_of(column: np.ndarray) -> Span:
    """What a picture shows of a column: nearly all of it, and some room."""
    low, high = np.percentile(column, [0.2, 99.8]).tolist()
    room = 0.08 * (high - low)
    if high - low <= NO_WIDTH * abs(low):  # constant, but for rounding
        room = max(0.1 * abs(low), 1e-6)
    return low - room, high + room


def fitted(text: str, width: float, size: float) -> str:
    """Text in lines that are no wider than this.

    Args:
        text: One line.
        width: In points.
        size: Of the font, in points.
    """
    lines, characters = [text], len(text)
    while characters > 1 and _width(lines, size) > width:
        characters -= 1
        lines = textwrap.wrap(text, characters)
    return "\n".join(lines)


def _width(lines: Sequence[str], size: float) -> float:
    """Of the widest line, in points."""
    from matplotlib.cbook import is_math_text
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font, widest = FontProperties(size=size), 0.0
    for line in lines:
        is_math = bool(is_math_text(line))
        width, _, _ = text_to_path.get_text_width_height_descent(line, font, is_math)
        widest = max(widest, float(width))
    return widest
