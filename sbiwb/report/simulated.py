"""Pictures of simulations: from the prior alone, or from the posterior over the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.pictures import new_figure
from sbiwb.report.figures import ORANGE, Panels
from sbiwb.report.grid_panels import GridPanel
from sbiwb.report.observables import ObservablePanel, Values, panels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_AT_ONCE = 6  # data sets that the file's own `show` draws

DataSet = Mapping[str, np.ndarray]  # by observable
Show = Callable[[DataSet, "Axes"], object]


def predictive_picture(
    observed: DataSet, simulated: Mapping[str, Values], kinds: Mapping[str, str], *, title: str
) -> Figure:
    """Simulations from the posterior over the data, one panel an observable.

    Args:
        observed: Data of one data set by observable: (), (T,), (T, C), a set, (H, W)
            or (H, W, C).
        simulated: Simulated data by observable, a list of R arrays like the observed one.
        kinds: What each observable is to the network: vector, set, series or grid; those it does
            not see may be left out.
        title: Of the picture.
    """
    return _drawn(list(panels_of(simulated, kinds, observed)), title)


def simulated_picture(
    simulated: Mapping[str, Values], kinds: Mapping[str, str], *, title: str
) -> Figure:
    """Simulations without data; arguments as those of `predictive_picture`."""
    return _drawn(list(panels_of(simulated, kinds, {})), title)


def _drawn(observables: Sequence[ObservablePanel | GridPanel], title: str) -> Figure:
    panels = Panels.of(len(observables), width=5.2, height=3.6)
    for observable, axes in zip(observables, panels.axes, strict=True):
        observable.draw(axes)
    panels.legend()
    panels.figure.suptitle(title)
    return panels.figure


def shown_picture(
    show: Show, observed: DataSet, simulated: Sequence[DataSet], *, title: str
) -> Figure:
    """The simulator file's own `show(x, ax)`: the data first, then data sets simulated from the
    posterior.

    Args:
        show: Draws one data set on axes.
        observed: The data, by observable.
        simulated: Five data sets or fewer.
        title: Of the picture.
    """
    names = ["observed", *map("simulated {}".format, range(1, SHOWN_AT_ONCE))]
    figure = _shown(show, [observed, *simulated], names, title)
    figure.axes[0].title.set_color(ORANGE)
    return figure


def shown_simulations(show: Show, simulated: Sequence[DataSet], *, title: str) -> Figure:
    """The simulator file's own `show(x, ax)`, for six simulations or fewer.

    Args:
        show: Draws one data set on axes.
        simulated: Data sets by observable.
        title: Of the picture.
    """
    names = list(map("simulated {}".format, range(1, SHOWN_AT_ONCE + 1)))
    return _shown(show, simulated, names, title)


def _shown(show: Show, data_sets: Sequence[DataSet], names: Sequence[str], title: str) -> Figure:
    figure = new_figure(12, 6.4)
    every = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    for axes, x, name in zip(every, data_sets, names, strict=False):
        show(x, axes)
        axes.set_title(name, fontsize=10)
    for axes in every[len(data_sets) :]:
        axes.axis("off")
    figure.suptitle(title)
    return figure
