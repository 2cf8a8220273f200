"""Calibration error: how far is the coverage of central intervals from what it should be?

    median over 20 levels in [0.005, 0.995] of |coverage - level|

of each parameter: the error at a typical level. It never is 0, not for an exact posterior either: N
test pairs leave chance of the order of 0.3/sqrt(N). So it warns only where it is above a limit and
above what chance does.

References:
    Säilynoja, Bürkner, Vehtari 2022, https://arxiv.org/abs/2103.10522 (coverage by ranks).
    Radev et al. 2020, BayesFlow: learning complex stochastic models with invertible neural
    networks, https://arxiv.org/abs/2003.06281.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, DiagnosticResult, OutputKind
from sbiwb.diagnostics import _calibration, _inputs
from sbiwb.evidence import Draws, Rule, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "calibration_error"
LEVELS = np.linspace(0.005, 0.995, 20)
REPETITIONS = 10_000  # exact posteriors, the worst of which says what chance does
NULL_SEED = 0  # what chance does is a property of N, not of a run
DEFINITION = (
    "median over 20 levels in [0.005, 0.995] of |coverage - level| of central intervals "
    "[Radev et al. 2020]"
)
HEADING = "Calibration error: how far is the coverage from its level?"


class Config(DiagnosticPart):
    """Options of the calibration error."""

    needs: ClassVar[OutputKind] = OutputKind.MARGINALS

    warn_above: float = Field(
        0.05, ge=0, le=1, description="Calibration error above which we warn: miscalibrated."
    )


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """Coverage minus level of D parameters at 20 levels.

    Args:
        names: D names.
        n: Test pairs.
        s: Draws each.
        levels: The nearest that S draws can form, (20,).
        gap: Coverage minus level, (D, 20).
        limit: Above which an error warns.
        troubles: Why a parameter was not judged, else None, D entries.
        values: `calibration_error` of each parameter.
    """

    names: tuple[str, ...]
    n: int
    s: int
    levels: np.ndarray
    gap: np.ndarray
    limit: float
    troubles: tuple[str | None, ...]
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {NAME: DEFINITION}


def compute(draws: Draws, config: Config) -> Result:
    """Calibration errors, from the same ranks as SBC and coverage."""
    formed, coverage = _calibration.central_coverage(_inputs.theta_ranks(draws), draws.s)
    at = _calibration.nearest(formed, LEVELS)
    gap = (coverage - formed)[:, at]
    limit = max(config.warn_above, chance(max(1, draws.n)))
    troubles = _inputs.troubles(draws)
    errors = np.median(np.abs(gap), axis=1)
    columns = zip(draws.names, errors, troubles, strict=True)
    values = tuple(_value(*column, limit) for column in columns)
    return Result(draws.names, draws.n, draws.s, formed[at], gap, limit, troubles, values)


@lru_cache(maxsize=64)
def chance(n: int) -> float:
    """The largest error among `REPETITIONS` exact posteriors, each judged by n test pairs."""
    cells = np.diff(LEVELS, prepend=0.0, append=1.0)
    per_cell = generator(NULL_SEED, "bands", n).multinomial(n, cells, size=REPETITIONS)
    counts = per_cell.cumsum(axis=1)[:, :-1]
    return float(np.median(np.abs(counts / n - LEVELS), axis=1).max())


def _value(name: str, error: float, trouble: str | None, limit: float) -> Value:
    if trouble:
        return _calibration.missing(NAME, name, trouble)
    reason = f"at a typical level the coverage is off by {100 * error:.2g} percentage points"
    if error <= limit:
        return Value(NAME, name, float(error), reason=reason)
    reason += f", above {100 * limit:.2g}"
    return Value(NAME, name, float(error), warning=Rule.MISCALIBRATED, reason=reason)


def plot(result: Result) -> Figure:
    """Coverage minus level for every parameter, and the range within which nothing warns."""
    from sbiwb.diagnostics import _grid

    note = (
        f"{result.n} test pairs, {result.s} draws each; grey: errors up to the limit of "
        f"{result.limit:.2g}; line: the median error"
    )
    return _grid.by_cell(len(result.names), partial(_panel, result), HEADING, note)


def _panel(result: Result, axes: Axes, d: int) -> None:
    from sbiwb.diagnostics import _grid

    axes.set(xlabel="level of the central interval", ylabel="coverage minus level", xlim=(0, 1))
    error = result.values[d].value
    if result.troubles[d] or error is None:
        _grid.title(axes, result.names[d])
        return _grid.message(axes, result.troubles[d])
    _grid.title(axes, result.names[d], f"{error:.3f}")
    _draw_gap(axes, result, d, error)


def _draw_gap(axes: Axes, result: Result, d: int, error: float) -> None:
    """The gap of one parameter within the range where nothing warns."""
    from sbiwb.diagnostics import _grid

    axes.axhspan(-result.limit, result.limit, color=_grid.GREY, alpha=0.25, lw=0)
    _stems(axes, result.levels, result.gap[d], error)
    reach = 1.3 * max(result.limit, float(np.abs(result.gap[d]).max()))
    axes.set_ylim(-reach, reach)


def _stems(axes: Axes, levels: np.ndarray, gap: np.ndarray, error: float) -> None:
    """The gap (K,) at each level, and the typical one on both sides."""
    from sbiwb.diagnostics import _grid

    axes.axhline(0, color=_grid.INK, lw=0.6)
    axes.vlines(levels, 0, gap, color=_grid.SKY, lw=1.2)
    axes.scatter(levels, gap, s=12, color=_grid.BLUE, lw=0, zorder=3)
    for line in (-error, error):
        axes.axhline(line, color=_grid.VERMILLION, lw=1.0)
