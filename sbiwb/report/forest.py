"""Picture of the posteriors of many data sets side by side: intervals of continuous quantities,
probabilities of the levels of discrete ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.pictures import new_figure
from sbiwb.report.figures import BLUE, GREEN, GREY, ORANGE, POINTS, fitted, hide_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LABELLED = 160  # data sets that a forest can name
MAX_LINES = 160  # that add to its height
PANEL, LINE = 2.7, 0.26  # inches
LABEL_SIZE = 9
CONDITION_COLOURS = (BLUE, ORANGE, GREEN)


@dataclass(frozen=True)
class Forest:
    """What is drawn of N data sets.

    Args:
        labels: Of the data sets.
        intervals: q2.5, q25, median, q75 and q97.5, (N, 5), of each continuous quantity.
        shares: Probability of each level by its name, (N,), of each discrete quantity.
    """

    labels: Sequence[str]
    intervals: Mapping[str, np.ndarray]
    shares: Mapping[str, Mapping[str, np.ndarray]]

    def ordered(self) -> Forest:
        """The data sets by their condition, where they have one, then by their labels."""
        keys = []
        for condition, label in zip(_conditions(self.labels), self.labels, strict=True):
            keys.append(_natural_order(f"{condition} {label}"))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return Forest(
            [self.labels[i] for i in order],
            {name: rows[order] for name, rows in self.intervals.items()},
            {name: _taken(levels, order) for name, levels in self.shares.items()},
        )


def _taken(levels: Mapping[str, np.ndarray], rows: Sequence[int]) -> dict[str, np.ndarray]:
    return {level: shares[rows] for level, shares in levels.items()}


def _natural_order(label: str) -> list[tuple[bool, float, str]]:
    """Sorts `subject 10` behind `subject 9`."""
    return list(map(_order_of, re.findall(r"\d+(?:\.\d+)?|\D+", label)))


def _order_of(part: str) -> tuple[bool, float, str]:
    if part[0].isdigit():
        return False, float(part), ""
    return True, 0.0, part


def _conditions(labels: Sequence[str]) -> list[str]:
    """The value of the last grouping column (`subject 3, conflict LC`) where it has two or three
    values that recur; '' elsewhere."""
    last = []
    for label in labels:
        _, comma, condition = label.rpartition(", ")
        last.append(condition if comma else "")
    if 1 < len(set(last)) <= len(CONDITION_COLOURS) < len(labels):
        return last
    return [""] * len(labels)


def forest_picture(forest: Forest, *, title: str) -> Figure:
    """One panel a quantity, one line a data set.

    Args:
        forest: What to draw, by quantity with its unit.
        title: Of the picture.
    """
    forest = forest.ordered()
    names = [*forest.intervals, *forest.shares]
    lines = min(len(forest.labels), MAX_LINES)
    figure = new_figure(1.6 + PANEL * len(names), 1.6 + LINE * lines)
    panels = np.atleast_1d(figure.subplots(1, len(names), sharey=True))
    colours = _colours(forest.labels)
    heights = np.arange(len(forest.labels))[::-1]
    by_name = dict(zip(names, panels, strict=True))
    for name, rows in forest.intervals.items():
        _draw_intervals(by_name[name], heights, rows, colours)
    for name, levels in forest.shares.items():
        _draw_shares(by_name[name], heights, levels)
    for name, axes in by_name.items():
        axes.set_xlabel(fitted(name, 0.85 * PANEL * POINTS, LABEL_SIZE), fontsize=LABEL_SIZE)
        hide_spines(axes, "top", "right", "left")
        axes.tick_params(axis="y", length=0)
    _name_lines(panels[0], heights, forest.labels, colours)
    figure.suptitle(fitted(title, figure.get_figwidth() * POINTS, 12))
    return figure


def _colours(labels: Sequence[str]) -> list[str]:
    conditions = _conditions(labels)
    colours = dict(zip(dict.fromkeys(conditions), CONDITION_COLOURS, strict=False))
    return list(map(colours.__getitem__, conditions))


def _name_lines(
    axes: Axes, heights: np.ndarray, labels: Sequence[str], colours: Sequence[str]
) -> None:
    names = list(labels)
    if len(names) > MAX_LABELLED:
        names = [""] * len(names)
    axes.set_yticks(heights, names, fontsize=8)
    axes.set_ylim(-0.8, len(names) - 0.2)
    if len(set(colours)) > 1:
        for text, colour in zip(axes.get_yticklabels(), colours, strict=True):
            text.set_color(colour)


def _draw_intervals(
    axes: Axes, heights: np.ndarray, rows: np.ndarray, colours: Sequence[str]
) -> None:
    """Intervals (N, 5) at their heights; dotted, the mean of the medians of each colour."""
    low, quarter, middle, three, high = rows.T
    axes.hlines(heights, low, high, color=colours, lw=1, alpha=0.6)
    axes.hlines(heights, quarter, three, color=colours, lw=3.2, alpha=0.8)
    axes.scatter(middle, heights, s=20, color="white", edgecolors=colours, zorder=3)
    axes.grid(axis="y", color="#eeeeee", lw=0.6)
    conditions = dict.fromkeys(colours)
    for colour in conditions:
        mean = float(middle[np.array(colours) == colour].mean())
        axes.axvline(mean, color=colour if len(conditions) > 1 else GREY, lw=0.9, ls=":")


def _draw_shares(axes: Axes, heights: np.ndarray, levels: Mapping[str, np.ndarray]) -> None:
    """A bar for each data set, parted by the probabilities of the levels."""
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0.1, 0.95, len(levels)))
    left = np.zeros(len(heights))
    for (name, shares), shade in zip(levels.items(), shades, strict=True):
        axes.barh(heights, shares, 0.7, left=left, color=shade, label=name)
        left = left + shares
    axes.set_xlim(0, 1)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=7, frameon=False)
