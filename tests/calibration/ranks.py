"""From posteriors to values of the calibration checks: by real draws and `compute`, or a hundred
times faster by the law of the ranks.

Given the truth, the number of S draws that lie below it in some quantity is Binomial(S, p), with p
the posterior's mass there. For a posterior Normal(mean, sd² I) that mass is

    theta_j                     Phi((theta*_j - mean_j) / sd)
    log q                       P(chi²_D > |theta* - mean|² / sd²)
    distance to a reference     P(chi²_D(|mean - reference|² / sd²) < |theta* - reference|² / sd²),
    chi² not central

and the rank of theta_j · h_j(x) is that of theta_j, or S minus it. Ranks of different quantities
share their truth, as with real draws, but not the chance in the draws; and references are taken
with the true spread, where `tarp` has an estimate. Real draws as a control show whether that
matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from scipy.special import chdtrc, chndtr, ndtr

from sbiwb.diagnostics import _calibration, _ecdf, coverage, sbc, tarp
from sbiwb.evidence import Draws, Value
from tests.calibration.posteriors import VARIANCE, Posteriors

CHECKS: dict[str, ModuleType] = {"sbc": sbc, "coverage": coverage, "tarp": tarp}
PARTS = (
    "theta",
    "log q",
    "theta·x",
    tarp.PRIOR,
    tarp.DATA,
)  # of sbc and tarp; coverage has one kind of value only
LOG_Q, ALL = "log q", "all parameters"
NO_WORDS = _calibration.Finding("")


@dataclass(frozen=True)
class Entry:
    """One number with a p-value.

    Args:
        check: A key of `CHECKS`, and its stratum where there is one.
        part: What it judges, one of `PARTS`; its check where that has none.
        value: The number.
    """

    check: str
    part: str
    value: Value


@dataclass(frozen=True)
class Ranks:
    """Ranks of the truth among S draws.

    Args:
        s: S.
        names: D columns.
        theta: Of the columns, (N, D).
        with_data: Of theta_j · h_j(x), (N, D).
        log_q: (N,).
        references: Draws nearer than the truth to a reference from the prior, and to one that
            depends on the data, (N, 2).
    """

    s: int
    names: tuple[str, ...]
    theta: np.ndarray
    with_data: np.ndarray
    log_q: np.ndarray
    references: np.ndarray

    def at(self, rows: np.ndarray) -> Ranks:
        return Ranks(
            self.s,
            self.names,
            self.theta[rows],
            self.with_data[rows],
            self.log_q[rows],
            self.references[rows],
        )


def ranks_of(posteriors: Posteriors, s: int, rng: np.random.Generator) -> Ranks:
    """Ranks as S fresh draws from each posterior would give them."""
    shape = posteriors.theta.shape
    prior = rng.standard_normal(shape)
    data = posteriors.exact_mean + np.sqrt(VARIANCE) * rng.standard_normal(shape)
    nearer = np.stack([mass_nearer(posteriors, references) for references in (prior, data)], axis=1)
    theta, log_q = (
        rng.binomial(s, mass_below(posteriors)),
        rng.binomial(s, mass_less_dense(posteriors)),
    )
    with_data = np.where(posteriors.exact_mean > 0, theta, s - theta)
    return Ranks(s, posteriors.names, theta, with_data, log_q, rng.binomial(s, nearer))


def mass_below(posteriors: Posteriors) -> np.ndarray:
    """Mass of each posterior below the truth in each column, (N, D)."""
    return ndtr((posteriors.theta - posteriors.mean) / posteriors.sd[:, None])


def mass_less_dense(posteriors: Posteriors) -> np.ndarray:
    """Mass of each posterior where log q is lower than at the truth, (N,)."""
    return chdtrc(
        posteriors.theta.shape[1], _squared(posteriors, posteriors.theta, posteriors.mean)
    )


def mass_nearer(posteriors: Posteriors, references: np.ndarray) -> np.ndarray:
    """Mass of each posterior nearer than the truth to its reference (N, D), (N,)."""
    truth, mean = (
        _squared(posteriors, end, references) for end in (posteriors.theta, posteriors.mean)
    )
    return np.minimum(chndtr(truth, references.shape[1], mean), 1)  # rounding goes above


def _squared(posteriors: Posteriors, ends: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Squared distances in the sd of each posterior, (N,)."""
    return ((ends - starts) ** 2).sum(axis=1) / posteriors.sd**2


def entries_of_ranks(ranks: Ranks) -> list[Entry]:
    """What the calibration checks give for these ranks."""
    d = len(ranks.names)
    columns = np.hstack([ranks.theta, ranks.log_q[:, None], ranks.with_data, ranks.references])
    plain, folded = (
        _ecdf.uniformity(columns, ranks.s),
        _ecdf.uniformity(_ecdf.fold_ranks(ranks.theta, ranks.s), ranks.s, fold=2),
    )
    quantities = (*ranks.names, LOG_Q, *(name + sbc.WITH_DATA for name in ranks.names))
    values = [
        _calibration.value(sbc.MAIN, name, plain, q, NO_WORDS) for q, name in enumerate(quantities)
    ]
    values += [
        _calibration.value(coverage.MAIN, name, folded, j, NO_WORDS)
        for j, name in enumerate(ranks.names)
    ]
    values += [
        _calibration.value(kind, ALL, plain, 2 * d + 1 + q, NO_WORDS)
        for q, kind in enumerate((tarp.PRIOR, tarp.DATA))
    ]
    return [_entry(value) for value in values]


def entries_of_draws(draws: Draws) -> list[Entry]:
    """What the calibration checks give for real draws; a number that cannot be had is one too."""
    return [_entry(value) for module in CHECKS.values() for value in _judged(module, draws)]


def _judged(module: ModuleType, draws: Draws) -> Iterator[Value]:
    return (
        value
        for value in module.compute(draws, module.Config()).values
        if value.p is not None or value.value is None
    )


def _entry(value: Value) -> Entry:
    if value.name == coverage.MAIN:
        return Entry("coverage", "coverage", value)
    if value.name != sbc.MAIN:
        return Entry("tarp", value.name, value)
    if value.parameter == LOG_Q:
        return Entry("sbc", "log q", value)
    return Entry("sbc", "theta·x" if value.parameter.endswith(sbc.WITH_DATA) else "theta", value)
