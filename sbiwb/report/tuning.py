"""Picture of a search of hyperparameters: losses in the order of the trials, and against each
setting."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import BLUE, GREY, ORANGE, Panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LETTERS = 18
HIGHEST_SHOWN = 85  # percentile of the losses


@dataclass(frozen=True)
class _Trials:
    """What is drawn of T trials.

    Args:
        losses: (T,), those far above the others at the upper end.
        pruned: (T,).
        low: Lowest loss.
        high: Where what is higher is drawn.
    """

    losses: np.ndarray
    pruned: np.ndarray
    low: float
    high: float

    @classmethod
    def of(cls, losses: np.ndarray, pruned: np.ndarray) -> _Trials:
        kept = losses if pruned.all() else losses[~pruned]
        low, most = float(kept.min()), float(np.percentile(kept, HIGHEST_SHOWN))
        high = most + 0.25 * (most - low) + 0.05
        return cls(np.minimum(losses, high), pruned, low, high)

    def draw(self, axes: Axes, x: np.ndarray) -> None:
        """A dot a trial."""
        done, pruned = ~self.pruned, self.pruned
        losses = self.losses
        axes.plot(x[done], losses[done], "o", color=BLUE, ms=5, label="trained to the end")
        axes.plot(x[pruned], losses[pruned], "o", color=GREY, ms=5, mfc="none", label="pruned")

    def frame(self, axes: Axes) -> None:
        room = 0.05 * (self.high - self.low)
        axes.set(ylabel="validation loss (nats)", ylim=(self.low - room, self.high + room))
        axes.axhline(self.high, color=GREY, lw=0.6, ls=":")


def tuning_picture(
    losses: Sequence[float],
    *,
    pruned: Sequence[bool],
    settings: Mapping[str, Sequence[float | str]],
    log: Collection[str] = (),
) -> Figure:
    """One panel of the search, and one a setting.

    Args:
        losses: Validation loss of each trial in nats per pair; of a pruned one, the last one known.
        pruned: Whether each was stopped early.
        settings: Value of each trial by key: numbers, or words for choices.
        log: Keys whose axis is logarithmic.
    """
    trials = _Trials.of(np.asarray(losses, float), np.asarray(pruned, bool))
    panels = Panels.of(1 + len(settings), width=4.6, height=3.4)
    _draw_history(panels.axes[0], trials)
    for axes, (key, values) in zip(panels.axes[1:], settings.items(), strict=True):
        _draw_setting(axes, trials, values)
        axes.set_xlabel(key)
        if key in log:
            _set_log(axes)
    for axes in panels.axes:
        trials.frame(axes)
    return panels.figure


def _set_log(axes: Axes) -> None:
    axes.set_xscale("log")
    # Within one decade minor ticks carry labels, which would overlap.
    axes.tick_params(axis="x", which="minor", labelsize=6)


def _draw_history(axes: Axes, trials: _Trials) -> None:
    from matplotlib.ticker import MaxNLocator

    number = np.arange(len(trials.losses))  # as the folders are numbered
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    trials.draw(axes, number)
    if not trials.pruned.all():
        best = np.minimum.accumulate(np.where(trials.pruned, np.inf, trials.losses))
        axes.step(number, best, where="post", color=ORANGE, lw=1.2, label="best so far")
    axes.set(xlabel="trial", title="Search (on the dotted line: higher)")
    axes.legend(frameon=False)


def _draw_setting(axes: Axes, trials: _Trials, values: Sequence[float | str]) -> None:
    if not any(isinstance(value, str) for value in values):
        trials.draw(axes, np.asarray(values, float))
        return
    names, places = np.unique(list(map(str, values)), return_inverse=True)
    trials.draw(axes, places.astype(float))
    axes.set_xticks(range(len(names)), [name[:MAX_LETTERS] for name in names])
    axes.set_xlim(-0.5, len(names) - 0.5)
