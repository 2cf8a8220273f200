"""L-C2ST: is the posterior right at this very data set?

A classifier of (theta, x) tells draws from truths, or cannot. Calibration pairs give one draw
(class 0) and the truth (class 1) for the same x. Where the posterior is exact nothing can tell them
apart, and the classifier's d(theta, x) is 1/2. At a data set o with posterior draws theta_s

    t(o) = mean_s (d(theta_s, x_o) - 1/2)²,    p = (1 + #{null t >= t}) / (1 + R),

the null from R classifiers trained alike with truth and draw of each pair swapped at random, which
is exact where the posterior is right for all x. Beyond all of them the tail goes on by
`_statistics.tail`: Holm over many tests asks for less than 1/(1 + R).

    effect = sqrt(max(0, t - mean null t))

what is left of the typical |d - 1/2| once the noise of training is taken out. 0.05 means that the
classifier is right about 55 times in 100. The classifier is kept simple, so that the effect is
rather too small than too large.

All classifiers are multilayer perceptrons trained together, as one batch of matrix products. They
see theta as what a ridge regression on x, fitted to truths and draws together, leaves of it: a
spread that is wrong is then a plain thing to see, and swapping changes nothing.

Warning: a local test finds less than a global one from the same pairs; take thousands. A classifier
that sees nothing proves nothing.

References:
    Linhart, Gramfort, Rodrigues 2023, L-C2ST: Local diagnostics for posterior approximations in
    simulation-based inference, https://arxiv.org/abs/2306.03580.
    Lopez-Paz, Oquab 2017, Revisiting classifier two-sample tests, https://arxiv.org/abs/1610.06545.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticResult
from sbiwb.diagnostics import _inputs
from sbiwb.diagnostics._calibration import CalibrationConfig, missing
from sbiwb.diagnostics._statistics import tail
from sbiwb.evidence import EvidenceKind, LC2STData, Value
from sbiwb.families import Count
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "lc2st_rms"
MIN_PAIRS = 50  # calibration pairs
MAX_DRAWS = 1_000  # of a data set: more do not change t
NOMINAL_P = 0.05  # alone, from which a reason says that draws are told from truths
NOTHING_OBSERVED = "there is no real data set"
DEFINITION = (
    "root mean square of d - 1/2 over posterior draws of the data set, d the probability by a "
    "classifier of (theta, x) that it sees a truth; effect: the same with the mean square of the "
    "null taken off [Linhart et al. 2023]"
)
HEADING = "L-C2ST: is the posterior right at your data?"


class Config(CalibrationConfig):
    """Options of L-C2ST."""

    takes: ClassVar[EvidenceKind] = EvidenceKind.LOCAL

    tolerance: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest effect, the typical |d - 1/2| of the classifier, that warns only, "
        "where the check rejects.",
    )
    nulls: Count = Field(200, ge=20, le=10_000, description="Classifiers of the null.")
    steps: Count = Field(300, ge=10, description="Steps of training.")


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """The classifiers at M data sets.

    Args:
        labels: M data sets.
        statistic: t, (M,); NaN where not judged.
        null: t of each null classifier, (M, R).
        n: Calibration pairs.
        values: `lc2st_rms` of each data set, sqrt(t).
    """

    labels: tuple[str, ...]
    statistic: np.ndarray
    null: np.ndarray
    n: int
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {NAME: DEFINITION}


def compute(data: LC2STData, config: Config) -> Result:
    """Trains the classifiers, true and null, and asks them at each real data set."""
    troubles = _troubles(data)
    judged = np.array([trouble is None for trouble in troubles], bool)
    statistics = np.full((len(troubles), config.nulls + 1), np.nan)
    if judged.any():
        statistics[judged] = _statistics(data, np.flatnonzero(judged), config)
    values = tuple(_values(data.labels, troubles, statistics))
    return Result(data.labels, statistics[:, 0], statistics[:, 1:], len(data.z), values)


def _values(
    labels: Sequence[str], troubles: Sequence[str | None], statistics: np.ndarray
) -> Iterator[Value]:
    """One value a data set, by the classifiers' statistics (M, R + 1)."""
    if not labels:
        yield missing(NAME, "observations", NOTHING_OBSERVED)
    for label, trouble, (statistic, *null) in zip(labels, troubles, statistics, strict=True):
        if trouble:
            yield missing(NAME, label, trouble)
        else:
            yield _value(label, statistic, np.array(null))


def _troubles(data: LC2STData) -> list[str | None]:
    """Why each data set cannot be judged, else None, M entries."""
    trouble = _trouble(data)
    if trouble:
        return [trouble] * len(data.labels)
    if len(data.labels) and not data.observed_draws.shape[1]:
        return ["there are no posterior draws of it"] * len(data.labels)
    finite = np.isfinite(data.observed_x).all(axis=1)
    finite &= np.isfinite(data.observed_draws).all(axis=(1, 2))
    return [_finite_trouble(is_finite) for is_finite in finite]


def _finite_trouble(is_finite: bool) -> str | None:
    if is_finite:
        return None
    return "its features or posterior draws are not finite"


def _trouble(data: LC2STData) -> str | None:
    """Why no data set can be judged."""
    n = len(data.z)
    if n < MIN_PAIRS:
        return _inputs.too_few(n, "calibration pair")
    bad = int((~np.isfinite(np.hstack([data.z, data.draws, data.x])).all(axis=1)).sum())
    if bad:
        return f"truth, draw or features are not finite in {bad} of {n} calibration pairs"
    if not np.ptp(np.concatenate([data.z, data.draws]), axis=0).any():
        return "truths and draws are all the same: nothing to compare"
    return None


def _value(label: str, statistic: float, null: np.ndarray) -> Value:
    p = float(tail(null, np.array([statistic]))[0])
    usual = null.mean()
    low, high = np.quantile(null - usual, [0.025, 0.975])
    excess = statistic - usual - np.array([0.0, high, low])
    effect, least, most = np.sqrt(np.maximum(0.0, excess))
    off = f"off 1/2 by {np.sqrt(statistic):.3f}, by {np.sqrt(usual):.3f}"
    return Value(
        NAME,
        label,
        float(np.sqrt(statistic)),
        p=p,
        effect=float(effect),
        effect_interval=(float(least), float(most)),
        reason=f"{_sentence(p)}: {off} where there is nothing to tell",
    )


def _sentence(p: float) -> str:
    if p <= NOMINAL_P:
        return "a classifier tells draws from truths"
    return "the classifier does not tell draws from truths"


def _statistics(data: LC2STData, rows: np.ndarray, config: Config) -> np.ndarray:
    """t of the true and the null classifiers at the real data sets `rows`, the true one first.

    Returns:
        (len(rows), R + 1).
    """
    from sbiwb.diagnostics import _classifiers

    inputs = _classifiers.ClassifierInputs.of(data)
    rng = generator(data.seed, "bands", 2)
    weights = _classifiers.train(
        inputs(data.z, data.x),
        inputs(data.draws, data.x),
        rng,
        networks=config.nulls + 1,
        steps=config.steps,
    )
    statistics = np.empty((len(rows), config.nulls + 1))
    for place, m in enumerate(rows):
        draws = _some(data.observed_draws[m])
        x = np.broadcast_to(data.observed_x[m], (len(draws), data.x.shape[1]))
        statistics[place] = _classifiers.mean_squares(weights, inputs(draws, x))
    return statistics


def _some(draws: np.ndarray) -> np.ndarray:
    """At most `MAX_DRAWS` of the draws, evenly spread."""
    return draws[np.unique(np.linspace(0, len(draws) - 1, MAX_DRAWS).astype(int))]


def plot(result: Result) -> Figure:
    """The classifier's distance from 1/2 at each data set, and that of the null classifiers."""
    from sbiwb.diagnostics import _grid

    judged = np.flatnonzero(np.isfinite(result.statistic))
    if not len(judged):
        return _grid.empty(HEADING, result.values[0].reason)
    p = np.array([value.p or 0.0 for value in result.values])
    shown = _grid.most_extreme(judged, p[judged])
    figure, axes = _grid.rows([result.labels[m] for m in shown])
    _draw(axes, np.sqrt(result.statistic[shown]), np.sqrt(result.null[shown]), p[shown])
    note = (
        f"{result.n} calibration pairs; bars: central 95 % of {result.null.shape[1]} null "
        "classifiers; red: p at most 0.05 alone"
    )
    left_out = _grid.left_out(len(shown), len(judged), "most extreme", " data sets")
    _grid.finish(figure, HEADING, note + left_out)
    return figure


def _draw(axes: Axes, distance: np.ndarray, null: np.ndarray, p: np.ndarray) -> None:
    """Distances (n,), those of the null classifiers (n, R), and p-values (n,)."""
    from sbiwb.diagnostics import _grid

    at = np.arange(len(distance))
    low, middle, high = np.quantile(null, [0.025, 0.5, 0.975], axis=1)
    axes.hlines(at, low, high, color=_grid.SKY, lw=6)
    axes.plot(middle, at, "|", color=_grid.INK, ms=6)
    _grid.dots(axes, distance, p <= NOMINAL_P)
    axes.set_xlim(0, 1.1 * max(float(distance.max()), float(high.max())))
    axes.set_xlabel("root mean square of d - 1/2 over posterior draws")
