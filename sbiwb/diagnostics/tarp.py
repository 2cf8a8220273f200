"""TARP: are draws nearer to a random reference point than the truth as often as they should be?

Judges all parameters at once. For an exact posterior, and a reference r that depends on nothing but
x and chance, truth and draws are alike: the number of draws nearer to r than theta* is uniform on
{0..S}. Its ECDF is the expected coverage of balls around r [Lemos et al. 2023]. Two kinds of
references are taken, with distances in the unconstrained z, each dimension in units of its spread:

    tarp_prior    r is a draw from the prior, in units of the prior's spread
    tarp_data     r = h(x) + noise, h(x) what the data alone say of z, the noise as wide as what h
                  leaves of the prior's spread, in its units: sqrt(prior² - h²), and not the spread
                  of theta* - h(x), for a reference must not depend on the truth

Draws outside the prior's support have no z and count as infinitely far.

Warning: with references from the prior a posterior that equals the prior passes; tarp_data sees it.
A Kolmogorov-Smirnov test of the curve against its grid of levels, as some packages report, is no
valid test: the levels are no sample.

References:
    Lemos et al. 2023, Sampling-based accuracy testing of posterior estimators for general
    inference, https://arxiv.org/abs/2302.03026.
    Säilynoja, Bürkner, Vehtari 2022, https://arxiv.org/abs/2103.10522.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sbiwb.contracts import DiagnosticResult
from sbiwb.diagnostics import _calibration, _ecdf, _inputs
from sbiwb.diagnostics._calibration import Finding
from sbiwb.diagnostics._tarp_references import (
    DATA,
    PRIOR,
    References,
    kinds_of,
    prior_z,
    references_of,
    unconstrained,
)
from sbiwb.evidence import Draws, Shape, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {PRIOR: "references from the prior", DATA: "references near the data's guess"}
BIAS_ERRORS = 4.0  # standard errors from which a column is called biased
EXPECTED = Finding("balls around the references hold the truth as often as they should")
HEADING = "TARP: do balls around random points hold the truth as often as they should?"


def definition(reference: str) -> str:
    """What the number means, with this kind of reference point."""
    return (
        "log(gamma / its 5 % quantile under uniform ranks) of the number of draws nearer than the "
        f"truth to a reference point, {reference}; below 0 rejects; with alpha in place of 5 % "
        "where it is set; effect: max |expected coverage - credibility|, with a 95 % DKW interval "
        "[Lemos et al. 2023; Säilynoja et al. 2022]"
    )


class Config(_calibration.CalibrationConfig):
    """Options of TARP."""


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """Expected coverage of balls around Q kinds of references.

    Args:
        kinds: `tarp_prior`, `tarp_data`, or both.
        n: Test pairs.
        s: Draws each.
        ranks: Draws nearer to the reference than the truth, (N, Q).
        z: Credibility levels, (K,).
        ecdf: Expected coverage, (Q, K).
        lower: Lower end of the simultaneous band, (K,).
        upper: Upper end, (K,).
        trouble: Why nothing was judged, else None; with one `ranks` and `ecdf` are empty.
        alpha: Level of the band.
        values: One for each kind of reference.
    """

    kinds: tuple[str, ...]
    n: int
    s: int
    ranks: np.ndarray
    z: np.ndarray
    ecdf: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    trouble: str | None
    alpha: float
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        PRIOR: definition("a draw from the prior"),
        DATA: definition("a prediction from the data alone plus noise"),
    }


def compute(draws: Draws, config: Config) -> Result:
    """Ranks of the truth's distance among those of the draws, for every kind of reference."""
    truth = unconstrained(draws, draws.theta)
    prior = prior_z(draws)
    trouble = _trouble(draws, truth, prior)
    if trouble:
        return _unjudged(draws, config, trouble)
    references = references_of(draws, prior)
    ranks, errors = _measure(draws, truth, references)
    test = _ecdf.uniformity(ranks, draws.s, alpha=config.alpha)
    biased = _biased(draws.names, errors)
    values = []
    for q, reference in enumerate(references):
        finding = EXPECTED
        if test.p[q] <= config.alpha:
            finding = _finding(ranks[:, q], draws.s, biased)
        values.append(_calibration.value(reference.kind, _inputs.ALL, test, q, finding))
    return _result(draws, config, ranks, test.ecdf, values)


def _result(
    draws: Draws,
    config: Config,
    ranks: np.ndarray,
    ecdf: np.ndarray,
    values: Sequence[Value],
    trouble: str | None = None,
) -> Result:
    """The result, with the band that goes with it."""
    lower, upper = _ecdf.band(max(draws.n, 1), draws.s, alpha=config.alpha)
    return Result(
        kinds=tuple(value.name for value in values),
        n=draws.n,
        s=draws.s,
        ranks=ranks,
        z=_ecdf.grid(draws.s),
        ecdf=ecdf,
        lower=lower,
        upper=upper,
        trouble=trouble,
        alpha=config.alpha,
        values=tuple(values),
    )


def _unjudged(draws: Draws, config: Config, trouble: str) -> Result:
    values = [
        _calibration.missing(kind, _inputs.ALL, trouble) for kind in kinds_of(draws) or (PRIOR,)
    ]
    ranks = np.zeros((draws.n, 0), np.int64)
    return _result(draws, config, ranks, np.empty((0, len(_ecdf.grid(draws.s)))), values, trouble)


def _trouble(draws: Draws, truth: np.ndarray, prior: np.ndarray) -> str | None:
    """Why nothing can be judged, else None."""
    n = draws.n
    if not kinds_of(draws):
        return "there are no draws from the prior to take references from"
    if n < 2:
        return _inputs.too_few(n)
    outside = int((~np.isfinite(truth).all(axis=1)).sum())
    if outside:
        bad = f"in {outside} of {n} test pairs"
        return f"the truth is not finite, or outside the prior's support, {bad}"
    if not len(prior):
        return "none of the draws from the prior is inside its support"
    if (np.ptp(draws.theta, axis=0) == 0).all():
        return f"every parameter is the same in all {n} test pairs: nothing to compare"
    if draws.ridge_prediction is not None and not np.isfinite(draws.ridge_prediction).all():
        return "the predictions from the data are not finite"
    bad_pairs = _pairs_with_bad_draws(draws)
    if bad_pairs:
        return f"some draws are not finite in {bad_pairs} of {n} test pairs"
    return None


def _pairs_with_bad_draws(draws: Draws) -> int:
    count = 0
    for _, piece in _inputs.pieces(draws.draws):
        count += int((~np.isfinite(piece)).any(axis=(1, 2)).sum())
    return count


def _measure(
    draws: Draws, truth: np.ndarray, references: Sequence[References]
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks (N, Q), ties broken at random, and standardised errors of the posterior mean (N, D)."""
    n, d = truth.shape
    nearer = np.zeros((n, len(references)), np.int64)
    ties = np.zeros((n, len(references)), np.int64)
    errors = np.full((n, d), np.nan)
    for rows, piece in _inputs.pieces(draws.draws):
        z = unconstrained(draws, piece)
        errors[rows] = _errors(z, truth[rows])
        for q, reference in enumerate(references):
            far = reference.distances(z, rows)
            own = reference.distances(truth[rows, None], rows)
            nearer[rows, q] = (far < own).sum(axis=1)
            ties[rows, q] = (far == own).sum(axis=1)
    return nearer + generator(draws.seed, "ranks", 6).integers(0, ties + 1), errors


def _errors(z: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(mean(z) - z*) / sd(z) by the finite ones of the draws z (n, S, D), (n, D)."""
    with np.errstate(all="ignore"):
        gap = z - truth[:, None]
        inside = np.isfinite(gap)
        count = inside.sum(axis=1)
        gap[~inside] = 0.0
        mean = gap.sum(axis=1) / count
        return mean / np.sqrt(np.einsum("nsd,nsd->nd", gap, gap) / count - mean**2)


@dataclass(frozen=True)
class Bias:
    """A column that lies too low or too high on average."""

    column: str
    shape: Shape


def _biased(names: Sequence[str], errors: np.ndarray) -> list[Bias]:
    """Columns that lie too low or too high on average, the worst first, by errors (N, D)."""
    with np.errstate(all="ignore"):
        score = errors.mean(axis=0) / (errors.std(axis=0) / np.sqrt(len(errors)))
    biased = []
    for d in np.argsort(-np.abs(score)):
        if score[d] < -BIAS_ERRORS:
            biased.append(Bias(names[d], Shape.BIASED_LOW))
        if score[d] > BIAS_ERRORS:
            biased.append(Bias(names[d], Shape.BIASED_HIGH))
    return biased


def _finding(ranks: np.ndarray, s: int, biased: Sequence[Bias]) -> Finding:
    """What a rejected curve says.

    It cannot tell a bias from too small a width by itself, so biased columns are handed in. High
    ranks, or ranks at both ends: the truth lies farther out than draws do.
    """
    if biased:
        return _bias_finding(biased)
    strongest = max(*_calibration.moments(ranks, s), key=abs)
    if abs(strongest) <= _calibration.SHAPE_ERRORS:
        return _calibration.WRONG_JOINT_SHAPE
    if strongest > 0:
        return Finding.of(Shape.OVERCONFIDENT, "the truth lies farther out than the draws")
    return Finding.of(Shape.UNDERCONFIDENT, "the draws lie farther out than the truth")


def _bias_finding(biased: Sequence[Bias]) -> Finding:
    worst = biased[0]
    reason = f"{worst.shape} in {worst.column}"
    if len(biased) > 1:
        reason += f" and {len(biased) - 1} more"
    return Finding(reason, (worst.shape,))


def plot(result: Result) -> Figure:
    """Expected coverage against credibility for every kind of reference."""
    from sbiwb.diagnostics import _grid

    note = _grid.band_note(result.n, result.s)
    return _grid.by_cell(len(result.kinds), partial(_draw_curve, result), HEADING, note)


def _draw_curve(result: Result, axes: Axes, q: int) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, TITLES[result.kinds[q]])
    axes.set(xlabel="credibility level", ylabel="expected coverage", xlim=(0, 1), ylim=(0, 1))
    if result.trouble:
        return _grid.message(axes, result.trouble)
    _grid.band(axes, result.z, result.lower, result.upper, step="post")
    _grid.diagonal(axes)
    axes.step(result.z, result.ecdf[q], where="post", color=_grid.VERMILLION, lw=1.4)
