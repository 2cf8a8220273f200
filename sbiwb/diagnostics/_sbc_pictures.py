"""Pictures of rank statistics: histogram and ECDF, each with what an exact posterior would show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.diagnostics import _grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sbiwb.diagnostics.sbc import Result


def histograms(result: Result, shown: Sequence[int], heading: str) -> Figure:
    """A histogram and an ECDF difference for each quantity, with what an exact one would show."""
    if not shown:
        return _grid.empty(heading, "there is no prediction from the data alone")
    figure, axes = _grid.panels(len(shown), per=2)
    for q, (histogram, difference) in zip(shown, axes, strict=True):
        _histogram(histogram, result, q)
        _difference(difference, result, q)
    _grid.finish(figure, heading, _grid.band_note(result.n, result.s))
    return figure


def _histogram(axes: Axes, result: Result, q: int) -> None:
    _grid.title(axes, result.names[q])
    axes.set(xlabel="rank of the truth among the draws", ylabel="test pairs")
    axes.set_xlim(-0.5, result.s + 0.5)
    if result.troubles[q]:
        return _grid.message(axes, result.troubles[q])
    _draw_counts(axes, result, result.counts[q])


def _draw_counts(axes: Axes, result: Result, counts: np.ndarray) -> None:
    """Ranks in each bin (B,), and where those of an exact posterior would be."""
    axes.axhspan(*result.bin_simultaneous, color=_grid.GREY, alpha=0.25, lw=0)
    axes.axhspan(*result.bin_pointwise, color=_grid.GREY, alpha=0.35, lw=0)
    axes.stairs(counts, result.edges, fill=True, color=_grid.SKY, alpha=0.6)
    axes.stairs(counts, result.edges, color=_grid.BLUE, lw=1.2)
    for limit in result.bin_simultaneous:
        axes.axhline(limit, color=_grid.FAINT, lw=0.8, ls="--")
    axes.axhline(result.n / len(counts), color=_grid.INK, lw=0.6)
    axes.set_ylim(bottom=0)


def _difference(axes: Axes, result: Result, q: int) -> None:
    _grid.title(axes, "ECDF difference")
    axes.set(xlabel="fractional rank z", ylabel="ECDF minus z", xlim=(0, 1))
    if not result.troubles[q]:
        axes.axhline(0, color=_grid.INK, lw=0.6)
    _draw_ecdf(axes, result, q, result.z)


def _draw_ecdf(axes: Axes, result: Result, q: int, base: np.ndarray) -> None:
    """The ECDF of one quantity and its band, less a base (K,)."""
    if result.troubles[q]:
        return _grid.message(axes, result.troubles[q])
    _grid.band(axes, result.z, result.lower - base, result.upper - base, step="post")
    axes.step(result.z, result.ecdf[q] - base, where="post", color=_grid.VERMILLION, lw=1.4)


def ecdfs(result: Result, heading: str) -> Figure:
    """The ECDF itself, for readers who are used to it; the difference shows the same better."""
    figure, axes = _grid.panels(len(result.marginal))
    for q, (panel,) in zip(result.marginal, axes, strict=True):
        _grid.title(panel, result.names[q])
        panel.set(xlabel="fractional rank z", ylabel="ECDF of the ranks", xlim=(0, 1), ylim=(0, 1))
        _draw_ecdf(panel, result, q, np.zeros(len(result.z)))
    _grid.finish(figure, heading, _grid.band_note(result.n, result.s))
    return figure
