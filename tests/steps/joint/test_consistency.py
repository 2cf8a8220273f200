"""Self-consistency in closed form: level and power of its verdict, what spreads are in nats, ranks
of c, and the share of a pool; the whole study is `tests/calibration/consistency.py`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from sbiwb.steps.joint.consistency import GRID, best_pool, gains, p_values, spreads
from sbiwb.steps.joint.observed import consistencies, inconsistent
from tests.calibration.consistency import (
    FAULTS,
    GLOBAL,
    NO_FAULT,
    Cell,
    Everywhere,
    studies,
    tables,
    unmet,
    work,
)
from tests.calibration.networks import NONE, USUAL, Errors, Fault, Networks, trained
from tests.calibration.posteriors import covariance

REPETITIONS = 200
PAIRS, DRAWS = 1000, 400
MORE = Errors(0.4, 0.2, size=0)


@pytest.fixture(scope="module")
def rates():
    """With as many draws as `train` takes, and the errors in the middle of those of the study."""
    cells = [Cell(d, Errors(0.1, 0.075), DRAWS) for d in (1, 5)]
    return {cell.d: work((cell, range(REPETITIONS)))[1] for cell in cells}


@pytest.mark.parametrize("d", [1, 5])
def test_level_and_power(rates, d):
    low, high = binom.interval(0.998, REPETITIONS, 0.05)
    assert low <= REPETITIONS * rates[d].rate(NO_FAULT, "spread") <= high
    gross = {fault.name: rates[d].rate(fault, "spread") for fault in FAULTS if fault.gross}
    assert len(gross) == 3 and min(gross.values()) >= 0.9, gross


def test_the_level_is_that_of_the_ranks():
    """Each of 201 alike in turn as the observation: just 10 are rejected."""
    values = np.random.default_rng(0).exponential(size=201)
    p = [p_values(values[[place]], np.delete(values, place))[0] for place in range(201)]
    assert sorted(p) == pytest.approx(np.arange(1, 202) / 201)
    assert np.mean(np.array(p) <= 0.05) == 10 / 201


def test_the_spread_of_a_normal_is_its_sd():
    sds = np.array([0.01, 0.3, 1.0])
    c = 1e6 + sds[:, None] * np.random.default_rng(1).standard_normal((3, 20_000))
    assert spreads(c) == pytest.approx(sds, rel=0.08)


def test_a_spread_is_finite_and_in_order_whatever_draws_are_possible():
    none, all_alike = np.full(400, -np.inf), np.full(400, 3.0)
    some, few, one = none.copy(), none.copy(), none.copy()
    some[:200], few[:8], one[:1] = 0.0, 0.0, 0.0
    c = np.stack([all_alike, some, few, one, none])
    most = np.sqrt(2 * np.log(400))
    usual = [0, np.sqrt(2 * np.log(2)), np.sqrt(2 * np.log(50)), most, most]
    assert spreads(c) == pytest.approx(usual, abs=1e-7)


def test_one_draw_in_a_tail_does_not_decide():
    c = np.random.default_rng(2).normal(0, 0.3, (1, 1000))
    before = spreads(c)
    for value in (50.0, -np.inf):
        c[0, 0] = value
        assert spreads(c) == pytest.approx(before, abs=0.02)


def test_the_observation_with_the_fault_is_named_among_others():
    rng = np.random.default_rng(3)
    pairs, observed = trained(200, 2, rng), trained(3, 2, rng)
    wrong = observed.with_fault(Fault("too narrow and beside", scale=0.4, shift=1.5))
    draws = observed.draws(DRAWS, rng)
    c = np.where(np.array([0, 1, 0])[:, None], wrong.c(draws), observed.c(draws))
    usual = spreads(pairs.c(pairs.draws(DRAWS, rng)))
    results = consistencies(["first", "second", "third"], c, usual, DRAWS)
    assert [result.data_set for result in inconsistent(results, 200)] == ["second"]


@pytest.mark.parametrize("fault", [Fault("exact"), *GLOBAL], ids=lambda fault: fault.name)
def test_ranks_of_c_see_what_all_data_sets_have(fault):
    d = 4
    one = work((Everywhere(d, fault), range(20)))[1]
    found = one.rate(fault, "c")
    assert found >= 0.9 if fault in GLOBAL else found <= 0.2


def test_c_is_what_its_densities_say():
    rng = np.random.default_rng(4)
    shown = trained(5, 3, rng, rho=0.8).with_fault(Fault("", scale=0.7, shift=0.4, noise=1.3))
    z = rng.standard_normal((5, 11, 3))
    theta = shown.mean[:, None] + shown.sd[:, None] * z
    likelihood = norm.logpdf(shown.x[:, None], theta + shown.bias[:, None], shown.noise[:, None])
    posterior = norm.logpdf(theta, shown.mean[:, None], shown.sd[:, None])
    c = (norm.logpdf(theta) + likelihood - posterior).sum(2)
    np.testing.assert_allclose(shown.c(z), c, atol=1e-12)


def test_exact_networks_agree_on_the_evidence():
    shown = trained(6, 3, np.random.default_rng(5), posterior=NONE, likelihood=NONE, rho=0.8)
    c = shown.c(np.random.default_rng(6).standard_normal((6, 50, 3)))
    evidence = norm.logpdf(shown.x, 0, 1 / np.sqrt(1 - shown.exact_sd**2)).sum(1)
    np.testing.assert_allclose(c, np.broadcast_to(evidence[:, None], c.shape), atol=1e-12)
    eigenvalues = np.linalg.eigvalsh(covariance(3, 0.8))
    np.testing.assert_allclose(np.sort(shown.exact_sd**2), eigenvalues, atol=1e-12)


def of_pool(shown: Networks, seed: int):
    """Best pool, all gains (A,), and what they truly are (A,) and (PAIRS, A)."""
    z = shown.draws(DRAWS, np.random.default_rng(seed))
    true, c = shown.c(shown.z_true[:, None])[:, 0], shown.c(z)
    return best_pool(true, c), gains(true, c).mean(0), true_gains(shown)


def true_gains(shown: Networks) -> np.ndarray:
    """log p_a - log q at the true theta for each a of `GRID`, (N, A): all are normal."""
    other = 1 / (1 + shown.noise**-2)  # variance of p(theta) l(x | theta)
    centre = other * (shown.x - shown.bias) / shown.noise**2
    ours = norm.logpdf(shown.theta, shown.mean, shown.sd).sum(1)
    each = []
    for a in GRID:
        precision = (1 - a) / shown.sd**2 + a / other
        mean = ((1 - a) * shown.mean / shown.sd**2 + a * centre / other) / precision
        each.append(norm.logpdf(shown.theta, mean, precision**-0.5).sum(1) - ours)
    return np.stack(each, axis=1)


def test_an_exact_posterior_takes_nothing_of_a_wrong_likelihood():
    shown = trained(PAIRS, 2, np.random.default_rng(7), posterior=NONE, likelihood=MORE)
    pool, _, true = of_pool(shown.with_fault(Fault("", noise=1.5)), 8)
    assert pool.share == 0 and pool.gain == 0
    assert true.mean(0)[-1] < 0  # the likelihood alone would be worse


def test_a_wrong_posterior_gives_way_to_an_exact_likelihood():
    shown = trained(PAIRS, 2, np.random.default_rng(9), posterior=MORE, likelihood=NONE)
    pool, _, true = of_pool(shown, 10)
    assert pool.share >= 0.9 and pool.gain == pytest.approx(true[:, -1].mean(), abs=0.05)


def test_two_that_are_wrong_alone_are_better_together():
    shown = trained(PAIRS, 2, np.random.default_rng(11), posterior=MORE, likelihood=MORE)
    pool, estimated, true = of_pool(shown, 12)
    mine = int(np.flatnonzero(np.isclose(GRID, pool.share))[0])
    assert 0.2 < pool.share < 0.8
    better = true[:, [mine]] - true[:, [0, -1]]  # than the posterior, than the likelihood
    assert (better.mean(0) > 4 * better.std(0) / np.sqrt(PAIRS)).all()
    assert true.mean(0)[mine] > true.mean(0).max() - 0.01
    np.testing.assert_allclose(estimated, true.mean(0), atol=0.03)
    assert pool.gain == pytest.approx(estimated[mine]) and 0 < pool.error < pool.gain


def test_a_pair_without_any_possible_theta_gains_nothing():
    c_true, c_draws = np.array([-np.inf, 0.0]), np.full((2, 9), -np.inf)
    found = gains(c_true, c_draws)
    np.testing.assert_allclose(found[0], 0, atol=1e-9)
    assert found[1, -1] == pytest.approx(np.log(10))


def test_tables_and_missed_targets():
    found = {study: work((study, range(2)))[1] for study in studies(2) if study.d == 1}
    everything = {study: found.get(study) or next(iter(found.values())) for study in studies(2)}
    lines = list(tables(everything))
    assert any(one.startswith("| sd × 0.5 of one column |  |") for one in lines)
    assert all("±" in one for one in unmet(everything))


def test_errors_say_how_large_they_are():
    assert str(USUAL) == "0.1 sd, 10 %"
