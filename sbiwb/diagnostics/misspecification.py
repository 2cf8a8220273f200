"""Misspecification: are the real data unlike everything that the network was trained on?

In each space (the summary network's features; statistics of the observables) two measures say how far a data set lies from the
training simulations, and simulations that no training saw say how far is usual:

    Mahalanobis    sqrt((u - mean)' C^-1 (u - mean)),  C shrunk [Ledoit & Wolf 2004]: odd combinations, far out
    MMD²           1 - 2 mean_t k(u, u_t) + mean_st k(u_s, u_t),  k Gaussian: empty places inside the cloud

    p = share of pooled data sets (N simulations and the real one) whose more extreme rank, by either measure, is as extreme.

u are the columns brought to one scale: log(1 + x/c) where a column is never negative, asinh((x - median)/spread) elsewhere; counts
over several orders of magnitude would drown in their own tail otherwise. p is exact whatever the columns' distribution; beyond all
simulations it goes on by `_statistics.tail`. Several data sets of one observation are also judged together: are more of them among the
farthest 5 % than there should be? The MMD² of the set against that of equally many simulations stands beside it and never warns: people
are more alike than draws from a wide prior, and the posterior of each is none the worse for it.

For a single data set the bandwidth of k is the median distance of a simulation to its nearest neighbour: with the median of all
distances, the usual choice, an epidemic with two waves has p = 0.5, by neighbours 0.001. Sets have the usual choice, being smooth.

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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, OutputKind
from sbiwb.diagnostics._statistics import tail
from sbiwb.evidence import EvidenceKind, FeatureSpace, Summaries, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPACES = {
    "network": "the summary network's features",
    "statistics": "statistics of the observables",
}
FEWEST = 20  # simulations, in training and in test
MOST_KERNEL = 4_000  # training simulations that the kernel looks at
MOST_SETS = 2_000  # test simulations of which sets are made
SETS = 1_000  # sets of simulations
FAR = 0.05  # p-value of a data set that counts as far out
PER_SET = 5  # times as many simulations as a set has members, so that sets differ
MOST_NEIGHBOURS = 500  # simulations whose nearest neighbour is sought
SAME = 1e-12  # squared distance of the same data set, rounding aside
SMALLEST_SCALE = 1e-4  # of a column's largest number: below it, differences are rounding
SMALLEST_EIGENVALUE = 1e-4  # of the mean eigenvalue of the covariance
BLOCK = 1_000


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
        limits: Probability below which each value warns, one a value.
        values: `SPACE_p` of each data set; `SPACE_far_p` and `SPACE_set_p` of each observation with several.
    """

    labels: tuple[str, ...]
    distances: dict[str, Distances]
    limits: tuple[float, ...]
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
            f"{space}_far_p": (
                f"beta-binomial probability that so many data sets of an observation, or more, are among the farthest 5 % in {words}"
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
            values += [
                Value(f"{name}_p", label, None, reason=trouble)
                for label in summaries.labels or ("observations",)
            ]
            continue
        ruler = _Ruler.of(space.train)
        found[name] = _distances(ruler, space)
        values += [_value(name, label, found[name], m) for m, label in enumerate(summaries.labels)]
        values += _far(name, found[name], summaries.groups)
        values += _sets(name, ruler, space, summaries, place)
    if not values:
        values.append(Value("network_p", "observations", None, reason="no space was measured"))
    limits = _limits(values, config.below)
    return Result(summaries.labels, found, limits, tuple(map(_warned, values, limits)))


def distances(space: FeatureSpace) -> Distances:
    """How far each real data set of a space lies from its training simulations; for use where one observation is at hand.

    Raises:
        ValueError: `trouble_of(space)` is not None.
    """
    trouble = trouble_of(space)
    if trouble:
        raise ValueError(trouble)
    return _distances(_Ruler.of(space.train), space)


def trouble_of(space: FeatureSpace) -> str | None:
    """Why no data set of this space can be judged, or None."""
    if not len(space.observed):
        return "there is no real data set to compare"
    if not space.columns:
        return "the space has no columns"
    if min(len(space.train), len(space.test)) < FEWEST:
        return f"{len(space.train)} training and {len(space.test)} test simulations: judging needs hundreds"
    bad = int(
        (~np.isfinite(space.train)).any(axis=1).sum() + (~np.isfinite(space.test)).any(axis=1).sum()
    )
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
        small = [
            np.quantile(column[column > 0], 0.05) if log else 0.0
            for column, log in zip(train.T, positive, strict=True)
        ]
        return cls(positive, centre, np.maximum(np.where(positive, small, spread), floor))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            unit = np.clip((values - self.centre) / self.spread, -1e300, 1e300)
        return np.where(
            self.positive & (unit > 0), np.log1p(np.maximum(unit, 0.0)), np.arcsinh(unit)
        )


@dataclass(frozen=True)
class _Ruler:
    """What the training simulations say of distance."""

    scale: _Scale
    mean: np.ndarray  # (K,)
    spread: np.ndarray  # (K,)
    whiten: np.ndarray  # (K, K)
    references: np.ndarray  # (R, K), standardised
    narrow: float  # bandwidth for one data set
    wide: float  # bandwidth for sets

    @classmethod
    def of(cls, train: np.ndarray) -> _Ruler:
        scale = _Scale.of(train)
        rows = scale(train)
        mean, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), SMALLEST_SCALE)
        unit = (rows - mean) / spread
        values, vectors = np.linalg.eigh(ledoit_wolf(unit))
        whiten = vectors / np.sqrt(
            np.maximum(values, SMALLEST_EIGENVALUE * max(values.mean(), 1e-3))
        )
        references = unit[_spread_out(len(unit), MOST_KERNEL)]
        return cls(scale, mean, spread, whiten, references, *_bandwidths(references))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Standardised columns."""
        return (self.scale(values) - self.mean) / self.spread

    def mahalanobis(self, unit: np.ndarray) -> np.ndarray:
        return np.sqrt(((unit @ self.whiten) ** 2).sum(axis=1))

    def near(self, unit: np.ndarray, bandwidth: float) -> np.ndarray:
        """Mean kernel with the references, (n,)."""
        return np.concatenate(
            [
                np.zeros(0),
                *(
                    _kernel(block, self.references, bandwidth).mean(axis=1)
                    for block in _blocks(unit)
                ),
            ]
        )

    def inside(self, bandwidth: float) -> float:
        """Mean kernel among the references."""
        return float(self.near(self.references, bandwidth).mean())


def ledoit_wolf(rows: np.ndarray) -> np.ndarray:
    """Covariance of rows (n, K), shrunk toward a multiple of the identity by the amount that is best in expectation, (K, K)."""
    n, k = rows.shape
    centred = rows - rows.mean(axis=0)
    sample = centred.T @ centred / n
    target = np.trace(sample) / k * np.eye(k)
    distance = ((sample - target) ** 2).sum()
    noise = ((centred**2).sum(axis=1) ** 2).mean() - (
        sample**2
    ).sum()  # mean squared distance of x x' from the sample covariance
    share = min(1.0, noise / n / distance) if distance > 0 else 1.0
    return share * target + (1 - share) * sample


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of rows a (n, K) and b (m, K), (n, m)."""
    return np.maximum(0.0, (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T)


def _kernel(a: np.ndarray, b: np.ndarray, bandwidth: float) -> np.ndarray:
    return np.exp(-_squared(a, b) / (2 * bandwidth**2))


def _bandwidths(references: np.ndarray) -> tuple[float, float]:
    """Median distance to the nearest reference that is not the same, and to all that are not; 1, the columns' scale, for none."""
    squared = _squared(references[_spread_out(len(references), MOST_NEIGHBOURS)], references)
    other = np.where(squared > SAME, squared, np.inf)
    nearest = other.min(axis=1)
    if not np.isfinite(nearest).any():
        return 1.0, 1.0
    return tuple(float(np.sqrt(np.median(found[np.isfinite(found)]))) for found in (nearest, other))  # type: ignore[return-value]


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]


def _spread_out(n: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


def _distances(ruler: _Ruler, space: FeatureSpace) -> Distances:
    finite = np.isfinite(space.observed).all(axis=1)
    test, real = ruler(space.test), ruler(space.observed[finite])
    usual, seen = _measures(ruler, test), _measures(ruler, real)
    p, measured = np.full(len(finite), np.nan), np.full((len(finite), 2), np.nan)
    p[finite], measured[finite] = _together(usual, seen), seen
    inside = ruler.inside(ruler.narrow)
    return Distances(p, measured[:, 0], measured[:, 1] + inside, usual[:, 0], usual[:, 1] + inside)


def _measures(ruler: _Ruler, unit: np.ndarray) -> np.ndarray:
    """Mahalanobis distance, and MMD² but for its constant, of each data set alone, (n, 2)."""
    return np.stack([ruler.mahalanobis(unit), 1 - 2 * ruler.near(unit, ruler.narrow)], axis=1)


def _together(usual: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """One exact p-value a data set (M,) from two measures: of simulations (N, 2), of real data (M, 2)."""
    n, p = len(usual), np.empty(len(seen))
    for m, row in enumerate(seen):
        pool = np.vstack([usual, row])
        as_far = (
            n
            + 1
            - np.stack([np.searchsorted(np.sort(column), column, side="left") for column in pool.T])
        )
        extreme = as_far.min(axis=0)
        p[m] = (extreme <= extreme[-1]).mean()
    tails = np.stack([tail(usual[:, j], seen[:, j]) for j in range(2)])
    return np.minimum(p, 2 * tails.min(axis=0))


def _value(space: str, label: str, found: Distances, m: int) -> Value:
    if not np.isfinite(found.p[m]):
        return Value(
            f"{space}_p", label, None, reason="the data set has numbers that are not finite"
        )
    middle, far = np.quantile(found.usual_mahalanobis, [0.5, 0.95])
    reason = f"distance {found.mahalanobis[m]:.3g} from the simulations, whose own are {middle:.3g} (median) and {far:.3g} (95 %)"
    return Value(f"{space}_p", label, float(found.p[m]), reason=reason)


def _far(name: str, found: Distances, groups: tuple[str, ...]) -> Iterator[Value]:
    """Whether too many data sets of one observation lie far out, though none alone may."""
    from scipy.stats import betabinom

    n = len(found.usual_mahalanobis)
    rank = int(
        FAR * (n + 1)
    )  # p-values are ranks among the same n simulations, so their number at or below FAR is beta-binomial
    if rank < 1:
        return
    for group in dict.fromkeys(groups):
        p = found.p[np.array(groups) == group]
        if len(p) > 1 and np.isfinite(p).all():
            far = int((p <= FAR).sum())
            reason = f"{far} of {len(p)} data sets are among the farthest {FAR:.0%}"
            yield Value(
                f"{name}_far_p",
                group,
                float(betabinom.sf(far - 1, len(p), rank, n + 1 - rank)),
                reason=reason,
            )


def _sets(
    name: str, ruler: _Ruler, space: FeatureSpace, summaries: Summaries, place: int
) -> Iterator[Value]:
    """One number an observation that has several data sets."""
    groups = np.array(summaries.groups)
    several = [group for group in dict.fromkeys(summaries.groups) if (groups == group).sum() > 1]
    if not several:
        return
    test = ruler(space.test[_spread_out(len(space.test), MOST_SETS)])
    kernel, near, inside = (
        _kernel(test, test, ruler.wide),
        ruler.near(test, ruler.wide),
        ruler.inside(ruler.wide),
    )
    for number, group in enumerate(several):
        members = space.observed[groups == group]
        trouble = _set_trouble(members, len(test))
        if trouble:
            yield Value(f"{name}_set_p", group, None, reason=trouble)
            continue
        unit, rng = ruler(members), generator(summaries.seed, "bands", place, number)
        seen = _kernel(unit, unit, ruler.wide).mean() - 2 * ruler.near(unit, ruler.wide).mean()
        sets = (rng.choice(len(test), len(unit), replace=False) for _ in range(SETS))
        usual = np.array(
            [kernel[np.ix_(rows, rows)].mean() - 2 * near[rows].mean() for rows in sets]
        )
        p = float(tail(usual, np.array([seen]))[0])
        reason = f"MMD² {seen + inside:.3g} of {len(unit)} data sets together, {np.median(usual) + inside:.3g} usual"
        yield Value(f"{name}_set_p", group, p, reason=reason)


def _set_trouble(members: np.ndarray, n: int) -> str | None:
    if not np.isfinite(members).all():
        return "some data sets have numbers that are not finite"
    m = len(members)
    return (
        f"{n} test simulations are too few to make sets of {m} from; {PER_SET * m} would do"
        if n < PER_SET * m
        else None
    )


def _limits(values: list[Value], below: float) -> tuple[float, ...]:
    """The level of each value after Bonferroni; data sets alone and observations share it evenly. What never warns has level 0."""
    kinds = [_kind(value) for value in values if value.value is not None and _kind(value) != "set"]
    return tuple(
        0.0
        if _kind(value) == "set"
        else below / max(1, len(set(kinds)) * kinds.count(_kind(value)))
        for value in values
    )


def _kind(value: Value) -> str:
    """`far`, `set`, or the empty word for one data set."""
    return next((kind for kind in ("far", "set") if value.name.endswith(f"_{kind}_p")), "")


def _warned(value: Value, limit: float) -> Value:
    odd = value.value is not None and value.value < limit
    return replace(value, warning="unlike the simulations") if odd else value


def plot(result: Result) -> Figure:
    """p-value of each data set in each space, on a logarithmic axis, beside the level at which it warns."""
    from sbiwb.diagnostics import _grid

    heading = "Misspecification: are the real data like the simulations?"
    judged = [
        j
        for j, value in enumerate(result.values)
        if value.value is not None and _kind(value) != "set"
    ]
    if not judged:
        return _grid.empty(heading, result.values[0].reason)
    shown = sorted(sorted(judged, key=lambda j: result.values[j].value or 0.0)[: _grid.MOST_ROWS])
    values = [result.values[j] for j in shown]
    figure, axes = _grid.rows(
        [
            f"{value.parameter} ({value.name.removesuffix('_p').replace('_', ', ')})"
            for value in values
        ]
    )
    at, p, limits = (
        np.arange(len(shown)),
        np.array([value.value for value in values], float),
        np.array(result.limits)[shown],
    )
    edge = min(1e-4, float(limits.min()) / 3)
    colors = [_grid.VERMILLION if value.warning else _grid.BLUE for value in values]
    axes.hlines(at, np.maximum(p, edge), 1, color=_grid.SKY, lw=2)
    axes.plot(limits, at, "|", color=_grid.FAINT, ms=9)
    axes.scatter(np.maximum(p, edge), at, s=22, color=colors, lw=0, zorder=3)
    axes.set(
        xscale="log",
        xlim=(1.3, edge / 1.3),
        xlabel="share of simulations that lie as far out or farther",
    )
    left = f"; the {len(shown)} most extreme of {len(judged)}" if len(shown) < len(judged) else ""
    _grid.finish(
        figure,
        heading,
        f"grey ticks: beyond them a data set is unlike the simulations (red); at the edge: less still{left}",
    )
    return figure
