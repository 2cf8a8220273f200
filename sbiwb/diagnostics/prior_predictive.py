"""Prior predictive: do the real data lie inside what the simulator makes under the prior?

For each real data set and each of K statistics the tail probability among all simulations, on the emptier side and doubled; the value
of a data set is the smallest of them, times K (Bonferroni). A tail goes on beyond the most extreme simulation (`_statistics.tail`), so
that data in wrong units are found by few simulations, too.

Warning: a statistic at a time. Data that no statistic shows to be odd may still be unlike the simulations: see `misspecification`.
Simulations are taken over all contexts together.

References:
    Gabry, Simpson, Vehtari, Betancourt, Gelman 2019, Visualization in Bayesian workflow, https://arxiv.org/abs/1709.01449.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, OutputKind
from sbiwb.diagnostics._statistics import tail
from sbiwb.evidence import EvidenceKind, FeatureSpace, Summaries, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPACE = "statistics"
NAME = "prior_predictive_p"
LEVELS = (0.025, 0.25, 0.5, 0.75, 0.975)
FEWEST = 20  # simulations
ROUNDING = 1e-6  # relative: data come from files in float32, too
MOST_NAMED = 3
EDGE = 3.0  # of the picture, in half widths of the interval


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
class Result:
    """M real data sets among simulations, by K statistics.

    Args:
        names: K statistics.
        labels: M data sets.
        observed: (M, K).
        quantiles: 2.5, 25, 50, 75 and 97.5 % of the simulations, (5, K).
        percentiles: Share of simulations below each real value, in percent, ties by half, (M, K); NaN where it cannot be had.
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

    definitions: ClassVar[dict[str, str]] = {
        NAME: (
            "smallest two-sided tail probability of a data set's statistics among simulations from the prior, times the number of "
            "statistics, at most 1; beyond all simulations the tail is taken as a power law [Gabry et al. 2019; Hill 1975]"
        )
    }


def compute(summaries: Summaries, config: Config) -> Result:
    """Percentile and tail probability of every statistic of every real data set."""
    space = summaries.spaces.get(SPACE)
    if space is None:
        return _nothing("statistics of the data were not computed")
    simulated, trouble = np.concatenate([space.train, space.test]), _trouble(space)
    if trouble:
        return _nothing(trouble, summaries.labels)
    k = len(space.columns)
    percentiles, p = np.full((2, len(summaries.labels), k), np.nan)
    usable = np.isfinite(simulated).all(axis=0)
    for j in np.flatnonzero(usable):
        percentiles[:, j], p[:, j] = _place(simulated[:, j], space.observed[:, j])
    quantiles = np.full((len(LEVELS), k), np.nan)
    quantiles[:, usable] = np.quantile(simulated[:, usable], LEVELS, axis=0)
    values = tuple(
        _value(
            label,
            p[m],
            percentiles[m],
            space.observed[m],
            columns=space.columns,
            below=config.below,
        )
        for m, label in enumerate(summaries.labels)
    )
    return Result(
        space.columns,
        summaries.labels,
        space.observed,
        quantiles,
        percentiles,
        p,
        len(simulated),
        values,
    )


def _trouble(space: FeatureSpace) -> str | None:
    n = len(space.train) + len(space.test)
    if not len(space.observed):
        return "there is no real data set to compare"
    if not space.columns:
        return "there are no statistics"
    return f"{n} simulations: judging needs hundreds" if n < FEWEST else None


def _nothing(reason: str, labels: tuple[str, ...] = ()) -> Result:
    empty = np.zeros((0, 0))
    values = tuple(Value(NAME, label, None, reason=reason) for label in labels or ("observations",))
    return Result((), labels, empty, np.zeros((len(LEVELS), 0)), empty, empty, 0, values)


def _place(simulated: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentile and two-sided tail probability of each observed value (M,); NaN where it is not finite."""
    percentile, p = np.full((2, len(observed)), np.nan)
    fine = np.isfinite(observed)
    low, high = simulated.min(), simulated.max()
    inside = np.clip(observed[fine], low, high)
    same = np.isclose(observed[fine], inside, rtol=ROUNDING, atol=0)
    values, ordered = np.where(same, inside, observed[fine]), np.sort(simulated)
    left, right = (
        np.searchsorted(ordered, values, side="left"),
        np.searchsorted(ordered, values, side="right"),
    )
    percentile[fine] = 50 * (left + right) / len(ordered)
    p[fine] = np.minimum(1.0, 2 * np.minimum(tail(simulated, values), tail(-simulated, -values)))
    return percentile, p


def _value(
    label: str,
    p: np.ndarray,
    percentiles: np.ndarray,
    observed: np.ndarray,
    *,
    columns: tuple[str, ...],
    below: float,
) -> Value:
    """The number of one data set, its p, percentiles and values (K,)."""
    judged = np.isfinite(p)
    if not judged.all():
        bad = [name for name, fine in zip(columns, judged, strict=True) if not fine]
        return Value(
            NAME, label, None, reason=f"not finite, in the data or in a simulation: {listed(bad)}"
        )
    joint = np.minimum(1.0, p * len(p))
    told = [
        f"{columns[j]} = {observed[j]:.4g} at percentile {percentiles[j]:.4g}"
        for j in np.argsort(p, kind="stable")
    ]
    if joint.min() >= below:
        return Value(
            NAME, label, float(joint.min()), reason=f"most extreme is {told[0]} of the simulations"
        )
    outside = told[: int((joint < below).sum())]
    return Value(
        NAME,
        label,
        float(joint.min()),
        warning="outside the prior predictive",
        reason=listed(outside),
    )


def listed(words: list[str]) -> str:
    """The first few, and how many more."""
    more = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def plot(result: Result) -> Figure:
    """Each statistic's prior predictive interval, all drawn equally long, and where the real data lie in it."""
    from sbiwb.diagnostics import _grid

    heading = "Prior predictive: does the simulator make data like yours?"
    judged = np.flatnonzero(np.isfinite(result.p).any(axis=0)) if result.p.size else np.arange(0)
    if not len(judged):
        return _grid.empty(heading, result.values[0].reason)
    shown = np.sort(
        judged[np.argsort(np.nanmin(result.p[:, judged], axis=0), kind="stable")[: _grid.MOST_ROWS]]
    )
    figure, axes = _grid.rows([result.names[j] for j in shown])
    at, (low, lower, middle, upper, high) = (
        np.arange(len(shown)),
        standardize(result.quantiles, result.quantiles)[:, shown],
    )
    axes.hlines(at, low, high, color=_grid.SKY, lw=2)
    axes.hlines(at, lower, upper, color=_grid.SKY, lw=6)
    axes.plot(middle, at, "|", color=_grid.INK, ms=6)
    odd = np.array([value.warning is not None for value in result.values])
    place = np.clip(standardize(result.observed, result.quantiles)[:, shown], -EDGE, EDGE)
    for row, warned in zip(place, odd, strict=True):
        color, alpha = (
            (_grid.VERMILLION, 0.9) if warned else (_grid.INK, min(0.8, max(0.25, 5 / len(place))))
        )
        axes.scatter(row, at, s=16, color=color, alpha=alpha, lw=0, zorder=3)
    axes.set(
        xlim=(-1.05 * EDGE, 1.05 * EDGE),
        xticks=[-1, 0, 1],
        xticklabels=["2.5 %", "median", "97.5 %"],
    )
    left = (
        f"; the {len(shown)} most extreme of {len(judged)} statistics"
        if len(shown) < len(judged)
        else ""
    )
    note = (
        f"bars: central 50 and 95 % of {result.simulations} simulations, each statistic stretched to the same length; "
        f"dots: {len(place)} real data sets (at the edge: farther out; red: outside the prior predictive){left}"
    )
    _grid.finish(figure, heading, note)
    return figure


def standardize(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Values (n, K) so that the 2.5, 50 and 97.5 % quantiles of each statistic lie at -1, 0 and 1; linear in between and beyond."""
    low, _, middle, _, high = quantiles
    distance = values - middle
    unit = np.where(distance < 0, middle - low, high - middle)
    far = np.where(distance == 0, 0.0, np.copysign(10 * EDGE, distance))
    return np.where(unit > 0, distance / np.where(unit > 0, unit, 1.0), far)
