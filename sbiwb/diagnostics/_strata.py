"""Calibration within strata of the test pairs, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.diagnostics import _grid
from sbiwb.diagnostics._judge import STRATUM, Judgment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_LETTERS = 38
COLORS = {"pass": _grid.BLUE, "warn": _grid.ORANGE, "fail": _grid.VERMILLION}
MARKERS = {"warn": "D", "fail": "X"}
HEADING = "Strata: is it right for every kind of data?"
NOTE = (
    "worst parameter of each stratum (test pairs in brackets): max |ECDF - z| with a 95 % "
    "interval; shaded: within the tolerance"
)


def checks_by_strata(judgments: Sequence[Judgment]) -> list[str]:
    """Names of the calibration checks that were repeated in a stratum."""
    tests = [test for test in _tests(judgments) if test.stratum]
    return list(dict.fromkeys(test.whole_check for test in tests))


def plot_strata(
    judgments: Sequence[Judgment], sizes: Mapping[str, int], tolerance: float
) -> Figure:
    """The largest effect of each check in each stratum, with its interval.

    Args:
        judgments: Of all checks and strata.
        sizes: Test pairs of each stratum by its label.
        tolerance: Effect up to which a rejection only warns.

    Raises:
        ValueError: No calibration check was repeated in a stratum; see `checks_by_strata`.
    """
    checks = checks_by_strata(judgments)
    if not checks:
        raise ValueError("no calibration check was repeated in a stratum")
    figure, axes = _grid.panels(len(checks))
    lines = -(-len(checks) // _grid.MAX_ACROSS)
    height = 1.4 + 0.3 * (len(sizes) + 1) * lines
    figure.set_size_inches(max(6.5, figure.get_figwidth()), height)
    for check, (panel,) in zip(checks, axes, strict=True):
        _panel(panel, _worst_by_stratum(judgments, check, sizes), tolerance)
        _grid.title(panel, check)
    _label_rows(axes[:, 0], sizes)
    _grid.finish(figure, HEADING, NOTE)
    return figure


def _tests(judgments: Sequence[Judgment]) -> list[Judgment]:
    return [
        judgment for judgment in judgments if judgment.effect is not None and judgment.p is not None
    ]


def _worst_by_stratum(
    judgments: Sequence[Judgment], check: str, sizes: Mapping[str, int]
) -> list[Judgment | None]:
    """The worst number of a check over all test pairs, then in each stratum."""
    tests = _tests(judgments)
    names = [check, *(f"{check}{STRATUM}{label}" for label in sizes)]
    return [_worst(tests, name) for name in names]


def _worst(tests: Sequence[Judgment], check: str) -> Judgment | None:
    own = [test for test in tests if test.check == check]
    return max(own, key=_effect, default=None)


def _effect(judgment: Judgment) -> float:
    return judgment.effect or 0.0


def _label_rows(axes: np.ndarray, sizes: Mapping[str, int]) -> None:
    """Names of the strata at the left panel of each line."""
    names = ["all", *(f"{_shortened(label)} ({n})" for label, n in sizes.items())]
    places = range(len(names))
    for position, panel in enumerate(axes):
        panel.set_yticks(places, [""] * len(names), fontsize=7)
        if position % _grid.MAX_ACROSS == 0:
            panel.set_yticks(places, names, fontsize=7)


def _panel(axes: Axes, worst: Sequence[Judgment | None], tolerance: float) -> None:
    axes.axvspan(0, tolerance, color=_grid.GREY, alpha=0.25, lw=0)
    for height, judgment in enumerate(worst):
        if judgment is not None:
            _mark(axes, height, judgment)
    reach = 1.1 * max(_upper_end(judgment) for judgment in worst if judgment)
    axes.set(xlabel="effect of the worst", xlim=(0, float(np.clip(reach, 0.1, 1.0))))
    axes.set_ylim(len(worst) - 0.4, -0.6)


def _mark(axes: Axes, height: int, judgment: Judgment) -> None:
    color = COLORS.get(judgment.verdict, _grid.FAINT)
    marker = MARKERS.get(judgment.verdict, "o")
    if judgment.effect_interval:
        axes.hlines(height, *judgment.effect_interval, color=color, lw=1.2)
    axes.plot(_effect(judgment), height, marker=marker, color=color, ms=5)


def _upper_end(judgment: Judgment) -> float:
    if judgment.effect_interval:
        return judgment.effect_interval[1]
    return _effect(judgment)


def _shortened(label: str) -> str:
    if len(label) <= LABEL_LETTERS:
        return label
    half = LABEL_LETTERS // 2
    return f"{label[:half]}…{label[-half + 1 :]}"
