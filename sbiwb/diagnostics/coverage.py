"""Coverage of central intervals: how often do intervals of a stated level hold the truth?

The interval between the k-th smallest and the k-th largest of S draws holds the truth of an exact posterior with probability
1 - 2k/(S + 1), no more and no less. So the curve has these levels, and is judged at these, by the folded ranks min(r, S - r).

Warning: intervals of the right coverage may be too wide to be of use, and may be shifted for some data and back for other.

References:
    Talts et al. 2018, https://arxiv.org/abs/1804.06788.
    Säilynoja, Bürkner, Vehtari 2022, https://arxiv.org/abs/2103.10522.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from sbiwb.diagnostics import _calibration, _ecdf, _inputs
from sbiwb.errors import DataError
from sbiwb.evidence import Draws, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST_DRAWS = 4
MAIN = "coverage_log_gamma"
ERROR_LEVELS = np.linspace(0.005, 0.995, 20)


Level = Annotated[float, Field(gt=0, lt=1)]


class Config(_calibration.CalibrationConfig):
    """Options of interval coverage."""

    levels: tuple[Level, ...] = Field(
        (0.5, 0.8, 0.9, 0.95), min_length=1, strict=False, description="Levels whose coverage is given in words, between 0 and 1."
    )


@dataclass(frozen=True)
class Result:
    """Coverage of D parameters at the K levels that S draws can form.

    Args:
        names: D names.
        n: Test pairs.
        s: Draws each.
        levels: Rising, (K,).
        coverage: Share of intervals that hold the truth, (D, K).
        lower: Lower end of the simultaneous band, (K,).
        upper: Upper end, (K,).
        pointwise_lower: Lower end of the 95 % range of each level alone, (K,).
        pointwise_upper: Upper end, (K,).
        troubles: Why a parameter was not judged, else None, D entries.
        alpha: Level of the band.
        values: `coverage_log_gamma`, `coverage_<level>` and `calibration_error` of each parameter.
    """

    names: tuple[str, ...]
    n: int
    s: int
    levels: np.ndarray
    coverage: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    pointwise_lower: np.ndarray
    pointwise_upper: np.ndarray
    troubles: tuple[str | None, ...]
    alpha: float
    values: tuple[Value, ...]

    @property
    def definitions(self) -> dict[str, str]:
        """What each value is, by name."""
        shares = {value.name: SHARE for value in self.values if value.name not in DEFINITIONS}
        return DEFINITIONS | shares


SHARE = "share of test pairs whose truth lies in the central interval of this level, between order statistics [Talts et al. 2018]"
DEFINITIONS: dict[str, str] = {
    MAIN: (
        "log(gamma / its 5 % quantile under an exact posterior) of the folded ranks min(r, S - r), below 0 rejects; with alpha in "
        "place of 5 % where it is set; effect: max |coverage - level|, with a 95 % DKW interval "
        "[Säilynoja et al. 2022; Modrák et al. 2025]"
    ),
    "calibration_error": "median over 20 levels in [0.005, 0.995] of |coverage - level| [DEFINITIONS.md, Calibration]",
}


def compute(draws: Draws, config: Config) -> Result:
    """Coverage curves from the same ranks as SBC.

    Raises:
        DataError: With fewer than 4 draws: they form no two intervals.
    """
    n, s = draws.n, draws.s
    if s < FEWEST_DRAWS:
        raise DataError(f"{s} draws form too few intervals", where="coverage", todo="Take 999 draws, and 4 at least.")
    ranks, troubles = _inputs.theta_ranks(draws), _inputs.troubles(draws)
    test = _ecdf.uniformity(_ecdf.fold_ranks(ranks, s), s, fold=2, alpha=config.alpha)
    levels, coverage = 1 - _ecdf.grid(s, 2)[::-1], 1 - test.ecdf[:, ::-1]
    lower, upper = (1 - end[::-1] for end in reversed(_ecdf.band(max(n, 1), s, fold=2, alpha=config.alpha)))
    curve = Curve(n, levels, config)
    values: list[Value] = []
    for d, (name, trouble, note) in enumerate(zip(draws.names, troubles, _inputs.leak_notes(draws), strict=True)):
        values += [_calibration.missing(MAIN, name, trouble)] if trouble else curve.values(name, coverage[d], test, d, note)
    pointwise = exact_range(max(n, 1), levels)
    return Result(draws.names, n, s, levels, coverage, lower, upper, *pointwise, troubles, config.alpha, tuple(values))


def exact_range(n: int, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the coverage that N pairs show lies with 95 % for an exact posterior, lower and upper end, (K,) each."""
    from scipy.stats import binom

    return binom.ppf(0.025, n, levels) / n, binom.ppf(0.975, n, levels) / n


@dataclass(frozen=True)
class Curve:
    """Turns one coverage curve into values."""

    n: int
    levels: np.ndarray
    config: Config

    def values(self, name: str, coverage: np.ndarray, test: _ecdf.Uniformity, column: int, note: str) -> list[Value]:
        """The verdict's number, the coverage at each level in words, and the calibration error."""
        said = self.sentence(min(self.config.levels, key=lambda level: abs(level - 0.9)), coverage)
        if test.p[column] <= self.config.alpha:
            said = f"{_tendency(coverage - self.levels)}: {said}"
        shares = [self._share(name, level, coverage) for level in self.config.levels]
        error = Value("calibration_error", name, float(np.median(np.abs(coverage - self.levels)[self._nearest(ERROR_LEVELS)])))
        return [_calibration.value(MAIN, name, test, column, reason=said + note), *shares, error]

    def sentence(self, level: float, coverage: np.ndarray) -> str:
        """What a user can act on."""
        at = self._nearest(level)
        low, high = exact_range(self.n, self.levels[at])
        return (
            f"your {percent(self.levels[at])} % intervals hold the truth {percent(coverage[at])} % of the time "
            f"(an exact posterior: {percent(low)} to {percent(high)} %)"
        )

    def _share(self, name: str, level: float, coverage: np.ndarray) -> Value:
        at = self._nearest(level)
        said = self.sentence(level, coverage)
        if not np.isclose(self.levels[at], level):
            said += f"; the draws can form no {percent(level)} % intervals, these are the nearest"
        return Value(f"coverage_{percent(level)}", name, float(coverage[at]), reason=said)

    def _nearest(self, level: float | np.ndarray) -> np.ndarray:
        return np.abs(self.levels - np.asarray(level)[..., None]).argmin(axis=-1)


def percent(share: float | np.ndarray) -> str:
    """A share in per cent, three digits at most.

    Example:
        >>> percent(0.9), percent(0.8437)
        ('90', '84.4')
    """
    return f"{100 * float(share):.3g}"


def _tendency(error: np.ndarray) -> str:
    most = error[np.abs(error).argmax()]
    return "overconfident (intervals too narrow)" if most < 0 else "underconfident (intervals too wide)"


def plot(result: Result) -> Figure:
    """Coverage against level for every parameter, with what an exact posterior would show."""
    from sbiwb.diagnostics import _grid

    figure, axes = _grid.panels(len(result.names))
    for d, (panel,) in enumerate(axes):
        _curve(panel, result, d)
    _grid.finish(figure, "Coverage: how often do the intervals hold the truth?", _grid.keys(result.n, result.s))
    return figure


def _curve(axes: Axes, result: Result, d: int) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, result.names[d])
    axes.set(xlabel="level of the central interval", ylabel="share that holds the truth", xlim=(0, 1), ylim=(0, 1))
    if result.troubles[d]:
        return _grid.message(axes, result.troubles[d])
    axes.fill_between(result.levels, result.lower, result.upper, color=_grid.GREY, alpha=0.25, lw=0)
    axes.fill_between(result.levels, result.pointwise_lower, result.pointwise_upper, color=_grid.GREY, alpha=0.35, lw=0)
    axes.plot([0, 1], [0, 1], color=_grid.INK, lw=0.6)
    axes.plot(result.levels, result.coverage[d], color=_grid.BLUE, lw=1.6)
    axes.text(0.04, 0.96, "too wide", transform=axes.transAxes, va="top", fontsize=7, color=_grid.FAINT)
    axes.text(0.96, 0.04, "too narrow", transform=axes.transAxes, ha="right", fontsize=7, color=_grid.FAINT)
