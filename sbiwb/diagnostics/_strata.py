"""Calibration within strata of the test pairs, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.diagnostics._judge import STRATUM, Judgment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL = 38


def plot_strata(judgments: Sequence[Judgment], sizes: dict[str, int], tolerance: float) -> Figure:
    """The largest effect of each check in each stratum, with its interval.

    Args:
        judgments: Of all checks and strata.
        sizes: Test pairs of each stratum by its label.
        tolerance: Effect up to which a rejection only warns.
    """
    from sbiwb.diagnostics import _grid

    tests = [one for one in judgments if one.effect is not None and one.p is not None]
    checks = [
        check
        for check in dict.fromkeys(one.check.partition(STRATUM)[0] for one in tests)
        if _of(tests, check, next(iter(sizes)))
    ]
    figure, axes = _grid.panels(len(checks))
    figure.set_size_inches(
        max(6.5, figure.get_figwidth()), 1.4 + 0.3 * (len(sizes) + 1) * -(-len(checks) // 4)
    )
    for position, (check, (panel,)) in enumerate(zip(checks, axes, strict=True)):
        _panel(panel, [_of(tests, check, label) for label in ("", *sizes)], tolerance)
        _grid.title(panel, check)
        names = ["all", *(f"{_short(label)} ({n})" for label, n in sizes.items())]
        panel.set_yticks(
            range(len(names)), names if position % 4 == 0 else [""] * len(names), fontsize=7
        )
    note = "worst parameter of each stratum (test pairs in brackets): max |ECDF - z| with a 95 % interval; shaded: within the tolerance"
    _grid.finish(figure, "Strata: is it right for every kind of data?", note)
    return figure


def _of(tests: Sequence[Judgment], check: str, label: str) -> Judgment | None:
    """The worst number of a check in a stratum; `""` is all test pairs."""
    name = f"{check}{STRATUM}{label}" if label else check
    return max(
        (one for one in tests if one.check == name), key=lambda one: one.effect or 0.0, default=None
    )


def _panel(axes: Axes, rows: Sequence[Judgment | None], tolerance: float) -> None:
    from sbiwb.diagnostics import _grid

    colours = {"pass": _grid.BLUE, "warn": _grid.ORANGE, "fail": _grid.VERMILLION}
    axes.axvspan(0, tolerance, color=_grid.GREY, alpha=0.25, lw=0)
    for height, one in enumerate(rows):
        if one is None or one.effect is None:
            continue
        colour = colours.get(one.verdict, _grid.FAINT)
        if one.effect_interval:
            axes.hlines(height, *one.effect_interval, color=colour, lw=1.2)
        axes.plot(
            one.effect,
            height,
            marker={"fail": "X", "warn": "D"}.get(one.verdict, "o"),
            color=colour,
            ms=5,
        )
    most = max((one.effect_interval or (0, one.effect or 0))[1] for one in rows if one)
    axes.set(
        xlabel="effect of the worst",
        xlim=(0, float(np.clip(1.1 * most, 0.1, 1.0))),
        ylim=(len(rows) - 0.4, -0.6),
    )


def _short(label: str) -> str:
    return label if len(label) <= LABEL else f"{label[: LABEL // 2]}…{label[-LABEL // 2 + 1 :]}"
