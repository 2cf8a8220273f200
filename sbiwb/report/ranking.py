"""Trained runs side by side: one row a run, as CSV and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.pictures import new_figure
from sbiwb.report.csv_tables import csv_text, six_digits
from sbiwb.report.figures import BLUE, GREEN, GREY, ORANGE, YELLOW, Style, hide_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERDICT_COLOURS = {"pass": GREEN, "info": GREY, "warn": YELLOW, "fail": ORANGE}
BEST, NOT_TOLD_APART, CLEARLY_WORSE = "best", "not told apart", "clearly worse"
BAR = 0.55


@dataclass(frozen=True)
class Compared:
    """One run among others; all densities are those of the same test pairs, in nats in the units of
    theta.

    Args:
        run: Its name.
        nlpd: Mean of -log q(theta* | x).
        nlpd_se: Its standard error.
        difference: Mean over the pairs of -log q minus that of the best run.
        difference_se: Its standard error, of the paired differences.
        verdict: best, not told apart (from the best), or clearly worse.
        calibration: Verdict of `diagnose` on these weights; None where it has not judged them.
        worst_effect: Largest effect of its calibration checks on all test pairs, max |ECDF - z|.
        worst: The check and parameter that it belongs to.
        training_pairs: Simulations to train on.
        steps: Steps of training; None where training has not ended.
        train_seconds: Wall time of the training; of its last start where it was interrupted.
        draws_per_s: Posterior draws a second, measured now on this machine.
        weights: Numbers that the network learned; None where training has not ended.
    """

    run: str
    nlpd: float
    nlpd_se: float
    difference: float
    difference_se: float
    verdict: str
    calibration: str | None
    worst_effect: float | None
    worst: str
    training_pairs: int
    steps: int | None
    train_seconds: float | None
    draws_per_s: float
    weights: int | None


def comparison_csv(rows: Sequence[Compared]) -> str:
    """The comparison as CSV, the best run first; empty where something is not known."""
    head = [field.name for field in fields(Compared)]
    return csv_text(head, (map(six_digits, astuple(row)) for row in rows))


def comparison_picture(rows: Sequence[Compared], quantile: float) -> Figure:
    """Differences to the best run with intervals; beside them the worst calibration effect and the
    time of training.

    Args:
        rows: The best run first.
        quantile: Standard errors that an interval reaches to either side.
    """
    figure = new_figure(11, 1.8 + 0.42 * len(rows))
    difference, effect, time = figure.subplots(1, 3, sharey=True, width_ratios=(2, 1, 1))
    heights = np.arange(len(rows))[::-1]
    _draw_differences(difference, heights, rows, quantile)
    _draw_effects(effect, heights, rows)
    minutes = [(row.train_seconds or 0) / 60 for row in rows]
    time.barh(heights, minutes, height=BAR, color=GREY)
    time.set(xlabel="training\nminutes")
    for axes in (difference, effect, time):
        hide_spines(axes, "top", "right")
    return figure


def _draw_effects(axes: Axes, heights: np.ndarray, rows: Sequence[Compared]) -> None:
    """The worst effect of each run in the colour of its verdict, which stands beside it."""
    effects, colours = [], []
    for row in rows:
        effects.append(row.worst_effect or 0)
        colours.append(VERDICT_COLOURS.get(row.calibration or "", GREY))
    axes.barh(heights, effects, height=BAR, color=colours)
    style: Style = {"textcoords": "offset points", "va": "center", "fontsize": 8}
    for effect, height, row in zip(effects, heights, rows, strict=True):
        axes.annotate(row.calibration or "not diagnosed", (effect, height), (4, 0), **style)
    axes.margins(x=0.35)
    axes.set_xlim(left=0)
    axes.set(xlabel="worst calibration effect\nmax |ECDF - z|")


def _draw_differences(
    axes: Axes, heights: np.ndarray, rows: Sequence[Compared], quantile: float
) -> None:
    axes.axvline(0, color=GREY, lw=0.9, ls="--")
    for height, row in zip(heights, rows, strict=True):
        if np.isfinite(row.difference):
            reach = quantile * np.nan_to_num(row.difference_se, posinf=0.0)
            colour = ORANGE if row.verdict == CLEARLY_WORSE else BLUE
            axes.errorbar(row.difference, height, xerr=reach, fmt="o", color=colour, capsize=3)
    axes.set_yticks(heights, [row.run for row in rows])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("-log q(theta* | x) more than the best run\nnats per test pair; right is worse")
