"""Prior predictive: do the real data lie inside what the simulator makes under the prior?

For each real data set and each of K statistics the tail probability among all simulations, on the
emptier side and doubled; the value of a data set is the smallest of them, times K (Bonferroni). A
tail goes on beyond the most extreme simulation (`_statistics.tail`), so that data in wrong units
are found by few simulations, too.

Warning: a statistic at a time. Data that no statistic shows to be odd may still be unlike the
simulations: see `misspecification`. Simulations are taken over all contexts together.

References:
    Gabry, Simpson, Vehtari, Betancourt, Gelman 2019, Visualization in Bayesian workflow,
    https://arxiv.org/abs/1709.01449.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, DiagnosticResult, OutputKind
from sbiwb.diagnostics._statistics import tail
from sbiwb.evidence import EvidenceKind, FeatureSpace, Rule, Summaries, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPACE = "statistics"
NAME = "prior_predictive_p"
QUANTILE_LEVELS = (0.025, 0.25, 0.5, 0.75, 0.975)
MIN_SIMULATIONS = 20
ROUNDING = 1e-6  # relative: data come from files in float32, too
MAX_NAMED = 3
EDGE = 3.0  # of the picture, in half widths of the interval
DEFINITION = (
    "smallest two-sided tail probability of a data set's statistics among simulations from the "
    "prior, times the number of statistics, at most 1; beyond all simulations the tail is taken as "
    "a power law [Gabry et al. 2019; Hill 1975]"
)
HEADING = "Prior predictive: does the simulator make data like yours?"


class Config(DiagnosticPart):
    """Options of the prior predictive check."""

    takes: ClassVar[EvidenceKind] = EvidenceKind.SUMMARIES
    needs: ClassVar[OutputKind] = OutputKind.ESTIMATE

    below: float = Field(
        0.01,
        gt=0,
        le=1,
        description="Probability, after Bonferroni over the statistics, below which we warn.",
    )


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """M real data sets among simulations, by K statistics.

    Args:
        names: K statistics.
        labels: M data sets.
        observed: (M, K).
        quantiles: 2.5, 25, 50, 75 and 97.5 % of the simulations, (5, K).
        percentiles: Share of simulations below each real value, in percent, ties by half, (M, K);
            NaN where it cannot be had.
        p: Two-sided tail probability before Bonferroni, (M, K); NaN where it cannot be had.
        simulations: How many.
        values: `prior_predictive_p` of each data set.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    observed: np.ndarray
    quantiles: np.ndarray
    percentiles: np.ndarray
    p: np.ndarray
    simulations: int
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {NAME: DEFINITION}


def compute(summaries: Summaries, config: Config) -> Result:
    """Percentile and tail probability of every statistic of every real data set."""
    space = summaries.spaces.get(SPACE)
    if space is None:
        return _nothing("statistics of the data were not computed")
    trouble = _trouble(space)
    if trouble:
        return _nothing(trouble, summaries.labels)
    simulated = np.concatenate([space.train, space.test])
    percentiles, p = _places(simulated, space.observed)
    values = []
    for m, label in enumerate(summaries.labels):
        tails = StatisticTails(space.columns, space.observed[m], percentiles[m], p[m])
        values.append(_value(label, tails, config.below))
    return Result(
        names=space.columns,
        labels=summaries.labels,
        observed=space.observed,
        quantiles=_quantiles(simulated),
        percentiles=percentiles,
        p=p,
        simulations=len(simulated),
        values=tuple(values),
    )


def _trouble(space: FeatureSpace) -> str | None:
    if not len(space.observed):
        return "there is no real data set to compare"
    if not space.columns:
        return "there are no statistics"
    n = len(space.train) + len(space.test)
    if n < MIN_SIMULATIONS:
        return f"{n} simulations: judging needs hundreds"
    return None


def _nothing(reason: str, labels: tuple[str, ...] = ()) -> Result:
    empty = np.zeros((0, 0))
    quantiles = np.zeros((len(QUANTILE_LEVELS), 0))
    values = tuple(Value(NAME, label, None, reason=reason) for label in labels or ("observations",))
    return Result((), labels, empty, quantiles, empty, empty, 0, values)


def _quantiles(simulated: np.ndarray) -> np.ndarray:
    """Of each column (n, K) that is finite, (5, K)."""
    quantiles = np.full((len(QUANTILE_LEVELS), simulated.shape[1]), np.nan)
    usable = np.isfinite(simulated).all(axis=0)
    quantiles[:, usable] = np.quantile(simulated[:, usable], QUANTILE_LEVELS, axis=0)
    return quantiles


def _places(simulated: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles and tail probabilities of observed (M, K) among simulated (n, K), (M, K) each."""
    percentiles = np.full(observed.shape, np.nan)
    p = np.full(observed.shape, np.nan)
    for j in np.flatnonzero(np.isfinite(simulated).all(axis=0)):
        fine = np.isfinite(observed[:, j])
        values = _without_rounding(simulated[:, j], observed[fine, j])
        percentiles[fine, j] = _percentiles(simulated[:, j], values)
        p[fine, j] = _two_sided_tail(simulated[:, j], values)
    return percentiles, p


def _without_rounding(simulated: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Observed values; those that lie outside the simulated range by rounding alone, at its end."""
    inside = np.clip(observed, simulated.min(), simulated.max())
    same = np.isclose(observed, inside, rtol=ROUNDING, atol=0)
    return np.where(same, inside, observed)


def _percentiles(simulated: np.ndarray, values: np.ndarray) -> np.ndarray:
    ordered = np.sort(simulated)
    left = np.searchsorted(ordered, values, side="left")
    right = np.searchsorted(ordered, values, side="right")
    return 50 * (left + right) / len(ordered)


def _two_sided_tail(simulated: np.ndarray, values: np.ndarray) -> np.ndarray:
    smaller = np.minimum(tail(simulated, values), tail(-simulated, -values))
    return np.minimum(1.0, 2 * smaller)


@dataclass(frozen=True)
class StatisticTails:
    """The K statistics of one data set.

    Args:
        columns: K names.
        observed: Their values, (K,).
        percentiles: Among the simulations, (K,).
        p: Two-sided tail probabilities before Bonferroni, (K,).
    """

    columns: tuple[str, ...]
    observed: np.ndarray
    percentiles: np.ndarray
    p: np.ndarray

    def sentences(self) -> list[str]:
        """Each statistic and its percentile, the most extreme first."""
        return [self._sentence(j) for j in np.argsort(self.p, kind="stable")]

    def _sentence(self, j: int) -> str:
        value = f"{self.columns[j]} = {self.observed[j]:.4g}"
        return f"{value} at percentile {self.percentiles[j]:.4g}"

    def unknown(self) -> list[str]:
        """Names of those whose tail cannot be had."""
        return [self.columns[j] for j in np.flatnonzero(~np.isfinite(self.p))]


def _value(label: str, tails: StatisticTails, below: float) -> Value:
    unknown = tails.unknown()
    if unknown:
        reason = f"not finite, in the data or in a simulation: {listed(unknown)}"
        return Value(NAME, label, None, reason=reason)
    joint = np.minimum(1.0, tails.p * len(tails.p))
    smallest = float(joint.min())
    sentences = tails.sentences()
    if smallest >= below:
        reason = f"most extreme is {sentences[0]} of the simulations"
        return Value(NAME, label, smallest, reason=reason)
    outside = listed(sentences[: int((joint < below).sum())])
    return Value(NAME, label, smallest, warning=Rule.OUTSIDE_PRIOR_PREDICTIVE, reason=outside)


def listed(words: Sequence[str]) -> str:
    """The first few, and how many more.

    Example:
        >>> listed(["a", "b", "c", "d"])
        'a, b, c and 1 more'
    """
    first = ", ".join(words[:MAX_NAMED])
    if len(words) > MAX_NAMED:
        return f"{first} and {len(words) - MAX_NAMED} more"
    return first


def plot(result: Result) -> Figure:
    """Each statistic's prior predictive interval, and where the real data lie in it.

    All intervals are drawn equally long.
    """
    from sbiwb.diagnostics import _grid

    judged = _judged(result.p)
    if not len(judged):
        return _grid.empty(HEADING, result.values[0].reason)
    shown = _grid.most_extreme(judged, np.nanmin(result.p[:, judged], axis=0))
    figure, axes = _grid.rows([result.names[j] for j in shown])
    _draw(axes, result, shown)
    note = (
        f"bars: central 50 and 95 % of {result.simulations} simulations, each statistic stretched "
        f"to the same length; dots: {len(result.observed)} real data sets (at the edge: farther "
        "out; red: outside the prior predictive)"
    )
    left_out = _grid.left_out(len(shown), len(judged), "most extreme", " statistics")
    _grid.finish(figure, HEADING, note + left_out)
    return figure


def _judged(p: np.ndarray) -> np.ndarray:
    """Statistics whose tail is known for a data set, p (M, K)."""
    if not p.size:
        return np.arange(0)
    return np.flatnonzero(np.isfinite(p).any(axis=0))


def _draw(axes: Axes, result: Result, shown: np.ndarray) -> None:
    _draw_intervals(axes, standardize(result.quantiles, result.quantiles)[:, shown])
    _draw_data(axes, result, standardize(result.observed, result.quantiles)[:, shown])
    axes.set_xlim(-1.05 * EDGE, 1.05 * EDGE)
    axes.set_xticks([-1, 0, 1], ["2.5 %", "median", "97.5 %"])


def _draw_intervals(axes: Axes, quantiles: np.ndarray) -> None:
    from sbiwb.diagnostics import _grid

    low, lower, middle, upper, high = quantiles
    at = np.arange(quantiles.shape[1])
    axes.hlines(at, low, high, color=_grid.SKY, lw=2)
    axes.hlines(at, lower, upper, color=_grid.SKY, lw=6)
    axes.plot(middle, at, "|", color=_grid.INK, ms=6)


def _draw_data(axes: Axes, result: Result, observed: np.ndarray) -> None:
    """A dot for each data set on each line, those outside in red."""
    from sbiwb.diagnostics import _grid

    place = np.clip(observed, -EDGE, EDGE)
    at = np.arange(place.shape[1])
    faint = min(0.8, max(0.25, 5 / len(place)))
    for row, value in zip(place, result.values, strict=True):
        color, alpha = _grid.INK, faint
        if value.warning is not None:
            color, alpha = _grid.VERMILLION, 0.9
        axes.scatter(row, at, s=16, color=color, alpha=alpha, lw=0, zorder=3)


def standardize(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Values (n, K) so that the 2.5, 50 and 97.5 % quantiles of each statistic lie at -1, 0 and 1.

    Linear in between and beyond.
    """
    low, _, middle, _, high = quantiles
    distance = values - middle
    unit = np.where(distance < 0, middle - low, high - middle)
    far = np.where(distance == 0, 0.0, np.copysign(10 * EDGE, distance))
    return np.where(unit > 0, distance / np.where(unit > 0, unit, 1.0), far)
