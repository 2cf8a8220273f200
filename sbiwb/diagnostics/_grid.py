"""Small multiples: one cell a parameter, several a row, the figure growing with their number.

Never pyplot.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sbiwb.pictures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, safe for the colour-blind.
BLUE, SKY, ORANGE, GREEN, VERMILLION = "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00"
INK, FAINT, GREY = "#222222", "#777777", "#999999"

PANEL_WIDTH, PANEL_HEIGHT = 2.7, 2.35  # in inches
MAX_ACROSS = 4  # panels in a row
MAX_ROWS = 100  # lines of a picture of rows
HEADER_HEIGHT = 0.75  # inches for title and note
TITLE_LETTERS, TITLE_LETTERS_BESIDE_FACTS = 32, 20
ROW_LETTERS = 36


def panels(cells: int, *, per: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (cells, per), with `per` panels side by side for each cell."""
    across = min(cells, max(1, _columns(cells, MAX_ACROSS // per)))
    lines = -(-cells // across)
    width = max(4.6, PANEL_WIDTH * across * per)
    figure = new_figure(width, PANEL_HEIGHT * lines + HEADER_HEIGHT, dpi=120)
    axes = figure.subplots(lines, across * per, squeeze=False).reshape(lines * across, per)
    for spare in axes[cells:].flat:
        spare.remove()
    for panel in axes[:cells].flat:
        _tidy(panel)
    return figure, axes[:cells]


def by_cell(cells: int, draw: Callable[[Axes, int], None], heading: str, note: str) -> Figure:
    """A figure whose panels are drawn one by one, by their number."""
    figure, axes = panels(cells)
    for number, panel in enumerate(axes[:, 0]):
        draw(panel, number)
    finish(figure, heading, note)
    return figure


def _columns(cells: int, most: int) -> int:
    """Cells in a row: all of them while they fit, else as many as fit.

    One fewer where that leaves fewer gaps in the last row.
    """
    if cells <= most:
        return cells
    fewer = max(2, most - 1)
    if cells < 3 * most and -cells % fewer < -cells % most:
        return fewer
    return max(fewer, most)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7, length=3, color=FAINT)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    axes.locator_params(nbins=5)


def title(axes: Axes, name: str, facts: str = "") -> None:
    """The name of a panel, short enough to fit, with a few facts at its right."""
    most = TITLE_LETTERS
    if facts:
        most = TITLE_LETTERS_BESIDE_FACTS
    axes.set_title(shortened(name, most), fontsize=9, loc="left", color=INK)
    axes.set_title(facts, fontsize=7, loc="right", color=FAINT)


def shortened(name: str, most: int) -> str:
    """Beginning and end of a long name: columns of one parameter differ at the end.

    Example:
        >>> shortened("probability_of_recovery[3]", 20)
        'probability…overy[3]'
    """
    if len(name) <= most:
        return name
    return f"{name[: most - 9]}…{name[-8:]}"


def message(axes: Axes, text: str | None) -> None:
    """Says in an empty panel why it is empty."""
    axes.set(xticks=[], yticks=[])
    words = textwrap.fill(f"not judged: {text}", 30)
    write(axes, 0.5, 0.5, words, ha="center", va="center", fontsize=8)


def write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Small grey words at a place of the panel, from 0 to 1 each way."""
    axes.text(x, y, text, **{"transform": axes.transAxes, "fontsize": 7, "color": FAINT, **style})


def band(
    axes: Axes,
    x: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    alpha: float = 0.35,
    step: Literal["post"] | None = None,
) -> None:
    """A grey band between two curves."""
    axes.fill_between(x, lower, upper, color=GREY, alpha=alpha, lw=0, step=step)


def diagonal(axes: Axes) -> None:
    """From (0, 0) to (1, 1)."""
    axes.plot([0, 1], [0, 1], color=INK, lw=0.6)


def dots(axes: Axes, x: np.ndarray, warned: Sequence[bool] | np.ndarray) -> None:
    """One dot a line of a picture of rows, those that warn in red."""
    colors = warned_colors(warned)
    axes.scatter(x, np.arange(len(x)), s=22, color=colors, lw=0, zorder=3)


def empty(heading: str, why: str) -> Figure:
    """A figure that says why there is nothing to show."""
    figure, axes = panels(1)
    message(axes[0, 0], why)
    finish(figure, heading, "")
    return figure


def band_note(n: int, s: int) -> str:
    """What the grey bands of a calibration plot are."""
    return f"{n} test pairs, {s} draws each; grey: where an exact posterior would be"


def finish(figure: Figure, heading: str, note: str) -> None:
    """Title of the whole figure, and below it what the marks mean."""
    inches = figure.get_figwidth()
    heading = textwrap.fill(heading, int(inches * 11))
    note = textwrap.fill(note, int(inches * 17))
    figure.suptitle(heading, fontsize=11, color=INK, x=0.01, ha="left", weight="bold")
    figure.supxlabel(note, fontsize=7.5, color=FAINT, x=0.01, ha="left")


def sample(n: int, most: int) -> np.ndarray:
    """At most `most` of n rows, evenly spread: the same ones each time."""
    if not n:
        return np.arange(0)
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


def warned_colors(warned: Sequence[bool] | np.ndarray) -> list[str]:
    """The colour of each mark: red where it warns."""
    return list(np.where(warned, VERMILLION, BLUE))


def most_extreme(judged: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Of the judged rows, in order, those of the smallest scores that one picture can show."""
    return np.sort(judged[np.argsort(score, kind="stable")[:MAX_ROWS]])


def left_out(shown: int, judged: int, adjective: str, noun: str = "") -> str:
    """A clause that says how many rows are shown, where not all are."""
    if shown >= judged:
        return ""
    return f"; the {shown} {adjective} of {judged}{noun}"


def rows(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with one panel, and in it one line a label, the first on top."""
    figure, axes = panels(1)
    panel: Axes = axes[0, 0]
    figure.set_size_inches(7.5, 0.21 * max(len(labels), 6) + 1.5)
    panel.set_yticks(range(len(labels)), [shortened(label, ROW_LETTERS) for label in labels])
    panel.set_ylim(len(labels) - 0.4, -0.6)
    return figure, panel
