"""Pictures of training: losses over steps, and over learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.pictures import new_figure
from sbiwb.report.figures import BLUE, GREY, ORANGE, Span, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS = "loss (nats per pair)"  # the negative log-density of z, or the network's own loss
HIGHEST_SHOWN = 90  # percentile of the validation losses


def loss_picture(losses: Sequence[Sequence[float]], best_step: int) -> Figure:
    """Training and validation loss.

    Args:
        losses: [step, training loss, validation loss] of each validation, nats per pair.
        best_step: The step whose weights are kept.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    steps, training, validation = np.asarray(losses, float).reshape(-1, 3).T
    style: Style = {}
    if len(steps) == 1:
        style = {"marker": "o"}  # a single validation makes no line
    axes.plot(steps, training, color=GREY, lw=1, label="training", **style)
    label = "validation (averaged weights)"
    axes.plot(steps, validation, color=BLUE, lw=1.8, label=label, **style)
    if len(steps):
        _mark(axes, best_step, f"best, step {best_step:,}")
        axes.set_ylim(_losses_shown(validation))
    axes.set(xlabel="step", ylabel=LOSS, title="Loss")
    axes.legend(frameon=False)
    return figure


def _mark(axes: Axes, place: float, label: str) -> None:
    axes.axvline(place, color=ORANGE, lw=1, ls="--", label=label)


def _losses_shown(validation: np.ndarray) -> Span:
    """Without the peaks of an unstable training, but with its start."""
    low = float(validation.min())
    high = max(float(validation[0]), float(np.percentile(validation, HIGHEST_SHOWN)))
    room = 0.08 * (high - low) + 0.02
    return low - room, high + room


def rates_picture(rates: np.ndarray, losses: np.ndarray, suggestion: float) -> Figure:
    """Loss against learning rate.

    Args:
        rates: Learning rate of each step, (n,).
        losses: Smoothed loss, in nats per pair, (n,).
        suggestion: The rate to take, marked.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    axes.semilogx(rates, losses, color=BLUE, lw=1.8)
    _mark(axes, suggestion, f"suggested, {suggestion:.1g}")
    axes.set(xlabel="learning rate", ylabel=LOSS, title="Learning-rate range test")
    low, start = losses.min(), losses[0]
    drop = start - low + 0.1
    axes.set_ylim(low - 0.1 * drop, start + 0.5 * drop)
    axes.legend(frameon=False)
    return figure
