"""Panels of observables: data and simulations of one, over its index, as histograms or as pictures.

Booleans are drawn as 0 and 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import BLUE, GREY, ORANGE, Span, Style
from sbiwb.report.grid_panels import GridPanel, grid_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_INDEX = 200  # numbers of a vector drawn side by side
LINES = 5  # single simulations drawn over the bands, where there are no data
MAX_BARS = 12  # distinct values that get a bar each
BANDS = (("95 % of simulations", (2.5, 97.5), 0.18), ("50 %", (25, 75), 0.4))
INDEX = "time step or position"

Values = Sequence[np.ndarray]


@dataclass(frozen=True)
class ObservablePanel:
    """One channel of one observable.

    Args:
        name: Of the observable.
        simulated: Each simulation, (M,).
        data: The real data, (M,); None where there are none.
        is_ordered: Whether it is drawn over its index.
    """

    name: str
    simulated: Values
    data: np.ndarray | None
    is_ordered: bool

    def draw(self, axes: Axes) -> None:
        """Bands over the index where there is an order, histograms elsewhere."""
        if self.is_ordered:
            _draw_bands(axes, self.simulated, self.data)
            axes.set(xlabel=INDEX, ylabel=self.name)
        else:
            _draw_histograms(axes, self.simulated, self.data)
            axes.set(xlabel=self.name, ylabel="density")


def panels_of(
    simulated: Mapping[str, Values], kinds: Mapping[str, str], observed: Mapping[str, np.ndarray]
) -> Iterator[ObservablePanel | GridPanel]:
    """The panels of each observable, one a channel; three a channel of a picture.

    Args:
        simulated: R arrays of each observable: (), (T,), (T, C), a set, (H, W) or (H, W, C).
        kinds: What each observable is to the network: vector, set, series or grid; those it does
            not see may be left out.
        observed: Data like one of the simulations, by observable; empty where there are none.
    """
    for name, many in simulated.items():
        kind = kinds.get(name, "")
        if kind == "grid":
            yield from grid_panels(name, many, observed.get(name))
            continue
        simulations = [_channels(values) for values in many]
        data, every = None, simulations
        if name in observed:
            data = _channels(observed[name])
            every = [*simulations, data]
        is_ordered = kind == "series" or (kind != "set" and _is_vector(every))
        for channel in range(every[-1].shape[1]):
            rows = [values[:, channel] for values in simulations]
            real = None if data is None else data[:, channel]
            yield ObservablePanel(name, rows, real, is_ordered)


def _channels(values: object) -> np.ndarray:
    """One data set as numbers (M, C); all cells of an array with more axes share a channel."""
    numbers = np.asarray(values, np.float64)
    if numbers.ndim > 2:
        return numbers.reshape(-1, 1)
    return numbers.reshape(len(np.atleast_1d(numbers)), -1)


def _is_vector(many: Values) -> bool:
    """Whether all are as long, and short enough for an axis."""
    lengths = set(map(len, many))
    return len(lengths) == 1 and 1 < lengths.pop() <= MAX_INDEX


def _draw_bands(axes: Axes, simulated: Values, data: np.ndarray | None) -> None:
    """Quantiles at each index of the simulations that reach it, as far as the data go."""
    length = max(map(len, simulated)) if data is None else len(data)
    many, index = _side_by_side(simulated, length), np.arange(1, length + 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        for label, ends, alpha in BANDS:
            low, high = np.nanpercentile(many, ends, axis=0)
            axes.fill_between(index, low, high, color=BLUE, alpha=alpha, lw=0, label=label)
        middle = np.nanmedian(many, axis=0)
    if data is None:
        first, *others = axes.plot(index, many[:LINES].T, color=GREY, lw=0.8)
        first.set_label(f"the first {1 + len(others)}")
        return
    axes.plot(index, middle, color=BLUE, lw=1.2)
    axes.plot(index, data, "o-", color=ORANGE, ms=4, lw=0.8, label="observed")


def _side_by_side(simulated: Values, length: int) -> np.ndarray:
    """(R, length), NaN behind the end of those that are shorter."""
    many = np.full((len(simulated), length), np.nan)
    for row, values in zip(many, simulated, strict=True):
        row[: len(values)] = values[:length]
    return many


def _draw_histograms(axes: Axes, simulated: Values, data: np.ndarray | None) -> None:
    """Of all values, whatever their place."""
    every = _present(np.concatenate(simulated))
    real = every if data is None else _present(data)
    if not len(real) or not len(every):
        axes.text(0.5, 0.5, "all values are missing", ha="center", transform=axes.transAxes)
        return
    bins = _bins(every, real)
    label = "simulated" if data is None else "simulated from the posterior"
    axes.hist(every, bins, density=True, color=BLUE, alpha=0.35, label=label)
    if data is None:
        return
    style: Style = {"color": ORANGE, "label": "observed"}
    if len(real) == 1:
        axes.axvline(float(real[0]), lw=2, **style)
    else:
        axes.hist(real, bins, density=True, histtype="step", lw=1.5, **style)


def _present(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _bins(simulated: np.ndarray, data: np.ndarray) -> list[float]:
    """Edges: a bar a value where there are few values, else 40 bins over nearly all."""
    distinct = np.unique(np.concatenate([data, simulated]))
    if len(distinct) <= MAX_BARS:
        half = 0.25 * float(np.min(np.diff(distinct), initial=1.0))
        edges: list[float] = np.unique([distinct - half, distinct + half]).tolist()
        return edges
    low, high = _span(simulated, data)
    return list(np.linspace(low, high, 41))


def _span(simulated: np.ndarray, data: np.ndarray) -> Span:
    low, high = np.percentile(simulated, [0.5, 99.5])
    return float(min(low, data.min())), float(max(high, data.max())) + 1e-9
