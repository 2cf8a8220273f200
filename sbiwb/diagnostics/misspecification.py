"""Misspecification: are the real data unlike everything that the network was trained on?

In each space (the summary network's features; statistics of the observables) two measures say how
far a data set lies from the training simulations, and simulations that no training saw say how far
is usual:

    Mahalanobis    sqrt((u - mean)' C^-1 (u - mean)),  C shrunk [Ledoit & Wolf 2004]:
                   odd combinations, far out
    MMD²           1 - 2 mean_t k(u, u_t) + mean_st k(u_s, u_t),  k Gaussian:
                   empty places inside the cloud

    p = share of pooled data sets (N simulations and the real one) whose more extreme rank, by
        either measure, is as extreme.

u are the columns brought to one scale (see `_ruler`). p is exact whatever the columns'
distribution; beyond all simulations it goes on by `_statistics.tail`. Several data sets of one
observation are also judged together: are more of them among the farthest 5 % than there should be?
The MMD² of the set against that of equally many simulations stands beside it and never warns:
people are more alike than draws from a wide prior, and the posterior of each is none the worse for
it.

For a single data set the bandwidth of k is the median distance of a simulation to its nearest
neighbour: with the median of all distances, the usual choice, an epidemic with two waves has
p = 0.5, by neighbours 0.001. Sets have the usual choice, being smooth.

Warning: a large p-value does not say that the model is right. It says that such data do come out of
it now and then.

References:
    Schmitt, Bürkner, Köthe, Radev 2023, Detecting model misspecification in amortized Bayesian
    inference with neural networks, https://arxiv.org/abs/2112.08866.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, DiagnosticResult, OutputKind
from sbiwb.diagnostics._ruler import Ruler, spread_out
from sbiwb.diagnostics._space_distances import Distances, SetMeasure, distances_by, trouble_of
from sbiwb.diagnostics._statistics import tail
from sbiwb.evidence import EvidenceKind, FeatureSpace, Rule, Summaries, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPACES = {
    "network": "the summary network's features",
    "statistics": "statistics of the observables",
}
MAX_SET_SIMULATIONS = 2_000  # test simulations of which sets are made
FAR_P = 0.05  # p-value of a data set that counts as far out
SIMULATIONS_PER_MEMBER = 5  # times as many as a set has members, so that sets differ
NOT_FINITE = "the data set has numbers that are not finite"
HEADING = "Misspecification: are the real data like the simulations?"


class Measure(StrEnum):
    """What a value is the p-value of; the end of its name."""

    ALONE = "p"
    FAR = "far_p"
    SET = "set_p"

    def name_in(self, space: str) -> str:
        """The value's name in a space, such as `network_far_p`."""
        return f"{space}_{self}"


class Config(DiagnosticPart):
    """Options of the check for misspecification."""

    takes: ClassVar[EvidenceKind] = EvidenceKind.SUMMARIES
    needs: ClassVar[OutputKind] = OutputKind.ESTIMATE

    below: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="Probability, after Bonferroni over data sets and spaces, below which we warn.",
    )


def definitions_of(space: str, words: str) -> dict[str, str]:
    """What the numbers of a space mean, by name."""
    return {
        Measure.ALONE.name_in(space): (
            f"p-value of a data set's distance from the training simulations in {words}: "
            "Mahalanobis and MMD² against the same of test simulations, the more extreme counts "
            "[Schmitt et al. 2023]"
        ),
        Measure.FAR.name_in(space): (
            "beta-binomial probability that so many data sets of an observation, or more, are "
            f"among the farthest 5 % in {words}"
        ),
        Measure.SET.name_in(space): (
            "p-value of the MMD² between an observation's data sets and the training simulations "
            f"in {words}, against sets of equally many test simulations [Schmitt et al. 2023]"
        ),
    }


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """M data sets in each space.

    Args:
        labels: M data sets.
        distances: By space; spaces that cannot be judged are left out.
        limits: Probability below which each value warns, one a value.
        measures: What each value is the p-value of.
        values: `SPACE_p` of each data set; `SPACE_far_p` and `SPACE_set_p` of each observation with
            several.
    """

    labels: tuple[str, ...]
    distances: dict[str, Distances]
    limits: tuple[float, ...]
    measures: tuple[Measure, ...]
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        **definitions_of("network", SPACES["network"]),
        **definitions_of("statistics", SPACES["statistics"]),
    }


@dataclass(frozen=True)
class MeasuredValue:
    """A value, and what it is the p-value of."""

    measure: Measure
    value: Value


NOTHING_MEASURED = MeasuredValue(
    Measure.ALONE, Value("network_p", "observations", None, reason="no space was measured")
)


def compute(summaries: Summaries, config: Config) -> Result:
    """Distances and p-values in each space, warnings after Bonferroni over all of them."""
    by_space: dict[str, Distances] = {}
    measured: list[MeasuredValue] = []
    for place, (name, space) in enumerate(summaries.spaces.items()):
        trouble = trouble_of(space)
        if trouble:
            measured += _unjudged(name, summaries, trouble)
            continue
        ruler = Ruler.of(space.train)
        by_space[name] = distances_by(ruler, space)
        measured += _alone(name, by_space[name], summaries.labels)
        measured += _far(name, by_space[name], summaries.groups)
        measured += _sets(name, ruler, space, summaries, place)
    return _result(summaries, by_space, measured or [NOTHING_MEASURED], config.below)


def _result(
    summaries: Summaries,
    by_space: dict[str, Distances],
    measured: Sequence[MeasuredValue],
    below: float,
) -> Result:
    """The result, with warnings after Bonferroni."""
    limits = _limits(measured, below)
    values = tuple(
        _warned(entry.value, limit) for entry, limit in zip(measured, limits, strict=True)
    )
    measures = tuple(entry.measure for entry in measured)
    return Result(summaries.labels, by_space, limits, measures, values)


def _unjudged(space: str, summaries: Summaries, trouble: str) -> Iterator[MeasuredValue]:
    for label in summaries.labels or ("observations",):
        value = Value(Measure.ALONE.name_in(space), label, None, reason=trouble)
        yield MeasuredValue(Measure.ALONE, value)


def _alone(space: str, distances: Distances, labels: Sequence[str]) -> Iterator[MeasuredValue]:
    """One number a data set."""
    for m, label in enumerate(labels):
        yield MeasuredValue(Measure.ALONE, _alone_value(space, label, distances, m))


def _alone_value(space: str, label: str, distances: Distances, m: int) -> Value:
    name = Measure.ALONE.name_in(space)
    if not np.isfinite(distances.p[m]):
        return Value(name, label, None, reason=NOT_FINITE)
    middle, far = np.quantile(distances.usual_mahalanobis, [0.5, 0.95])
    reason = (
        f"distance {distances.mahalanobis[m]:.3g} from the simulations, whose own are "
        f"{middle:.3g} (median) and {far:.3g} (95 %)"
    )
    return Value(name, label, float(distances.p[m]), reason=reason)


def _far(space: str, distances: Distances, groups: tuple[str, ...]) -> Iterator[MeasuredValue]:
    """Whether too many data sets of one observation lie far out, though none alone may."""
    n = len(distances.usual_mahalanobis)
    if int(FAR_P * (n + 1)) < 1:
        return
    for group in dict.fromkeys(groups):
        p = distances.p[np.array(groups) == group]
        if len(p) > 1 and np.isfinite(p).all():
            yield MeasuredValue(Measure.FAR, _far_value(space, group, p, n))


def _far_value(space: str, group: str, p: np.ndarray, n: int) -> Value:
    """p-values (M,) are ranks among the same n simulations.

    So their number at or below FAR_P is beta-binomial.
    """
    from scipy.stats import betabinom

    rank = int(FAR_P * (n + 1))
    far = int((p <= FAR_P).sum())
    probability = float(betabinom.sf(far - 1, len(p), rank, n + 1 - rank))
    reason = f"{far} of {len(p)} data sets are among the farthest {FAR_P:.0%}"
    return Value(Measure.FAR.name_in(space), group, probability, reason=reason)


def _sets(
    name: str, ruler: Ruler, space: FeatureSpace, summaries: Summaries, place: int
) -> Iterator[MeasuredValue]:
    """One number an observation that has several data sets."""
    groups = np.array(summaries.groups)
    several = [group for group in dict.fromkeys(summaries.groups) if (groups == group).sum() > 1]
    if not several:
        return
    rows = spread_out(len(space.test), MAX_SET_SIMULATIONS)
    measure = SetMeasure.of(ruler, ruler(space.test[rows]))
    for number, group in enumerate(several):
        members = space.observed[groups == group]
        rng = generator(summaries.seed, "bands", place, number)
        value = _set_value(Measure.SET.name_in(name), group, measure, members, rng)
        yield MeasuredValue(Measure.SET, value)


def _set_value(
    name: str, group: str, measure: SetMeasure, members: np.ndarray, rng: np.random.Generator
) -> Value:
    trouble = _set_trouble(members, len(measure.near))
    if trouble:
        return Value(name, group, None, reason=trouble)
    real = measure.of_real(measure.ruler(members))
    usual = measure.usual(len(members), rng)
    p = float(tail(usual, np.array([real]))[0])
    reason = (
        f"MMD² {real + measure.inside:.3g} of {len(members)} data sets together, "
        f"{np.median(usual) + measure.inside:.3g} usual"
    )
    return Value(name, group, p, reason=reason)


def _set_trouble(members: np.ndarray, n: int) -> str | None:
    if not np.isfinite(members).all():
        return "some data sets have numbers that are not finite"
    wanted = SIMULATIONS_PER_MEMBER * len(members)
    if n < wanted:
        few = f"{n} test simulations are too few to make sets of {len(members)} from"
        return f"{few}; {wanted} would do"
    return None


def _limits(measured: Sequence[MeasuredValue], below: float) -> tuple[float, ...]:
    """The level of each value after Bonferroni.

    Data sets alone and observations share it evenly. What never warns has level 0.
    """
    tests = [
        entry.measure
        for entry in measured
        if _warns(entry.measure) and entry.value.value is not None
    ]
    kinds = len(set(tests))
    limits = {Measure.SET: 0.0}
    for measure in (Measure.ALONE, Measure.FAR):
        limits[measure] = below / max(1, kinds * tests.count(measure))
    return tuple(limits[entry.measure] for entry in measured)


def _warns(measure: Measure) -> bool:
    return measure != Measure.SET


def _warned(value: Value, limit: float) -> Value:
    if value.value is None or value.value >= limit:
        return value
    return replace(value, warning=Rule.UNLIKE)


def plot(result: Result) -> Figure:
    """p-value of each data set in each space, on a logarithmic axis, and where it warns."""
    from sbiwb.diagnostics import _grid

    judged = np.array(_judged(result), int)
    if not len(judged):
        return _grid.empty(HEADING, result.values[0].reason)
    p = np.array([result.values[j].value or 0.0 for j in judged])
    shown = _grid.most_extreme(judged, p)
    values = [result.values[j] for j in shown]
    figure, axes = _grid.rows([_row_label(value) for value in values])
    _draw(axes, values, np.array(result.limits)[shown])
    note = (
        "grey ticks: beyond them a data set is unlike the simulations (red); at the edge: less "
        "still"
    )
    left_out = _grid.left_out(len(shown), len(judged), "most extreme")
    _grid.finish(figure, HEADING, note + left_out)
    return figure


def _draw(axes: Axes, values: Sequence[Value], limits: np.ndarray) -> None:
    """A line for each value, and where it would warn (n,)."""
    from sbiwb.diagnostics import _grid

    at = np.arange(len(values))
    edge = min(1e-4, float(limits.min()) / 3)
    p = np.maximum([value.value or 0.0 for value in values], edge)
    axes.hlines(at, p, 1, color=_grid.SKY, lw=2)
    axes.plot(limits, at, "|", color=_grid.FAINT, ms=9)
    _grid.dots(axes, p, [value.warning is not None for value in values])
    axes.set(xscale="log", xlim=(1.3, edge / 1.3))
    axes.set_xlabel("share of simulations that lie as far out or farther")


def _judged(result: Result) -> list[int]:
    """Places of the values that the picture shows."""
    numbered = enumerate(zip(result.values, result.measures, strict=True))
    return [j for j, (value, measure) in numbered if value.value is not None and _warns(measure)]


def _row_label(value: Value) -> str:
    return f"{value.parameter} ({value.name.removesuffix('_p').replace('_', ', ')})"
