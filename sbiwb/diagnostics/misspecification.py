"""Misspecification: are the real data unlike everything that the network was trained on?

In each space (the summary network's features; statistics of the observables) two measures say how far a data set lies from the
training simulations, and simulations that no training saw say how far is usual:

    Mahalanobis    sqrt((u - mean)' C^-1 (u - mean)),  C shrunk [Ledoit & Wolf 2004]: odd combinations, far out
    MMD²           1 - 2 mean_t k(u, u_t) + mean_st k(u_s, u_t),  k Gaussian: empty places inside the cloud

    p = share of pooled data sets (N simulations and the real one) whose more extreme rank, by either measure, is as extreme.

u are the columns brought to one scale: log(1 + x/c) where a column is never negative, asinh((x - median)/spread) elsewhere; counts
over several orders of magnitude would drown in their own tail otherwise. p is exact whatever the columns' distribution; beyond all
simulations it goes on by `_statistics.tail`. Several data sets of one observation are also judged together, by the MMD² of the set
against that of equally many simulations.

The bandwidth of k is the median distance of a simulation to its nearest neighbour. The median of all distances, the usual choice, does
not notice an epidemic with two waves (p = 0.5 among single ones; by neighbours 0.001).

Warning: a large p-value does not say that the model is right. It says that such data do come out of it now and then.

References:
    Schmitt, Bürkner, Köthe, Radev 2023, Detecting model misspecification in amortized Bayesian inference with neural networks,
    https://arxiv.org/abs/2112.08866.
    Ledoit, Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices,
    https://doi.org/10.1016/S0047-259X(03)00096-4.
    Gretton, Borgwardt, Rasch, Schölkopf, Smola 2012, A kernel two-sample test, https://jmlr.org/papers/v13/gretton12a.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.diagnostics._statistics import tail
from sbiwb.evidence import Space, Summaries, Value
from sbiwb.families import Part
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TAKES = "summaries"
SPACES = {"network": "the summary network's features", "statistics": "statistics of the observables"}
FEWEST = 20  # simulations, in training and in test
MOST_KERNEL = 4_000  # training simulations that the kernel looks at
MOST_SETS = 2_000  # test simulations of which sets are made
SETS = 1_000  # sets of simulations
PER_SET = 5  # times as many simulations as a set has members, so that sets differ
MOST_NEIGHBOURS = 500  # simulations whose nearest neighbour is sought
SAME = 1e-12  # squared distance of the same data set, rounding aside
SMALLEST_SCALE = 1e-4  # of a column's largest number: below it, differences are rounding
SMALLEST_EIGENVALUE = 1e-4  # of the mean eigenvalue of the covariance
BLOCK = 1_000


class Config(Part):
    """Options of the check for misspecification."""

    below: float = Field(0.01, gt=0, le=0.5, description="Probability, after Bonferroni over all tests, below which we warn.")


@dataclass(frozen=True)
class Distances:
    """How far M data sets lie from the training simulations.

    Args:
        p: Probability that a simulation lies as far or farther, (M,); NaN where a data set is not finite.
        mahalanobis: (M,).
        mmd2: Squared maximum mean discrepancy of each data set alone, (M,).
        usual_mahalanobis: Of N test simulations, (N,).
        usual_mmd2: The same, (N,).
    """

    p: np.ndarray
    mahalanobis: np.ndarray
    mmd2: np.ndarray
    usual_mahalanobis: np.ndarray
    usual_mmd2: np.ndarray


@dataclass(frozen=True)
class Result:
    """M data sets in each space.

    Args:
        labels: M data sets.
        distances: By space; spaces that cannot be judged are left out.
        below: Probability below which we warn.
        tests: How many p-values there are.
        values: `SPACE_p` of each data set, `SPACE_set_p` of each observation with several.
    """

    labels: tuple[str, ...]
    distances: dict[str, Distances]
    below: float
    tests: int
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        **{
            f"{space}_p": (
                f"p-value of a data set's distance from the training simulations in {words}: Mahalanobis and MMD² against the same of "
                "test simulations, the more extreme counts [Schmitt et al. 2023]"
            )
            for space, words in SPACES.items()
        },
        **{
            f"{space}_set_p": (
                f"p-value of the MMD² between an observation's data sets and the training simulations in {words}, against sets of "
                "equally many test simulations [Schmitt et al. 2023]"
            )
            for space, words in SPACES.items()
        },
    }


def compute(summaries: Summaries, config: Config) -> Result:
    """Distances and p-values in each space, warnings after Bonferroni over all of them."""
    found: dict[str, Distances] = {}
    values: list[Value] = []
    for place, (name, space) in enumerate(summaries.spaces.items()):
        trouble = trouble_of(space)
        if trouble:
            values += [Value(f"{name}_p", label, None, reason=trouble) for label in summaries.labels or ("observations",)]
            continue
        ruler = _Ruler.of(space.train)
        found[name] = _distances(ruler, space)
        values += [_value(name, label, found[name], m) for m, label in enumerate(summaries.labels)]
        values += _sets(name, ruler, space, summaries, place)
    if not values:
        values.append(Value("network_p", "observations", None, reason="no space was measured"))
    tests = sum(value.value is not None for value in values)
    return Result(summaries.labels, found, config.below, tests, tuple(_warned(value, tests, config.below) for value in values))


def distances(space: Space) -> Distances:
    """How far each real data set of a space lies from its training simulations; for use where one observation is at hand.

    Raises:
        ValueError: `trouble_of(space)` is not None.
    """
    trouble = trouble_of(space)
    if trouble:
        raise ValueError(trouble)
    return _distances(_Ruler.of(space.train), space)


def trouble_of(space: Space) -> str | None:
    """Why no data set of this space can be judged, or None."""
    if not len(space.observed):
        return "there is no real data set to compare"
    if not space.columns:
        return "the space has no columns"
    if min(len(space.train), len(space.test)) < FEWEST:
        return f"{len(space.train)} training and {len(space.test)} test simulations: judging needs hundreds"
    bad = int((~np.isfinite(space.train)).any(axis=1).sum() + (~np.isfinite(space.test)).any(axis=1).sum())
    return f"{bad} simulations are not finite" if bad else None


@dataclass(frozen=True)
class _Scale:
    """Columns to one scale: log(1 + x/c) with c the 5 % quantile of the positive values, or asinh((x - median)/spread)."""

    positive: np.ndarray  # which columns take the logarithm, (K,)
    centre: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, train: np.ndarray) -> _Scale:
        largest = np.abs(train).max(axis=0)
        positive = (train.min(axis=0) >= 0) & (largest > 0)
        centre = np.where(positive, 0.0, np.median(train, axis=0))
        floor = np.maximum(SMALLEST_SCALE * largest, np.finfo(float).tiny ** 0.5)
        quarters = np.quantile(train, [0.25, 0.75], axis=0)
        unit = np.where(largest > 0, largest, 1.0)
        spread = (quarters[1] - quarters[0]) / 1.349
        spread = np.where(spread > floor, spread, unit * (train / unit).std(axis=0))
        small = [np.quantile(column[column > 0], 0.05) if log else 0.0 for column, log in zip(train.T, positive, strict=True)]
        return cls(positive, centre, np.maximum(np.where(positive, small, spread), floor))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            unit = np.clip((values - self.centre) / self.spread, -1e300, 1e300)
        return np.where(self.positive & (unit > 0), np.log1p(np.maximum(unit, 0.0)), np.arcsinh(unit))


@dataclass(frozen=True)
class _Ruler:
    """What the training simulations say of distance."""

    scale: _Scale
    mean: np.ndarray  # (K,)
    spread: np.ndarray  # (K,)
    whiten: np.ndarray  # (K, K)
    references: np.ndarray  # (R, K), standardised
    bandwidth: float
    inside: float  # mean kernel among the references

    @classmethod
    def of(cls, train: np.ndarray) -> _Ruler:
        scale = _Scale.of(train)
        rows = scale(train)
        mean, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), SMALLEST_SCALE)
        unit = (rows - mean) / spread
        values, vectors = np.linalg.eigh(ledoit_wolf(unit))
        whiten = vectors / np.sqrt(np.maximum(values, SMALLEST_EIGENVALUE * max(values.mean(), 1e-3)))
        references = unit[_spread_out(len(unit), MOST_KERNEL)]
        bandwidth = _bandwidth(references)
        inside = float(np.concatenate([_kernel(block, references, bandwidth).mean(axis=1) for block in _blocks(references)]).mean())
        return cls(scale, mean, spread, whiten, references, bandwidth, inside)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Standardised columns."""
        return (self.scale(values) - self.mean) / self.spread

    def mahalanobis(self, unit: np.ndarray) -> np.ndarray:
        return np.sqrt(((unit @ self.whiten) ** 2).sum(axis=1))

    def near(self, unit: np.ndarray) -> np.ndarray:
        """Mean kernel with the references, (n,)."""
        parts = [_kernel(block, self.references, self.bandwidth).mean(axis=1) for block in _blocks(unit)]
        return np.concatenate([np.zeros(0), *parts])

    def kernel(self, unit: np.ndarray) -> np.ndarray:
        """Among the rows themselves, (n, n)."""
        return _kernel(unit, unit, self.bandwidth)


def ledoit_wolf(rows: np.ndarray) -> np.ndarray:
    """Covariance of rows (n, K), shrunk toward a multiple of the identity by the amount that is best in expectation, (K, K)."""
    n, k = rows.shape
    centred = rows - rows.mean(axis=0)
    sample = centred.T @ centred / n
    target = np.trace(sample) / k * np.eye(k)
    distance = ((sample - target) ** 2).sum()
    noise = ((centred**2).sum(axis=1) ** 2).mean() - (sample**2).sum()  # mean squared distance of x x' from the sample covariance
    share = min(1.0, noise / n / distance) if distance > 0 else 1.0
    return share * target + (1 - share) * sample


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of rows a (n, K) and b (m, K), (n, m)."""
    return np.maximum(0.0, (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T)


def _kernel(a: np.ndarray, b: np.ndarray, bandwidth: float) -> np.ndarray:
    return np.exp(-_squared(a, b) / (2 * bandwidth**2))


def _bandwidth(references: np.ndarray) -> float:
    """Median distance to the nearest simulation that is not the same; 1, the scale of the columns, where there is none."""
    squared = _squared(references[_spread_out(len(references), MOST_NEIGHBOURS)], references)
    nearest = np.where(squared > SAME, squared, np.inf).min(axis=1)
    return float(np.sqrt(np.median(nearest[np.isfinite(nearest)]))) if np.isfinite(nearest).any() else 1.0


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]


def _spread_out(n: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


def _distances(ruler: _Ruler, space: Space) -> Distances:
    finite = np.isfinite(space.observed).all(axis=1)
    test, real = ruler(space.test), ruler(space.observed[finite])
    usual, seen = _measures(ruler, test), _measures(ruler, real)
    p, measured = np.full(len(finite), np.nan), np.full((len(finite), 2), np.nan)
    p[finite], measured[finite] = _together(usual, seen), seen
    return Distances(p, measured[:, 0], measured[:, 1], usual[:, 0], usual[:, 1])


def _measures(ruler: _Ruler, unit: np.ndarray) -> np.ndarray:
    """Mahalanobis distance and MMD² of each data set alone, (n, 2)."""
    return np.stack([ruler.mahalanobis(unit), 1 + ruler.inside - 2 * ruler.near(unit)], axis=1)


def _together(usual: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """One exact p-value a data set (M,) from two measures: of simulations (N, 2), of real data (M, 2)."""
    n, p = len(usual), np.empty(len(seen))
    for m, row in enumerate(seen):
        pool = np.vstack([usual, row])
        as_far = n + 1 - np.stack([np.searchsorted(np.sort(column), column, side="left") for column in pool.T])
        extreme = as_far.min(axis=0)
        p[m] = (extreme <= extreme[-1]).mean()
    tails = np.stack([tail(usual[:, j], seen[:, j]) for j in range(2)])
    return np.minimum(p, 2 * tails.min(axis=0))


def _value(space: str, label: str, found: Distances, m: int) -> Value:
    if not np.isfinite(found.p[m]):
        return Value(f"{space}_p", label, None, reason="the data set has numbers that are not finite")
    middle, far = np.quantile(found.usual_mahalanobis, [0.5, 0.95])
    reason = f"distance {found.mahalanobis[m]:.3g} from the simulations, whose own are {middle:.3g} (median) and {far:.3g} (95 %)"
    return Value(f"{space}_p", label, float(found.p[m]), reason=reason)


def _sets(name: str, ruler: _Ruler, space: Space, summaries: Summaries, place: int) -> Iterator[Value]:
    """One number an observation that has several data sets."""
    groups = np.array(summaries.groups)
    several = [group for group in dict.fromkeys(summaries.groups) if (groups == group).sum() > 1]
    if not several:
        return
    test = ruler(space.test[_spread_out(len(space.test), MOST_SETS)])
    kernel, near = ruler.kernel(test), ruler.near(test)
    for number, group in enumerate(several):
        members = space.observed[groups == group]
        trouble = _set_trouble(members, len(test))
        if trouble:
            yield Value(f"{name}_set_p", group, None, reason=trouble)
            continue
        unit, rng = ruler(members), generator(summaries.seed, "bands", place, number)
        seen = ruler.kernel(unit).mean() - 2 * ruler.near(unit).mean()
        sets = (rng.choice(len(test), len(unit), replace=False) for _ in range(SETS))
        usual = np.array([kernel[np.ix_(rows, rows)].mean() - 2 * near[rows].mean() for rows in sets])
        p = float(tail(usual, np.array([seen]))[0])
        reason = f"MMD² {seen + ruler.inside:.3g} of {len(unit)} data sets together, {np.median(usual) + ruler.inside:.3g} usual"
        yield Value(f"{name}_set_p", group, p, reason=reason)


def _set_trouble(members: np.ndarray, n: int) -> str | None:
    if not np.isfinite(members).all():
        return "some data sets have numbers that are not finite"
    m = len(members)
    return f"{n} test simulations are too few to make sets of {m} from; {PER_SET * m} would do" if n < PER_SET * m else None


def _warned(value: Value, tests: int, below: float) -> Value:
    if value.value is None or value.value * tests >= below:
        return value
    return Value(value.name, value.parameter, value.value, warning="unlike the simulations", reason=value.reason)


def plot(result: Result) -> Figure:
    """Distance of each data set in each space, beside those of simulations."""
    from sbiwb.diagnostics import _grid
    from sbiwb.diagnostics.predictive import MOST_ROWS, rows

    heading = "Misspecification: are the real data like the simulations?"
    if not result.distances:
        return _grid.empty(heading, result.values[0].reason)
    smallest = np.min([np.nan_to_num(found.p, nan=-1.0) for found in result.distances.values()], axis=0)
    shown = np.sort(np.argsort(smallest, kind="stable")[:MOST_ROWS])
    odd = {(value.name, value.parameter) for value in result.values if value.warning}
    lines = [(m, space) for m in shown for space in result.distances]
    figure, axes = rows([f"{result.labels[m]} ({space})" for m, space in lines])
    for at, (m, space) in enumerate(lines):
        _line(axes, at, result.distances[space], m, warned=(f"{space}_p", result.labels[m]) in odd)
    axes.axvline(1, color=_grid.INK, lw=0.6)
    axes.set(xlabel="Mahalanobis distance / median of the simulations")
    axes.set_xlim(left=0)
    left = f"; the {len(shown)} most extreme of {len(result.labels)} data sets" if len(shown) < len(result.labels) else ""
    note = f"bars: 95 and 99 % of the simulations are nearer than their ends; dots: real data (red: unlike the simulations){left}"
    _grid.finish(figure, heading, note)
    return figure


def _line(axes: Axes, at: int, found: Distances, m: int, *, warned: bool) -> None:
    from sbiwb.diagnostics import _grid

    middle = np.median(found.usual_mahalanobis) or 1.0
    near, far = np.quantile(found.usual_mahalanobis, [0.95, 0.99]) / middle
    axes.hlines(at, 0, far, color=_grid.SKY, lw=2)
    axes.hlines(at, 0, near, color=_grid.SKY, lw=6)
    if not np.isfinite(found.p[m]):
        axes.text(0, at, " not finite", va="center", fontsize=7, color=_grid.FAINT)
        return
    distance, edge = found.mahalanobis[m] / middle, 2 * far
    color = _grid.VERMILLION if warned else _grid.BLUE
    axes.scatter(min(distance, edge), at, s=22, marker="o" if distance <= edge else ">", color=color, lw=0, zorder=3)
