"""Draws as smooth densities, on a line and in the plane.

On a line the kernel is normal, and its sd is `bandwidth` of the draws; in the plane draws are
counted in 60 x 60 cells, smoothed by two cells.

References:
    Silverman (1986), Density Estimation for Statistics and Data Analysis, 3.31
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sbiwb.report.figures import Span

PLACES, CELLS = 400, 60  # of a density on a line, and of one side of the plane
MAX_LINE_CELLS = 100_000
SMOOTH = 2.0  # cells
HELD = (0.9, 0.5)  # shares of the draws within the contours


def bandwidth(draws: np.ndarray) -> float:
    """Of draws (S,): 0.9 s S^-1/5, with the smallest of three spreads that are the sd of a normal:
    sd, IQR / 1.35, and the shortest interval that holds a quarter / 0.64, which is that of a single
    mode where there are several.
    """
    ordered = np.sort(draws)
    low, high = np.percentile(ordered, [25, 75])
    quarter = max(1, len(ordered) // 4)
    shortest = float((ordered[quarter:] - ordered[:-quarter]).min(initial=np.inf))
    spreads = [float(draws.std()), float(high - low) / 1.35, shortest / 0.64]
    return 0.9 * min((spread for spread in spreads if spread > 0), default=0.0) * len(draws) ** -0.2


def smooth_density(
    draws: np.ndarray, span: Span, bounds: Span = (-np.inf, np.inf)
) -> tuple[np.ndarray, np.ndarray]:
    """Density of draws (S,) at places of a span, both (PLACES,).

    Args:
        draws: (S,).
        span: What is in view.
        bounds: Of what is possible: mass that the kernel would carry beyond is reflected.
    """
    from scipy.ndimage import gaussian_filter1d

    width = max(bandwidth(draws), (span[1] - span[0]) / PLACES)
    low, high = max(bounds[0], span[0] - 5 * width), min(bounds[1], span[1] + 5 * width)
    cells = min(MAX_LINE_CELLS, int(np.ceil(5 * (high - low) / width)))
    counts, edges = np.histogram(draws, cells, (low, high))
    cell = float(edges[1] - edges[0])
    smooth = gaussian_filter1d(counts / (len(draws) * cell), width / cell, mode="reflect")
    places = np.linspace(*span, PLACES)
    middles = 0.5 * (edges[1:] + edges[:-1])
    density = np.interp(places, middles, smooth)
    return places, np.where((low <= places) & (places <= high), density, 0.0)


@dataclass(frozen=True)
class CellCounts:
    """Smoothed counts of draws over two columns.

    Args:
        counts: (CELLS, CELLS), the first axis across.
        edges: Of the cells, across and upwards.
    """

    counts: np.ndarray
    edges: Sequence[np.ndarray]

    @classmethod
    def of(cls, pair: np.ndarray, spans: tuple[Span, Span]) -> CellCounts:
        from scipy.ndimage import gaussian_filter

        counts, *edges = np.histogram2d(pair[:, 0], pair[:, 1], bins=CELLS, range=spans)
        return cls(gaussian_filter(counts, SMOOTH), edges)

    @property
    def grid(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centres across, centres upwards, and counts as matplotlib takes them."""
        x, y = (0.5 * (edge[1:] + edge[:-1]) for edge in self.edges)
        return x, y, self.counts.T

    @cached_property
    def levels(self) -> list[float]:
        """Counts at the contours, rising."""
        return [densest_level(self.counts, share) for share in HELD]

    @property
    def has_contours(self) -> bool:
        low, high = self.levels
        return 0 < low < high < self.counts.max()


def densest_level(counts: np.ndarray, share: float) -> float:
    """The least count among the densest cells that hold this share of all."""
    falling = np.sort(counts, axis=None)[::-1]
    return float(falling[np.searchsorted(np.cumsum(falling), share * falling.sum())])
