"""Small multiples: one cell a parameter, several cells a row, the figure growing with their number. Never pyplot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.pictures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, safe for the colour-blind.
BLUE, SKY, ORANGE, GREEN, VERMILLION = "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00"
INK, FAINT, GREY = "#222222", "#777777", "#999999"

WIDTH, HEIGHT = 2.7, 2.35  # of one panel, in inches
MOST_ACROSS = 4  # panels in a row
MOST_ROWS = 100  # lines of a picture of rows
HEAD = 0.75  # inches for title and note


def panels(cells: int, *, per: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (cells, per), with `per` panels side by side for each cell."""
    across = min(cells, max(1, _columns(cells, MOST_ACROSS // per)))
    rows = -(-cells // across)
    width = max(4.6, WIDTH * across * per)
    figure = new_figure(width, HEIGHT * rows + HEAD, dpi=120)
    axes = figure.subplots(rows, across * per, squeeze=False).reshape(rows * across, per)
    for spare in axes[cells:].flat:
        spare.remove()
    for panel in axes[:cells].flat:
        _tidy(panel)
    return figure, axes[:cells]


def _columns(cells: int, most: int) -> int:
    """Cells in a row: one row while they fit, else as many as fit, or one fewer where that leaves fewer gaps."""
    if cells <= most:
        return cells
    return min(
        range(max(2, most - 1), most + 1),
        key=lambda across: (-cells % across if cells < 3 * most else 0, -across),
    )


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7, length=3, color=FAINT)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    axes.locator_params(nbins=5)


def title(axes: Axes, name: str, facts: str = "") -> None:
    """The name of a panel, short enough to fit, with a few facts at its right."""
    axes.set_title(_short(name, 20 if facts else 32), fontsize=9, loc="left", color=INK)
    axes.set_title(facts, fontsize=7, loc="right", color=FAINT)


def _short(name: str, most: int) -> str:
    """The beginning and the end of a long name: columns of one parameter differ at the end."""
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"


def message(axes: Axes, text: str | None) -> None:
    """Says in an empty panel why it is empty."""
    axes.set(xticks=[], yticks=[])
    words = textwrap.fill(f"not judged: {text}", 30)
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=8, color=FAINT
    )


def empty(heading: str, why: str) -> Figure:
    """A figure that says why there is nothing to show."""
    figure, axes = panels(1)
    message(axes[0, 0], why)
    finish(figure, heading, "")
    return figure


def keys(n: int, s: int) -> str:
    """What the grey bands of a calibration plot are."""
    return f"{n} test pairs, {s} draws each; grey: where an exact posterior would be"


def finish(figure: Figure, heading: str, note: str) -> None:
    """Title of the whole figure, and below it what the marks mean."""
    width = int(figure.get_figwidth() * 11)
    head = textwrap.fill(heading, width)
    figure.suptitle(head, fontsize=11, color=INK, x=0.01, ha="left", weight="bold")
    figure.supxlabel(
        textwrap.fill(note, int(figure.get_figwidth() * 17)),
        fontsize=7.5,
        color=FAINT,
        x=0.01,
        ha="left",
    )


def sample(n: int, most: int) -> np.ndarray:
    """At most `most` of n rows, evenly spread: the same ones each time."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int)) if n else np.arange(0)


def rows(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with one panel, and in it one line a label, the first on top; the figure grows with their number."""
    figure, axes = panels(1)
    panel: Axes = axes[0, 0]
    figure.set_size_inches(7.5, 0.21 * max(len(labels), 6) + 1.5)
    panel.set_yticks(range(len(labels)), [_short(label, 36) for label in labels])
    panel.set_ylim(len(labels) - 0.4, -0.6)
    return figure, panel
