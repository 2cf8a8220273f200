"""The campaign's own truths: its posteriors are what they claim, ranks follow their law, and both
ways to the verdict agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sbiwb.diagnostics import sbc, tarp
from tests.calibration.campaign import rejections, run, work
from tests.calibration.posteriors import (
    CASES,
    CORRELATION,
    EXACT,
    FAULTS,
    PRIOR,
    STRATUM,
    VARIANCE,
    Case,
    covariance,
    pairs,
    sampled,
)
from tests.calibration.ranks import (
    CHECKS,
    PARTS,
    Ranks,
    entries_of_draws,
    entries_of_ranks,
    mass_below,
    mass_less_dense,
    mass_nearer,
    ranks_of,
)
from tests.calibration.rates import BY_STRATA, LARGEST, ONE_STRATUM, VERDICT, Cell, Rates, cells
from tests.calibration.tables import BLIND, COLUMNS, disagreements, tables, unmet

SMALL = (200, 99)


@pytest.mark.parametrize("case", [EXACT, CORRELATION], ids=lambda case: case.name)
def test_exact_posterior_is_exact(case):
    found = pairs(case, 200_000, 3, np.random.default_rng(1))
    left = found.theta - found.exact_mean
    np.testing.assert_allclose(np.cov(left.T), covariance(3, case.rho), atol=0.005)
    np.testing.assert_allclose(np.cov(found.theta.T), np.eye(3), atol=0.015)
    np.testing.assert_allclose(
        left.T @ found.x / len(left), 0, atol=0.02
    )  # nothing more is to be learned from x


def test_faults_are_what_their_names_say():
    shown = {case: pairs(case, 400, 2, np.random.default_rng(2)) for case in CASES}
    sd = {case: found.sd / np.sqrt(VARIANCE) for case, found in shown.items()}
    assert [set(sd[case]) for case in FAULTS] == [{0.8}, {1.25}, {1.0}, {2.0}, {1.0}, {0.5, 1.0}]
    assert (sd[STRATUM] < 1).mean() == 0.25 and not shown[PRIOR].mean.any()
    shift = (shown[FAULTS[2]].mean - shown[FAULTS[2]].exact_mean) / np.sqrt(VARIANCE)
    np.testing.assert_allclose(shift, 0.3)
    assert np.linalg.eigvalsh(covariance(2, CORRELATION.rho)) == pytest.approx(
        [0.2 * VARIANCE, 1.8 * VARIANCE]
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ranks_of_real_draws_follow_the_law(case):
    n, s, d = 1000, 199, 3
    rng = np.random.default_rng(3)
    posteriors = pairs(case, n, d, rng)
    draws = sampled(posteriors, s, rng)
    real, references = sbc.compute(draws, sbc.Config()).ranks, rng.standard_normal((n, d))
    nearer = ((draws.draws[:] - references[:, None]) ** 2).sum(2) < (
        (posteriors.theta - references) ** 2
    ).sum(1)[:, None]
    assert_binomial(real[:, :d], mass_below(posteriors), s)
    assert_binomial(real[:, d], mass_less_dense(posteriors), s)
    assert_binomial(nearer.sum(1), mass_nearer(posteriors, references), s)
    with_data = ranks_of(posteriors, s, rng).with_data  # other draws, the same law
    assert_binomial(
        real[:, d + 1 :] - with_data + s * mass_below(posteriors),
        mass_below(posteriors),
        s,
        variance=2,
    )


def assert_binomial(ranks: np.ndarray, mass: np.ndarray, s: int, variance: float = 1) -> None:
    """Mean and variance of ranks, in sds of Binomial(S, mass); where the mass is in the middle, so
    that the sd is not small."""
    kept = (mass > 0.02) & (mass < 0.98)
    ranks, mass = ranks[kept], mass[kept]
    score = (ranks - s * mass) / np.sqrt(s * mass * (1 - mass))
    assert abs(score.mean()) < 4.5 * np.sqrt(variance / len(score))
    assert abs(score.var() / variance - 1) < 4.5 * np.sqrt(2 / len(score))


@pytest.mark.parametrize("d", [1, 4])
def test_the_same_ranks_give_the_same_values(d):
    rng = np.random.default_rng(4)
    draws = sampled(pairs(CORRELATION, 150, d, rng), 99, rng)
    columns, references = (
        sbc.compute(draws, sbc.Config()).ranks,
        tarp.compute(draws, tarp.Config()).ranks,
    )
    ranks = Ranks(99, draws.names, columns[:, :d], columns[:, d + 1 :], columns[:, d], references)
    by_ranks, by_draws = entries_of_ranks(ranks), entries_of_draws(draws)
    assert [told(entry) for entry in by_ranks] == [told(entry) for entry in by_draws]


def told(entry) -> tuple:
    value = entry.value
    return entry.check, entry.part, value.name, value.parameter, value.value, value.p, value.effect


@pytest.mark.parametrize(
    "case", [EXACT, Case("sd × 0.8", scale=0.8), STRATUM], ids=lambda case: case.name
)
def test_draws_and_ranks_reject_as_often(case):
    cell = Cell(case, 1 + (case == EXACT), *SMALL)
    real = work((replace(cell, real=True), range(100)))
    drawn = work((cell, range(400)))
    assert list(disagreements(real, drawn)) == []
    assert (
        case == EXACT or 0 < real.counts["coverage"] < 100
    )  # not at an end, so that a wrong law would show


def test_exact_posteriors_are_seldom_rejected():
    rates = work((Cell(EXACT, 5, *SMALL), range(400)))
    assert 0.01 < rates.rate(VERDICT) < 0.09 and rates.rate(BY_STRATA) < 0.09


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.name)
def test_faults_are_found_where_theory_says_so(case):
    rates = work((Cell(case, 5, 1000, 99), range(40)))
    assert rates.rate(rates.cell.target) > 0.9
    assert all(rates.rate(column) < 0.2 for column in BLIND.get(case, ()))
    assert case != STRATUM or rates.rate(ONE_STRATUM) > 0.9


def test_repetitions_do_not_depend_on_chunks():
    cell = Cell(STRATUM, 2, *SMALL)
    found = work((cell, range(2))) + work((cell, range(2, 5)))
    assert found == Rates(
        cell, 5, Counter(name for at in range(5) for name in rejections(cell, at))
    )


@pytest.mark.slow
def test_repetitions_do_not_depend_on_processes():
    cell = Cell(STRATUM, 2, *SMALL)
    said: list[str] = []
    assert run({cell: 7}, processes=2, chunk=3, say=said.append) == [work((cell, range(7)))]
    assert len(said) == 1 and said[0].startswith(
        "3 of 3 tasks; sd × 0.5 in a quarter, N = 200, S = 99, D = 2: "
    )


def test_every_cell_of_the_issue_is_there():
    wanted = cells(2000, 200)
    exact = {(cell.n, cell.s, cell.d) for cell in wanted if cell.case == EXACT and not cell.real}
    assert exact == {(n, s, d) for n, s in ((200, 99), (1000, 99), (1000, 999)) for d in (1, 5, 20)}
    largest = {
        (cell.case, cell.d) for cell in wanted if (cell.n, cell.s) == LARGEST and not cell.real
    }
    assert largest == {(case, d) for case in CASES for d in (1, 5, 20)} - {(CORRELATION, 1)}
    assert {
        cell.case for cell in wanted if cell.real and cell.d == 20 and (cell.n, cell.s) == LARGEST
    } == set(CASES)


def test_tables_and_missed_targets():
    assert set(COLUMNS) == {*CHECKS, *PARTS}
    every = [VERDICT, BY_STRATA, *COLUMNS]
    rates = [
        Rates(cell, 100, Counter(dict.fromkeys(every, 5 if cell.case == EXACT else 95)))
        for cell in cells(100, 100)
    ]
    assert list(unmet(rates)) == []
    lines = list(tables(rates))
    assert "| 200 | 99 | 1 | 5.0 ± 2.2 | 5.0 ± 2.2 |" in "\n".join(lines)
    assert any(
        line.startswith("| prior as posterior | 20 | 95.0 ± 2.2 |") and "(95.0)" in line
        for line in lines
    )
    assert (
        len({line.count("|") for line in lines if line.startswith("|")}) <= 3
    )  # rows are as long as their heads
    worse = [Rates(one.cell, 100, Counter({**one.counts, one.cell.target: 30})) for one in rates]
    missed = list(unmet(worse))
    assert sum("false alarms of verdict: 30.0 ± 4.6 %" in line for line in missed) == 9
    assert "sd × 0.8, N = 1000, S = 999, D = 20: found in 30.0 ± 4.6 %" in missed
    assert list(disagreements(worse[-1], rates[-1]))
