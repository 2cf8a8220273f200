"""Truths on one normal problem, theta ~ N(0, I) seen with correlated noise; `tests/calibration/trust`
has the rates.
"""

import numpy as np
import pytest
from scipy.stats import kstest

from sbiwb.steps.trust.conformal import Calibrated, Shown, limit
from sbiwb.steps.trust.disagreement import divergences
from sbiwb.steps.trust.posterior_sbc import judged, positions
from sbiwb.steps.trust.verdict import (
    Asked,
    TrustPart,
    discoveries,
    first_to_look_at,
    trust,
    trust_attributes,
)
from tests.calibration.trust import COVERED, EXACT, FAULTS, Wrong, accusing, coverage

NARROW, WIDE, SHIFTED = FAULTS[:3]


def posteriors(n, rng, scale=1.0):
    """Draws (n, 400, 1) of N(0, 1), shown with another sd; the truth (n, 1); log q of both."""
    z = rng.standard_normal((n, 400, 1))
    theta = rng.standard_normal((n, 1))
    log_q = -0.5 * z[:, :100, 0] ** 2 - np.log(scale)
    at_theta = -0.5 * (theta[:, 0] / scale) ** 2 - np.log(scale)
    shown = Shown.of(scale * z, log_q)
    return shown, theta, at_theta, shown.scores(theta, at_theta)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_conformal_intervals_hold_in_finite_samples(scale):
    """Nine calibration pairs are as few as say anything: 9 of 10, whatever the network is worth."""
    rng, held, regions = np.random.default_rng(0), [], []
    for _ in range(400):
        by, _, _, scores_by = posteriors(20, rng, scale)
        calibration, _, _, scores = posteriors(9, rng, scale)
        calibrated = Calibrated.of((by, scores_by), (calibration, scores))
        fresh, theta, at_theta, _ = posteriors(20, rng, scale)
        low, high = np.moveaxis(calibrated.intervals(fresh), -1, 0)
        held.append(((low <= theta) & (theta <= high)).mean())
        regions.append((at_theta >= calibrated.densities(fresh)).mean())
    error = 5 * np.std(held) / np.sqrt(len(held))
    assert np.mean(held) == pytest.approx(0.9, abs=error)
    assert np.mean(regions) == pytest.approx(0.9, abs=error)


def test_too_few_pairs_promise_the_whole_line():
    assert limit(np.zeros(8)) == np.inf
    assert limit(np.arange(9.0)) == 8.0


def test_conformal_intervals_of_an_exact_posterior_are_its_own():
    rng = np.random.default_rng(1)
    by, _, _, scores_by = posteriors(500, rng)
    shown, _, _, scores = posteriors(5_000, rng)
    calibrated = Calibrated.of((by, scores_by), (shown, scores))
    own = shown.quantiles[:, [0, 2]].swapaxes(1, 2)
    assert calibrated.intervals(shown) == pytest.approx(own, abs=0.25)


def test_groups_find_the_region_where_a_network_is_wrong():
    """Narrow in one region alone: raw intervals miss there, those by groups do not."""
    regional = next(wrong for wrong in COVERED if wrong.regional)
    held = [coverage(regional, k) for k in range(4)]
    raw, conformal = np.mean([both for both, _ in held], axis=0)[:, 1:]
    assert raw.min() < 0.65
    assert conformal.min() > 0.82
    assert np.mean([region[1:].min() for _, region in held]) > 0.8


def test_networks_that_are_the_same_do_not_part():
    log_q = np.broadcast_to(np.random.default_rng(2).standard_normal((1, 1, 7, 50)), (3, 3, 7, 50))
    assert divergences(log_q, np.full(3, 1 / 3)) == pytest.approx(np.zeros(7), abs=1e-12)


def test_networks_that_have_nothing_in_common_part_by_the_entropy_of_their_shares():
    shares = np.array([0.5, 0.25, 0.25])
    log_q = np.full((3, 3, 2, 10), -1e3)
    log_q[np.arange(3), np.arange(3)] = 0.0
    entropy = -(shares * np.log(shares)).sum()
    assert divergences(log_q, shares) == pytest.approx([entropy, entropy])


@pytest.mark.parametrize("draws", [1, 5, 100])
def test_positions_are_uniform_for_any_number_of_draws(draws):
    """x' | theta ~ N(theta, 1) under a prior that is no posterior of anything, N(2, 0.5²)."""
    rng, n = np.random.default_rng(3), 4_000
    theta = 2 + 0.5 * rng.standard_normal((n, draws + 1, 1))
    x = theta[:, 0, 0] + rng.standard_normal(n)
    log_weights = -0.5 * (x[:, None] - theta[..., 0]) ** 2
    for u in positions(theta, log_weights, rng).T:
        assert kstest(u, "uniform").pvalue > 1e-3


def test_positions_of_a_network_that_excludes_everything_are_at_one_end():
    theta = np.random.default_rng(4).standard_normal((100, 20, 1))
    u = positions(theta, np.full((100, 20), -np.inf), np.random.default_rng(5))
    assert judged(u, ("mu",)).p < 1e-6


def test_posterior_sbc_names_the_column():
    rng = np.random.default_rng(6)
    u = rng.random((300, 3))
    u[:, 1] **= 2
    result = judged(u, ("a", "b"))
    assert (result.column, result.replicates) == ("b", 300)
    assert result.p < 1e-4
    assert result.effect == pytest.approx(0.25, abs=0.08)


def test_the_verdict_accuses_gross_faults_and_spares_exact_posteriors():
    accused = {
        wrong: [set(accusing(wrong, k)) for k in range(6)]
        for wrong in (EXACT, NARROW, WIDE, SHIFTED)
    }
    for wrong in (NARROW, WIDE, SHIFTED):
        assert all("whole" in parts for parts in accused[wrong])
    assert sum("whole" in parts for parts in accused[EXACT]) <= 2  # p = .002 at 5 %


def part(name, p, effect=None, tolerance=0.1):
    return TrustPart(name, p, f"{name} is off", f"mend {name}", effect, tolerance)


def test_a_verdict_says_what_is_wrong_and_what_to_do():
    small, large = part("small", 0.001, effect=0.05), part("large", 0.01, effect=0.5)
    [failing] = trust([Asked("x", (small, large, part("fine", 0.6)))])
    assert failing.verdict == "fail"
    assert failing.remedy == "mend large"
    assert failing.reason == "large is off (p = 0.01); small is off (p = 0.001)"
    [warning] = trust([Asked("x", (small, part("fine", 0.6)), (("a caution", "look"),))])
    assert (warning.verdict, warning.remedy) == ("warn", "mend small")
    [cautious] = trust(
        [Asked("x", (part("fine", 0.03), part("fine too", 0.6)), (("odd", "look"),))]
    )
    assert (cautious.verdict, cautious.reason, cautious.remedy) == ("warn", "odd", "look")
    [passing] = trust([Asked("x", (part("fine", 0.03), part("fine too", 0.6)))])
    assert passing.verdict == "pass"
    assert passing.p == pytest.approx(0.06)


def test_of_many_data_sets_five_per_cent_of_the_accused_are_exact():
    rng, false, rates = np.random.default_rng(7), 0, []
    for _ in range(400):
        p = rng.random(60)
        p[:20] = 1e-3 * rng.random(20)
        accused = discoveries(p)
        assert accused[:20].all()
        false = accused[20:].sum()
        rates.append(false / max(1, accused.sum()))
    assert np.mean(rates) == pytest.approx(0.05 * 40 / 60, abs=0.01)


def test_the_worst_come_first():
    asked = [
        Asked("a", (part("p", 0.5),)),
        Asked("b", (part("p", 1e-4),)),
        Asked("c", (part("p", 1e-6),)),
        Asked("d", (part("p", 1e-7, effect=0.0),)),
    ]
    results = trust(asked)
    assert [one.data_set for one in first_to_look_at(results)] == ["c", "b", "d"]
    assert trust_attributes(results) == {
        "trust": "fail",
        "trust_reason": "3 of 4 data sets; c: p is off (p = 1e-06)",
    }
    assert trust_attributes(results[:1])["trust"] == "pass"


def test_a_wrong_part_is_none_of_the_others():
    """A network whose members part is found by that alone."""
    apart = next(wrong for wrong in FAULTS if wrong.members > 1)
    assert isinstance(apart, Wrong)
    found = [set(accusing(apart, k)) for k in range(4)]
    assert all("networks" in parts for parts in found)
