"""Pictures of what a network does not know of itself: its weights' variances, and their share in
posteriors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.pictures import new_figure
from sbiwb.report.figures import BLUE, GREY, ORANGE, Style, hide_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 60
MAX_LABELLED = 3  # data sets whose dots have names


def log_variances_picture(log_variances: Mapping[str, np.ndarray], initial: float) -> Figure:
    """Histograms of the learned log-variances, a row for each part of the network.

    Args:
        log_variances: Of all uncertain weights, by the name of the part.
        initial: Where they began, marked.
    """
    figure = new_figure(7, 1.6 + 0.7 * len(log_variances))
    rows = np.atleast_1d(figure.subplots(len(log_variances), 1, sharex=True))
    edges = _edges([*log_variances.values(), np.array([initial])])
    for axes, (name, values) in zip(rows, log_variances.items(), strict=True):
        axes.hist(values, edges, color=BLUE)
        axes.axvline(initial, color=ORANGE, lw=1, ls="--")
        _name_row(axes, f"{name}\n{len(values):,}")
    rows[0].set_title("Log-variances of the network's weights (dashed: before training)")
    rows[-1].set_xlabel("logarithm of a weight's variance; left is more certain")
    return figure


def _edges(values: Sequence[np.ndarray]) -> np.ndarray:
    every = np.concatenate(values)
    return np.linspace(every.min() - 0.1, every.max() + 0.1, BINS + 1)


def _name_row(axes: Axes, name: str) -> None:
    axes.set_yticks([])
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    hide_spines(axes, "top", "right", "left")


def shares_picture(
    labels: Sequence[str], shares: Mapping[str, np.ndarray], usual: Mapping[str, np.ndarray]
) -> Figure:
    """Epistemic share of each observed data set's posterior, beside those of the test pairs where
    they are known.

    Args:
        labels: Of the N data sets.
        shares: Of each parameter, (N,); NaN where it is not known.
        usual: 5, 50 and 95 % over test pairs of each parameter, (3,), where known.
    """
    figure = new_figure(7, 1.9 + 0.55 * len(shares))
    axes = figure.subplots()
    rows = np.arange(len(shares))[::-1]
    for row, (name, values) in zip(rows, shares.items(), strict=True):
        if name in usual:
            _draw_usual(axes, row, 100 * np.asarray(usual[name]))
        _draw_dots(axes, row, 100 * np.maximum(values, 0), labels)
    axes.set_yticks(rows, list(shares))
    axes.set_ylim(-0.7, len(shares) - 0.3)
    axes.set_xlabel("% of the posterior's variance that comes from uncertain weights")
    axes.set_xlim(left=0)
    background = "grey 5 to 95 % of the test pairs" if usual else "not diagnosed yet"
    axes.set_title(f"Epistemic share: dots the data, {background}", fontsize=10)
    hide_spines(axes, "top", "right")
    return figure


def _draw_usual(axes: Axes, row: int, quantiles: np.ndarray) -> None:
    low, middle, high = quantiles
    axes.hlines(row, low, high, color=GREY, lw=6, alpha=0.35)
    axes.plot([middle], [row], "|", color=GREY, ms=12)


def _draw_dots(axes: Axes, row: int, percents: np.ndarray, labels: Sequence[str]) -> None:
    axes.scatter(percents, np.full(len(percents), row), s=26, color=BLUE, zorder=3, lw=0)
    if len(labels) > MAX_LABELLED:
        return
    style: Style = {"textcoords": "offset points", "ha": "center", "fontsize": 7}
    for label, percent in zip(labels, percents, strict=True):
        axes.annotate(label, (percent, row), (0, 6), **style)
