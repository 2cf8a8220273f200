"""Pictures of simulations without data beside them: what the prior expects to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sbiwb.report.figures import (
    BLUE,
    GREY,
    LONGEST_INDEX,
    _as_panels,
    _channel,
    _channels,
    _figure,
    _has_order,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 5  # single simulations drawn over the bands


def simulated_picture(
    simulated: Mapping[str, Sequence[np.ndarray]], kinds: Mapping[str, str], *, title: str
) -> Figure:
    """Simulations, one panel an observable: bands over the index where there is an order, a histogram elsewhere.

    Args:
        simulated: R arrays of each observable: (), (T,), (T, C) or a set.
        kinds: What each observable is to the network: vector, set, series or grid; those it does not see may be left out.
        title: Of the picture.
    """
    simulated = {
        name: [_as_panels(np.asarray(one), kinds.get(name)) for one in many]
        for name, many in simulated.items()
    }
    panels = [
        (name, channel) for name, many in simulated.items() for channel in range(_channels(many[0]))
    ]
    columns = min(3, len(panels))
    figure = _figure(5.2 * columns, 3.6 * -(-len(panels) // columns))
    all_axes = np.atleast_1d(
        figure.subplots(-(-len(panels) // columns), columns, squeeze=False)
    ).ravel()
    for axes, (name, channel) in zip(all_axes, panels, strict=False):
        many = [_channel(one, channel) for one in simulated[name]]
        same_length = len({len(one) for one in many}) == 1 and 1 < len(many[0]) <= LONGEST_INDEX
        _panel(axes, name, many, ordered=_has_order(kinds.get(name), same_length))
    for axes in all_axes[len(panels) :]:
        axes.axis("off")
    named = next(
        (
            axes.get_legend_handles_labels()
            for axes in all_axes
            if axes.get_legend_handles_labels()[0]
        ),
        None,
    )
    if named is not None:
        figure.legend(*named, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    return figure


def _panel(axes: Axes, name: str, many: Sequence[np.ndarray], *, ordered: bool) -> None:
    if not ordered:
        values = np.concatenate(many)
        axes.hist(values[~np.isnan(values)], bins=40, density=True, color=BLUE, alpha=0.35)
        axes.set(xlabel=name, ylabel="density")
        return
    padded = np.full((len(many), max(len(one) for one in many)), np.nan)
    for row, one in zip(padded, many, strict=True):
        row[: len(one)] = one
    index = np.arange(1, padded.shape[1] + 1)
    for low, high, alpha, label in (
        (2.5, 97.5, 0.18, "95 % of simulations"),
        (25, 75, 0.4, "50 %"),
    ):
        axes.fill_between(
            index,
            *np.nanpercentile(padded, [low, high], axis=0),
            color=BLUE,
            alpha=alpha,
            lw=0,
            label=label,
        )
    for number, line in enumerate(padded[:LINES]):
        axes.plot(
            index, line, color=GREY, lw=0.8, label=f"the first {LINES}" if number == 0 else None
        )
    axes.set(xlabel="time step or position", ylabel=name)


def shown_simulations(
    show: Callable[..., Any], simulated: Sequence[Mapping[str, Any]], *, title: str
) -> Figure:
    """The simulator file's own `show(x, ax)`, for six simulations or fewer.

    Args:
        show: Draws one data set on axes.
        simulated: Data sets by observable.
        title: Of the picture.
    """
    figure = _figure(12, 6.4)
    all_axes = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    for number, (axes, x) in enumerate(zip(all_axes, simulated, strict=False), 1):
        show(x, axes)
        axes.set_title(f"simulated {number}", fontsize=10)
    for axes in all_axes[len(simulated) :]:
        axes.axis("off")
    figure.suptitle(title)
    return figure
