"""Pictures that are data: the real one, the mean of the simulated ones, and where the two differ,
cell by cell."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CHANNELS = 4  # of a picture that are drawn
LONG = 4  # times as wide as high, or as high as wide, from which cells are no squares
MAX_SD = 4.0  # of a difference where its colours end
VALUES, DIFFERENCES = "viridis", "RdBu_r"


@dataclass(frozen=True)
class GridPanel:
    """One picture of numbers.

    Args:
        title: What is shown.
        cells: (H, W), NaN where a value is missing.
        span: Values of the first and the last colour; None: those of the cells.
        colours: A colour map of matplotlib.
    """

    title: str
    cells: np.ndarray
    span: Span | None = None
    colours: str = VALUES

    def draw(self, axes: Axes) -> None:
        """The cells in colours, rows downwards, with what the colours mean."""
        low, high = self.span or (None, None)
        height, width = self.cells.shape
        axes.set_aspect("auto" if max(height / width, width / height) > LONG else "equal")
        image = axes.imshow(
            self.cells, self.colours, aspect=axes.get_aspect(), vmin=low, vmax=high, rasterized=True
        )
        figure = axes.get_figure()
        assert figure is not None
        figure.colorbar(image, ax=axes)
        axes.set_title(self.title, fontsize=10)


def grid_panels(
    name: str, simulated: Sequence[np.ndarray], observed: np.ndarray | None
) -> Iterator[GridPanel]:
    """Three panels for each of the first channels.

    Args:
        name: Of the observable.
        simulated: R pictures (H, W) or (H, W, C).
        observed: The real one; None: mean, sd and the first of the simulations are drawn.
    """
    many = np.stack([_with_channels(picture) for picture in simulated])
    channels = many.shape[-1]
    real = None if observed is None else _with_channels(observed)
    for channel in range(min(channels, MAX_CHANNELS)):
        label = name if channels == 1 else f"{name}[{channel}]"
        own = None if real is None else real[..., channel]
        yield from _of_channel(label, many[..., channel], own)


def _with_channels(picture: np.ndarray) -> np.ndarray:
    """(H, W, C)."""
    numbers = np.asarray(picture, np.float64)
    return numbers[..., None] if numbers.ndim == 2 else numbers


def _of_channel(label: str, many: np.ndarray, real: np.ndarray | None) -> Iterator[GridPanel]:
    """Of simulations (R, H, W) and perhaps a real picture (H, W)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty|Degrees of freedom")
        mean, sd = np.nanmean(many, 0), np.nanstd(many, 0)
    if real is None:
        yield GridPanel(f"{label}: simulated 1", many[0])
        yield GridPanel(f"{label}: mean of simulations", mean)
        yield GridPanel(f"{label}: sd of simulations", sd)
        return
    span = _span(real, mean)
    yield GridPanel(f"{label}: observed", real, span)
    yield GridPanel(f"{label}: mean of simulations", mean, span)
    words = f"{label}: (observed - mean) / sd of simulations"
    yield GridPanel(words, _in_sd(real - mean, sd), (-MAX_SD, MAX_SD), DIFFERENCES)


def _in_sd(difference: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """NaN where the simulations never differ."""
    return np.divide(difference, sd, out=np.full_like(sd, np.nan), where=sd > 0)


def _span(*pictures: np.ndarray) -> Span | None:
    """One scale for all; None where no value is there."""
    every = np.concatenate([picture.ravel() for picture in pictures])
    every = every[np.isfinite(every)]
    return (float(every.min()), float(every.max())) if len(every) else None
