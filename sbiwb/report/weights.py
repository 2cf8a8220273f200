"""Pictures of what a network does not know of itself: its weights' variances, and their share in posteriors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import BLUE, GREY, LABELLED, ORANGE, _figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 60


def log_variances_picture(found: Mapping[str, np.ndarray], initial: float) -> Figure:
    """Histograms of the learned log-variances, a row for each part of the network.

    Args:
        found: Log-variances of all uncertain weights, by the name of the part.
        initial: Where they began, marked.
    """
    figure = _figure(7, 1.6 + 0.7 * len(found))
    rows = np.atleast_1d(figure.subplots(len(found), 1, sharex=True))
    every = np.concatenate([*found.values(), [initial]])
    edges = np.linspace(every.min() - 0.1, every.max() + 0.1, BINS + 1)
    for axes, (name, values) in zip(rows, found.items(), strict=True):
        axes.hist(values, edges, color=BLUE)
        axes.axvline(initial, color=ORANGE, lw=1, ls="--")
        axes.set_yticks([])
        axes.set_ylabel(f"{name}\n{len(values):,}", rotation=0, ha="right", va="center", fontsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
    rows[0].set_title("How sure the network is of its weights (dashed: before training)")
    rows[-1].set_xlabel("logarithm of a weight's variance; left is surer")
    return figure


def shares_picture(
    labels: Sequence[str], shares: Mapping[str, np.ndarray], usual: Mapping[str, np.ndarray]
) -> Figure:
    """Epistemic share of each observed data set's posterior, beside those of the test pairs where they are known.

    Args:
        labels: Of the N data sets.
        shares: Of each parameter, (N,); NaN where it is not known.
        usual: 5, 50 and 95 % over test pairs of each parameter, (3,), where known.
    """
    figure = _figure(7, 1.9 + 0.55 * len(shares))
    axes = figure.subplots()
    rows = np.arange(len(shares))[::-1]
    for row, (name, values) in zip(rows, shares.items(), strict=True):
        if name in usual:
            low, middle, high = 100 * np.asarray(usual[name])
            axes.hlines(row, low, high, color=GREY, lw=6, alpha=0.35)
            axes.plot([middle], [row], "|", color=GREY, ms=12)
        axes.scatter(
            100 * np.maximum(values, 0), np.full(len(values), row), s=26, color=BLUE, zorder=3, lw=0
        )
        if len(labels) <= min(3, LABELLED):
            for label, value in zip(labels, values, strict=True):
                axes.annotate(
                    label,
                    (100 * max(value, 0), row),
                    (0, 6),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                )
    axes.set_yticks(rows, list(shares))
    axes.set(
        ylim=(-0.7, len(shares) - 0.3),
        xlabel="% of the posterior's variance that comes from uncertain weights",
    )
    axes.set_xlim(left=0)
    axes.set_title(
        "Epistemic share: dots the data, "
        + ("grey 5 to 95 % of the test pairs" if usual else "not diagnosed yet"),
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure
