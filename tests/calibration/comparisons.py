"""The same quantities by sbiwb and by its peers: what each row compares, and why two numbers differ
where they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from scipy.stats import kstest, norm

from sbiwb.diagnostics import (
    _ecdf,
    calibration_error,
    coverage,
    lc2st,
    nlpd,
    nrmse,
    recovery,
    sbc,
    tarp,
    zscore_contraction,
)
from sbiwb.evidence import Draws, LC2STData
from tests.calibration.posteriors import EXACT, Case, Posteriors, pairs, sampled

ROOT_SEED = 20260705  # fixed before the first run
N, S, D = 500, 499, 3
SLIGHTLY = Case(
    "slightly wrong", scale=0.9, shift=0.1
)  # far enough from exact, near enough that 1 - cdf still has digits
ALARM_SETS, ALARM_PAIRS, ALARM_DRAWS = 400, 1000, (100, 250, 999)
REFERENCE = np.array([0.5, -1.0, 0.2])  # of TARP, for every test pair
WIDTHS = np.arange(25, S, 50) / (S + 1)  # of central intervals, each between two order statistics
EXACTLY, ROUNDING = 0.0, 1e-6
LOCAL_PAIRS, LOCAL_DRAWS, LOCAL_ALPHA = 1000, 1000, 0.01
LOCAL = {"exact": EXACT, "wrong": Case("half the sd", scale=0.5)}


@dataclass(frozen=True)
class Row:
    """One quantity by two packages.

    Args:
        quantity: What it is.
        ours: As sbiwb gives it.
        theirs: As the peer gives it.
        tolerance: Largest difference, of the two by one definition.
        reason: Why they differ; empty where the definitions agree.
        converted: Ours by the peer's definition, where that is another.
    """

    quantity: str
    ours: np.ndarray
    theirs: np.ndarray
    tolerance: float
    reason: str = ""
    converted: np.ndarray | None = None

    @property
    def gap(self) -> float:
        """Largest difference by one definition; infinite where the shapes differ."""
        ours = self.ours if self.converted is None else self.converted
        return (
            float(np.abs(ours - self.theirs).max()) if ours.shape == self.theirs.shape else np.inf
        )

    @property
    def equal(self) -> bool:
        return self.gap <= self.tolerance

    def line(self, peer: str) -> str:
        ours, theirs = (_shown(numbers) for numbers in (self.ours, self.theirs))
        limit = "" if self.tolerance <= ROUNDING else f" (chance: up to {self.tolerance:g})"
        mark = "" if self.equal else " **differs**"
        return f"| {self.quantity} | {peer} | {ours} | {theirs} | {self.gap:.1g}{limit}{mark} | {self.reason or 'the same definition'} |"


def _shown(numbers: np.ndarray) -> str:
    """Up to three numbers, else how many."""
    return (
        ", ".join(f"{number:.4g}" for number in numbers)
        if numbers.size <= 3 and numbers.ndim == 1
        else f"{numbers.size:,} numbers"
    )


@dataclass(frozen=True)
class Shared:
    """The draws that everyone sees.

    Args:
        posteriors: Of the N test pairs.
        draws: S draws each, with the test set in place of an unknown prior, as peers have it.
    """

    posteriors: Posteriors
    draws: Draws

    @classmethod
    def make(cls) -> Shared:
        rng = np.random.default_rng(np.random.SeedSequence(ROOT_SEED))
        posteriors = pairs(SLIGHTLY, N, D, rng)
        drawn = sampled(posteriors, S, rng)
        cloud = np.asarray(drawn.draws[:], float)
        log_q = norm.logpdf(cloud, posteriors.mean[:, None], posteriors.sd[:, None, None]).sum(
            axis=2
        )
        unknown = np.full(D, np.nan)
        return cls(
            posteriors,
            replace(drawn, draws=cloud, log_prob_draws=log_q, prior_var=unknown, prior_draws=None),
        )

    @cached_property
    def ranks(self) -> np.ndarray:
        """Of the columns, (N, D)."""
        return sbc.compute(self.draws, sbc.Config()).ranks[:, :D]

    @cached_property
    def tarp(self) -> tarp.Result:
        """Ours with a reference that everyone knows: a prior of a single point, which has no spread
        to measure distance in but 1."""
        point = np.tile(REFERENCE, (N, 1))
        return tarp.compute(
            replace(self.draws, prior_draws=point, ridge_prediction=None), tarp.Config()
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """For the peers' scripts."""
        posteriors, draws = self.posteriors, self.draws
        rng = np.random.default_rng(np.random.SeedSequence(ROOT_SEED, spawn_key=(1,)))
        exact = {
            f"exact_{s}": rng.integers(0, s + 1, (ALARM_SETS, ALARM_PAIRS)) for s in ALARM_DRAWS
        }
        one = {
            "theta": posteriors.theta,
            "x": posteriors.x,
            "mean": posteriors.mean,
            "sd": posteriors.sd,
            "draws": draws.draws[:],
        }
        return {
            **one,
            "references": np.tile(REFERENCE, (N, 1)),
            "widths": WIDTHS,
            **exact,
            **local_arrays(),
        }


@cache
def local_arrays() -> dict[str, np.ndarray]:
    """Calibration pairs with a draw of an exact and of a wrong posterior each, and draws of both at
    one more observation."""
    found = {}
    for name, case in LOCAL.items():
        rng = np.random.default_rng(np.random.SeedSequence(ROOT_SEED, spawn_key=(2,)))
        posteriors = pairs(case, LOCAL_PAIRS + 1, D, rng)
        clouds = posteriors.mean[:, None] + posteriors.sd[:, None, None] * rng.standard_normal(
            (LOCAL_PAIRS + 1, LOCAL_DRAWS, D)
        )
        found |= {
            "local_theta": posteriors.theta[1:],
            "local_x": posteriors.x[1:],
            "observed_x": posteriors.x[0],
        }
        found |= {f"local_{name}": clouds[1:, 0], f"observed_{name}": clouds[0]}
    return found


def local_p(name: str) -> float:
    """Our L-C2ST at the same observation."""
    data = local_arrays()
    names = tuple(f"theta_{j}" for j in range(D))
    observed = {
        "observed_x": data["observed_x"][None],
        "observed_draws": data[f"observed_{name}"][None],
    }
    evidence = LC2STData(
        names,
        data["local_theta"],
        data[f"local_{name}"],
        data["local_x"],
        ("observed",),
        **observed,
    )
    return lc2st.compute(evidence, lc2st.Config()).values[0].p or 0.0


def values(result: Any, name: str) -> np.ndarray:
    """The values of this name, one for each parameter."""
    return np.array([value.value for value in result.values if value.name == name], float)


def with_sbi(shared: Shared, theirs: dict[str, np.ndarray]) -> Iterator[Row]:
    draws, ranks = shared.draws, shared.ranks
    judged = sbc.compute(draws, sbc.Config())
    yield same("rank statistics", ranks, theirs["ranks"], EXACTLY)
    yield same(
        "ranks of log q (expected coverage)", judged.ranks[:, D], theirs["log_q_ranks"], EXACTLY
    )
    ks = np.array([kstest(column, "uniform", args=(0, S)).pvalue for column in ranks.T])
    p = np.array([value.p for value in judged.values[:D]])
    yield Row(
        "p-value of SBC",
        p,
        theirs["ks_p"],
        ROUNDING,
        "KS test of discrete ranks against a continuous uniform on [0, S]",
        ks,
    )
    yield same(
        "NLPD (mean of get_nltp)",
        values(nlpd.compute(draws, nlpd.Config()), nlpd.NAME),
        theirs["nlpd"],
        ROUNDING,
    )
    yield from of_tarp(shared, theirs)
    curve, grid = (theirs[name] for name in ("tarp_ecp", "tarp_alpha"))
    p = np.array([shared.tarp.values[0].p])
    ks = np.array([kstest(curve, grid).pvalue])
    reason = "two-sample KS test of the curve's points against the grid's: no test"
    yield Row("p-value of TARP", p, theirs["tarp_ks_p"], ROUNDING, reason, ks)
    yield from of_lc2st(theirs)


def of_lc2st(theirs: dict[str, np.ndarray]) -> Iterator[Row]:
    """Other classifiers: p-values differ, but both find what is wrong, and neither what is not."""
    p = np.array([local_p(name) for name in LOCAL])
    ours, others = ((one <= LOCAL_ALPHA).astype(float) for one in (p, theirs["lc2st_p"]))
    told = " and ".join(
        f"p = {a:.2g} here, {b:.2g} there ({name})"
        for name, a, b in zip(LOCAL, p, theirs["lc2st_p"], strict=True)
    )
    yield Row(
        "L-C2ST rejects at 1 %: exact, half the sd",
        ours,
        others,
        EXACTLY,
        f"other classifiers; {told}",
    )


def of_tarp(shared: Shared, theirs: dict[str, np.ndarray]) -> Iterator[Row]:
    """Expected coverage at the peer's levels: shares of draws below each, at or below the last."""
    shares = np.sort(shared.tarp.ranks[:, 0]) / S
    levels = theirs["tarp_alpha"]
    below = np.r_[np.searchsorted(shares, levels[:-1], side="left"), N] / N
    ours = _ecdf_at(shared, levels)
    reason = "a histogram over [min f, max f], not over [0, 1]; its levels are not those that S draws can form"
    yield Row("TARP, expected coverage", ours, theirs["tarp_ecp"], ROUNDING, reason, below)


def _ecdf_at(shared: Shared, levels: np.ndarray) -> np.ndarray:
    """Our expected coverage at the nearest levels that S draws can form."""
    result = shared.tarp
    return result.ecdf[0, np.abs(result.z - levels[:, None]).argmin(axis=1)]


def with_bayesflow(shared: Shared, theirs: dict[str, np.ndarray]) -> Iterator[Row]:
    draws, ranks = shared.draws, shared.ranks
    learned = zscore_contraction.compute(draws, zscore_contraction.Config())
    yield same("rank statistics", ranks, theirs["ranks"], EXACTLY)
    contraction = values(learned, "contraction_variance_median")
    yield Row(
        "contraction",
        contraction,
        theirs["contraction"],
        ROUNDING,
        "clipped to [0, 1] there, which matters below 0",
    )
    yield same("posterior z-scores", learned.z, theirs["z"], ROUNDING)
    errors = nrmse.compute(draws, nrmse.Config())
    ours = values(errors, nrmse.DRAWS)
    yield Row(
        "NRMSE of the draws",
        ours,
        theirs["nrmse"],
        0.01,
        "the prior's error is bootstrapped there, exact here",
    )
    yield from of_coverage(shared, theirs)
    yield from of_log_gamma(shared, theirs)


def of_coverage(shared: Shared, theirs: dict[str, np.ndarray]) -> Iterator[Row]:
    """Calibration error, and coverage of the intervals between the same two order statistics."""
    draws, levels = shared.draws, calibration_error.LEVELS
    tails = (1 - levels) / 2
    low, high = np.quantile(draws.draws[:], [tails, 1 - tails], axis=1)
    gap = ((low <= draws.theta) & (draws.theta <= high)).mean(axis=1) - levels[:, None]
    ours = values(
        calibration_error.compute(draws, calibration_error.Config()), calibration_error.NAME
    )
    reason = "interpolated quantiles there; intervals between order statistics, at the levels that S draws form, here"
    yield Row(
        "calibration error",
        ours,
        theirs["calibration_error"],
        ROUNDING,
        reason,
        np.median(np.abs(gap), axis=0),
    )
    curves = coverage.compute(draws, coverage.Config()).central
    at = np.abs(curves.levels - (theirs["coverage_width"] - 1 / (S + 1))[:, None]).argmin(axis=1)
    yield same(
        "coverage between the same order statistics",
        curves.coverage[:, at].T,
        theirs["coverage"],
        ROUNDING,
    )
    reason = "n order statistics are said to hold n/(S + 1) there; between them lie n - 1 of the S + 1 gaps"
    named = curves.levels[at]
    yield Row(
        "the level of these intervals",
        named,
        theirs["coverage_width"],
        ROUNDING,
        reason,
        named + 1 / (S + 1),
    )


def of_log_gamma(shared: Shared, theirs: dict[str, np.ndarray]) -> Iterator[Row]:
    z, judged = _ecdf.grid(S), sbc.compute(shared.draws, sbc.Config())
    gamma = np.exp(_ecdf.tails(_ecdf.counts_below(shared.ranks, S), N, z).min(axis=1))
    yield same("gamma", gamma, theirs["gamma"], ROUNDING)
    ours, null = values(judged, sbc.MAIN)[:D], np.exp(_ecdf.threshold(N, S))
    reason = "gamma's null has 1,000 simulations there, 20,000 or more here"
    yield Row("log gamma", ours, theirs["log_gamma"], 0.6, reason)
    yield Row(
        "5 % quantile of gamma's null", np.array([null]), theirs["null_quantile"], 0.001, reason
    )


def with_arviz(shared: Shared, theirs: dict[str, np.ndarray]) -> Iterator[Row]:
    pit = shared.ranks[:, 0] / S
    curves = coverage.compute(shared.draws, coverage.Config()).central
    yield _ecdf_row(
        "ECDF of PIT values",
        pit,
        theirs["pit_points"],
        theirs["pit_ecdf"],
        sbc.compute(shared.draws, sbc.Config()).ecdf[0],
    )
    folded = 2 * np.abs(pit - 0.5)
    yield _ecdf_row(
        "ECDF of abs(2 PIT - 1)",
        folded,
        theirs["coverage_points"],
        theirs["coverage_ecdf"],
        curves.coverage[0],
    )
    found = recovery.compute(shared.draws, recovery.Config())
    yield same(
        "central 95 % intervals (eti)",
        np.stack([found.low, found.high], axis=-1),
        theirs["eti"],
        ROUNDING,
    )


def _ecdf_row(
    quantity: str, pit: np.ndarray, points: np.ndarray, theirs: np.ndarray, ours: np.ndarray
) -> Row:
    reason = "PIT is r/S, at levels i/N, there; here ranks on the grid (k + 1)/(S + 1) of an exact posterior"
    return Row(
        quantity,
        ours,
        theirs,
        ROUNDING,
        reason,
        np.searchsorted(np.sort(pit), points, side="right") / N,
    )


def with_tarp(shared: Shared, theirs: dict[str, np.ndarray]) -> Iterator[Row]:
    yield from of_tarp(shared, theirs)


def same(quantity: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> Row:
    """A row whose definitions agree."""
    return Row(quantity, ours, theirs, tolerance)


COMPARISONS: dict[str, Callable[[Shared, dict[str, np.ndarray]], Iterator[Row]]] = {
    "sbi": with_sbi,
    "BayesFlow": with_bayesflow,
    "arviz-stats": with_arviz,
    "tarp": with_tarp,
}
