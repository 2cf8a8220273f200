"""Coverage of central intervals and of regions of highest density.

How often do those of a stated level hold the truth? The interval between the k-th smallest and the
k-th largest of S draws holds the truth of an exact posterior with probability 1 - 2k/(S + 1), no
more and no less. So the curve has these levels, and is judged at these, by the folded ranks
min(r, S - r).

The region of highest density of level (k + 1)/(S + 1) holds the truth where at most k draws have a
higher log q. That curve (expected coverage) is shown and told, but judged by sbc, as the rank of
`log q`: one test is not to count twice.

Warning: intervals of the right coverage may be too wide to be of use, and may be shifted for some
data and back for other.

References:
    Talts et al. 2018, https://arxiv.org/abs/1804.06788.
    Säilynoja, Bürkner, Vehtari 2022, https://arxiv.org/abs/2103.10522.
    Hermans et al. 2022, A crisis in simulation-based inference?, https://arxiv.org/abs/2110.06581.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticResult, OutputKind
from sbiwb.diagnostics import _calibration, _ecdf, _inputs
from sbiwb.diagnostics._coverage_curves import CoverageCurve, Curves, exact_range
from sbiwb.errors import DataError
from sbiwb.evidence import Draws, Quantity, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_DRAWS = 4
MAIN = "coverage_log_gamma"
MEANING = (
    "log(gamma / its 5 % quantile under an exact posterior) of the folded ranks min(r, S - r), "
    "below 0 rejects; with alpha in place of 5 % where it is set; effect: max |coverage - level|, "
    "with a 95 % DKW interval [Säilynoja et al. 2022; Modrák et al. 2025]"
)
SHARE = (
    "share of test pairs whose truth lies in the central interval of this level, between order "
    "statistics [Talts et al. 2018]"
)
HIGHEST = (
    "share of test pairs whose truth lies in the region of highest density of this level, by the "
    "rank of log q [Hermans et al. 2022]"
)
HEADING = "Coverage: how often do the intervals hold the truth?"
HEADING_HPD = "Expected coverage: how often do the regions of highest density hold the truth?"

Level = Annotated[float, Field(gt=0, lt=1)]


class Config(_calibration.CalibrationConfig):
    """Options of interval coverage."""

    needs: ClassVar[OutputKind] = OutputKind.MARGINALS

    levels: tuple[Level, ...] = Field(
        (0.5, 0.8, 0.9, 0.95),
        min_length=1,
        strict=False,
        description="Levels whose coverage is given in words, between 0 and 1.",
    )


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """Coverage of D parameters at the levels that S draws can form.

    Args:
        names: D names.
        n: Test pairs.
        s: Draws each.
        central: Of central intervals, a curve for each parameter.
        highest: Of regions of highest density, one curve; None where log q of the draws is not
            known.
        troubles: Why a parameter was not judged, else None, D entries.
        highest_trouble: Why there is no curve of regions of highest density, else None.
        alpha: Level of the bands.
        values: `coverage_log_gamma` and `coverage_<level>` of each parameter, and
            `hpd_coverage_<level>`.
    """

    names: tuple[str, ...]
    n: int
    s: int
    central: Curves
    highest: Curves | None
    troubles: tuple[str | None, ...]
    highest_trouble: str | None
    alpha: float
    values: tuple[Value, ...]

    @property
    def definitions(self) -> dict[str, str]:
        """What each value is, by name."""
        return {value.name: _definition(value.name) for value in self.values}


def _definition(name: str) -> str:
    if name == MAIN:
        return MEANING
    if name.startswith("hpd"):
        return HIGHEST
    return SHARE


def compute(draws: Draws, config: Config) -> Result:
    """Coverage curves from the same ranks as SBC.

    Raises:
        DataError: With fewer than 4 draws: they form no two intervals.
    """
    n, s = draws.n, draws.s
    _check_draws(s)
    ranks = _inputs.theta_ranks(draws)
    troubles = _inputs.troubles(draws)
    central = _central(ranks, s, config.alpha)
    density = _inputs.log_q(draws)
    highest_trouble = _density_trouble(density)
    highest = None
    if density is not None and highest_trouble is None:
        highest = _highest(density, draws, config.alpha)
    values = [
        *_central_values(draws, ranks, troubles, central, config),
        *_highest_values(highest, n, config),
    ]
    return Result(
        draws.names,
        n,
        s,
        central,
        highest,
        troubles,
        highest_trouble,
        config.alpha,
        tuple(values),
    )


def _check_draws(s: int) -> None:
    if s < MIN_DRAWS:
        raise DataError(
            f"{s} draws form too few intervals",
            where="coverage",
            todo="Take 999 draws, and 4 at least.",
        )


def _central(ranks: np.ndarray, s: int, alpha: float) -> Curves:
    """Of central intervals, one curve a column."""
    n = max(1, len(ranks))
    levels, coverage = _calibration.central_coverage(ranks, s)
    low, high = _ecdf.band(n, s, fold=2, alpha=alpha)
    return Curves(levels, coverage, 1 - high[::-1], 1 - low[::-1], *exact_range(n, levels))


def _central_values(
    draws: Draws,
    ranks: np.ndarray,
    troubles: tuple[str | None, ...],
    central: Curves,
    config: Config,
) -> list[Value]:
    """The verdict's number of each parameter, and the coverage at each level."""
    folded = _ecdf.fold_ranks(ranks, draws.s)
    test = _ecdf.uniformity(folded, draws.s, fold=2, alpha=config.alpha)
    notes = _inputs.leak_notes(draws)
    values: list[Value] = []
    for d, name in enumerate(draws.names):
        trouble = troubles[d]
        if trouble:
            values.append(_calibration.missing(MAIN, name, trouble))
            continue
        curve = CoverageCurve(name, draws.n, central.levels, central.coverage[d])
        finding = curve.finding(bool(test.p[d] <= config.alpha), config.levels).noted(notes[d])
        values.append(_calibration.value(MAIN, name, test, d, finding))
        values += curve.shares(config.levels)
    return values


def _density_trouble(density: Quantity | None) -> str | None:
    """Why there is no curve of regions of highest density, or None."""
    if density is None:
        return "log q of the draws is not known"
    return _inputs.quantity_trouble(_inputs.LOG_Q, density)


def _highest(density: Quantity, draws: Draws, alpha: float) -> Curves:
    """The curve of regions of highest density."""
    n, s = max(1, draws.n), draws.s
    higher = s - _inputs.log_q_ranks(density, draws.seed)
    levels = _ecdf.grid(s)
    coverage = _ecdf.counts_below(higher, s) / n
    return Curves(levels, coverage, *_ecdf.band(n, s, alpha=alpha), *exact_range(n, levels))


def _highest_values(curves: Curves | None, n: int, config: Config) -> list[Value]:
    if curves is None:
        return []
    curve = CoverageCurve(
        _inputs.ALL,
        n,
        curves.levels,
        curves.coverage[0],
        prefix="hpd_coverage",
        what="regions of highest density",
    )
    return curve.shares(config.levels)


def plot(result: Result) -> Figure:
    """Coverage of central intervals against their level for every parameter."""
    from sbiwb.diagnostics import _grid

    note = _grid.band_note(result.n, result.s)
    return _grid.by_cell(len(result.names), partial(_panel, result), HEADING, note)


def plot_hpd(result: Result) -> Figure:
    """Expected coverage: that of regions of highest density, over all parameters at once."""
    from sbiwb.diagnostics import _grid

    if result.highest is None:
        return _grid.empty(HEADING_HPD, result.highest_trouble or "unknown")
    figure, axes = _grid.panels(1)
    _grid.title(axes[0, 0], _inputs.ALL)
    axes[0, 0].set_xlabel("level of the region")
    _draw_curve(axes[0, 0], result.highest, 0)
    _grid.finish(figure, HEADING_HPD, _grid.band_note(result.n, result.s))
    return figure


def _panel(result: Result, axes: Axes, d: int) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, result.names[d])
    if result.troubles[d]:
        return _grid.message(axes, result.troubles[d])
    axes.set_xlabel("level of the central interval")
    _draw_curve(axes, result.central, d)


def _draw_curve(axes: Axes, curves: Curves, row: int) -> None:
    from sbiwb.diagnostics import _grid

    axes.set(ylabel="share that holds the truth", xlim=(0, 1), ylim=(0, 1))
    _grid.band(axes, curves.levels, curves.lower, curves.upper, alpha=0.25)
    _grid.band(axes, curves.levels, curves.pointwise_lower, curves.pointwise_upper)
    _grid.diagonal(axes)
    axes.plot(curves.levels, curves.coverage[row], color=_grid.BLUE, lw=1.6)
    _grid.write(axes, 0.04, 0.96, "too wide", va="top")
    _grid.write(axes, 0.96, 0.04, "too narrow", ha="right")
