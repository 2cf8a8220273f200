"""Picture of a search of hyperparameters: losses in the order of the trials, and against each setting."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sbiwb.report.figures import BLUE, GREY, ORANGE, _figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 3
LONGEST_LABEL = 18


def tuning_picture(
    losses: Sequence[float],
    *,
    pruned: Sequence[bool],
    settings: Mapping[str, Sequence[float | str]],
    log: Collection[str] = (),
) -> Figure:
    """One panel of the search, and one a setting.

    Args:
        losses: Validation loss of each trial in nats per pair; of a pruned one, the last that was seen.
        pruned: Whether each was stopped early.
        settings: Value of each trial by key: numbers, or words for choices.
        log: Keys whose axis is logarithmic.
    """
    panels = 1 + len(settings)
    columns = min(MOST_COLUMNS, panels)
    rows = -(-panels // columns)
    figure = _figure(4.6 * columns, 3.4 * rows)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    loss, early = np.asarray(losses, float), np.asarray(pruned, bool)
    low, high = _frame(loss, early)
    shown = np.minimum(loss, high)  # far outliers would press the rest into one line
    _history(all_axes[0], shown, early)
    for axes, (key, values) in zip(all_axes[1:], settings.items(), strict=False):
        _against(axes, values, shown, early)
        axes.set_xlabel(key)
        if key in log:
            axes.set_xscale("log")
            axes.tick_params(
                axis="x", which="minor", labelsize=6
            )  # within one decade they carry labels, which would overlap
    for axes in all_axes[:panels]:
        axes.set(
            ylabel="validation loss (nats)",
            ylim=(low - 0.05 * (high - low), high + 0.05 * (high - low)),
        )
        axes.axhline(high, color=GREY, lw=0.6, ls=":")
    for axes in all_axes[panels:]:
        axes.axis("off")
    return figure


def _frame(loss: np.ndarray, early: np.ndarray) -> tuple[float, float]:
    """Lowest loss, and the height at which what is higher is drawn."""
    kept = loss[~early] if (~early).any() else loss
    low, high = float(kept.min()), float(np.percentile(kept, 85))
    return low, high + 0.25 * (high - low) + 0.05


def _history(axes: Axes, loss: np.ndarray, early: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    number = np.arange(len(loss))  # as the folders are numbered
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _points(axes, number, loss, early)
    if not early.all():
        axes.step(
            number,
            np.minimum.accumulate(np.where(early, np.inf, loss)),
            where="post",
            color=ORANGE,
            lw=1.2,
            label="best so far",
        )
    axes.set(xlabel="trial", title="Search (on the dotted line: higher)")
    axes.legend(frameon=False)


def _against(
    axes: Axes, values: Sequence[float | str], loss: np.ndarray, early: np.ndarray
) -> None:
    if any(isinstance(value, str) for value in values):
        names = sorted({str(value) for value in values})
        _points(axes, np.array([names.index(str(value)) for value in values], float), loss, early)
        axes.set_xticks(range(len(names)), [name[:LONGEST_LABEL] for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    else:
        _points(axes, np.asarray(values, float), loss, early)


def _points(axes: Axes, x: np.ndarray, loss: np.ndarray, early: np.ndarray) -> None:
    style: dict[str, Any] = {"ls": "", "marker": "o", "ms": 5}
    axes.plot(x[~early], loss[~early], color=BLUE, label="trained to the end", **style)
    axes.plot(x[early], loss[early], color=GREY, mfc="none", label="pruned", **style)
