"""Figures whose looks are our own, whatever a user's `matplotlibrc` says."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(
    width: float,
    height: float,
    *,
    layout: Literal["constrained"] | None = "constrained",
    dpi: int | None = None,
) -> Figure:
    """An empty figure.

    Args:
        width: Inches.
        height: Inches.
        layout: What places its panels.
        dpi: Dots an inch; None: matplotlib's own default.
    """
    from matplotlib.figure import Figure

    _use_defaults()
    return Figure(figsize=(width, height), layout=layout, dpi=dpi)


@lru_cache(maxsize=1)
def _use_defaults() -> None:
    """Forgets a user's settings, once: TeX that is not there, or a size of letters that no panel
    was made for.
    """
    import matplotlib

    matplotlib.rcdefaults()
