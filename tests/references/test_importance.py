"""Importance sampling: weights against closed forms and arviz, draws without duplicates, and a
proposal that is too narrow."""

import dataclasses
import warnings

import numpy as np
import pytest
from scipy.special import logsumexp

from sbiwb.errors import DataError
from sbiwb.pareto import distortion, importance_weights, inclusion, pareto_smooth, resample
from sbiwb.references import family
from sbiwb.references._proposals import NormalProposal, independent, normal_of
from tests.c2st import c2st
from tests.references import targets
from tests.tiny import Recorder


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def run(target, draws=500, *, seed=0, reporter=None, **options):
    config = family.parse({"kind": "importance", "proposals": 20_000, **options})
    return config.run(target, draws, np.random.default_rng(seed), reporter or Recorder())


def scaled(target, factor):
    """A target whose amortized posterior is exact but for the standard deviations, `factor` times
    what they should be."""
    return dataclasses.replace(
        target,
        amortized=targets.Gaussian(target.amortized.mean, factor**2 * target.amortized.covariance),
    )


@pytest.mark.parametrize("heavy", [0.3, 0.8, 1.5])
@pytest.mark.parametrize("s", [100, 5_000])
def test_smoothing_is_that_of_arviz(heavy, s, rng):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

    log_weights = rng.standard_exponential(s) * heavy + rng.normal(size=s) * 0.1
    smoothed, k = pareto_smooth(log_weights)
    theirs, their_k = arviz.psislw(log_weights.copy())
    assert k == pytest.approx(float(their_k), rel=1e-9)
    assert smoothed == pytest.approx(theirs, abs=1e-9)
    assert logsumexp(smoothed) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_the_shape_of_a_pareto_tail_is_found(k, rng):
    weights = (rng.random(100_000) ** -k - 1) / k
    assert pareto_smooth(np.log(weights))[1] == pytest.approx(
        k, abs=0.12
    )  # of about 950 weights in the tail


def test_equal_weights_have_no_tail_and_few_possible_draws_cannot_tell():
    smoothed, k = pareto_smooth(np.full(1000, -4.0))
    assert k == 0 and smoothed == pytest.approx(-np.log(1000))
    few = np.full(1000, -np.inf)
    few[:3] = [0.0, 1.0, 2.0]
    assert pareto_smooth(few)[1] == np.inf


def test_effective_draws_and_evidence_by_their_definitions(rng):
    w = rng.gamma(2.0, size=2_000)
    weights = importance_weights(np.log(w) + 5, np.full(2_000, 5.0))
    assert weights.ess == pytest.approx(
        w.sum() ** 2 / (w**2).sum()
    ) and weights.efficiency == pytest.approx(weights.ess / 2_000)
    assert weights.log_integral == pytest.approx(np.log(w.mean()))
    assert weights.log_integral_error == pytest.approx(w.std() / w.mean() / np.sqrt(2_000))


def test_the_error_of_the_evidence_is_the_spread_of_repetitions():
    target = scaled(targets.normal([0.0, 1.0], targets.correlated(2), -2.0), 1.3)
    found = [run(target, proposals=1_000, seed=seed).facts for seed in range(60)]
    assert np.std([facts["log_evidence"] for facts in found]) == pytest.approx(
        found[0]["log_evidence_error"], rel=0.35
    )


def test_weights_that_are_no_numbers_are_refused():
    with pytest.raises(
        DataError, match="1 of 3 importance weights are not finite numbers"
    ) as error:
        importance_weights(np.array([0.0, np.nan, 0.0]), np.zeros(3))
    assert error.value.where and error.value.todo
    with pytest.raises(DataError, match="none of 3 draws of the proposal is possible"):
        importance_weights(np.full(3, -np.inf), np.zeros(3))


@pytest.mark.parametrize("draws", [1, 50, 400])
def test_chances_are_in_proportion_cut_at_one_and_sum_to_the_draws(draws, rng):
    log_weights = 2 * rng.normal(size=1_000)
    share = inclusion(log_weights, draws)
    assert share.sum() == pytest.approx(draws) and share.max() <= 1
    ratio = share / np.exp(log_weights)
    assert (
        ratio[share < 1] == pytest.approx(ratio[share < 1][0])
        and (ratio[share == 1] <= ratio[share < 1][0] * (1 + 1e-9)).all()
    )


def test_no_draw_comes_twice_and_rows_come_as_often_as_their_chance(rng):
    log_weights = rng.normal(size=40)
    log_weights[7] = -np.inf
    rows = np.arange(40)[:, None]
    counts = np.zeros(40)
    for _ in range(4_000):
        chosen = resample(rows, log_weights, 12, rng)[:, 0]
        assert len(np.unique(chosen)) == 12
        counts[chosen] += 1
    assert counts[7] == 0
    assert counts / 4_000 == pytest.approx(inclusion(log_weights, 12), abs=0.035)


def test_as_many_draws_as_rows_are_all_rows(rng):
    theta, log_weights = rng.normal(size=(50, 2)), rng.normal(size=50)
    assert np.array_equal(
        np.sort(resample(theta, log_weights, 50, rng), axis=0), np.sort(theta, axis=0)
    )
    assert distortion(log_weights - logsumexp(log_weights), 50) == pytest.approx(
        0.5 * np.abs(np.exp(log_weights - logsumexp(log_weights)) - 1 / 50).sum()
    )


def test_more_draws_than_possible_rows_are_refused(rng):
    with pytest.raises(
        DataError, match="4 draws without replacement need as many possible ones, not 3 of 5"
    ):
        resample(np.zeros((5, 1)), np.array([0.0, 0.0, 0.0, -np.inf, -np.inf]), 4, rng)


def test_evidence_of_a_normal_in_ten_dimensions_by_a_proposal_slightly_too_wide():
    target = scaled(targets.normal(np.arange(10.0), targets.correlated(10), -12.34), 1.15)
    reference = run(target, proposals=50_000)
    assert reference.facts["log_evidence"] == pytest.approx(-12.34, abs=0.05)
    assert reference.facts["pareto_k"] < 0.7 and reference.warnings == ()
    expected = (1.15**2 / np.sqrt(2 * 1.15**2 - 1)) ** -10  # 1 / E_q[w²] of normals, w normalised
    assert reference.facts["efficiency"] == pytest.approx(expected, rel=0.05)


def test_a_narrow_proposal_is_not_trusted():
    reference = run(scaled(targets.normal(np.zeros(4), targets.correlated(4)), 0.5), draws=2_000)
    assert reference.facts["pareto_k"] > 0.7
    assert (
        reference.warnings[0].startswith("Pareto k is ")
        and "no number derived" in reference.warnings[0]
    )
    assert "drawing 2,000 without replacement moves" in reference.warnings[1]


def test_an_exact_proposal_is_worth_all_its_draws():
    reference = run(targets.normal([1.0, 2.0], targets.correlated(2), 3.0))
    assert reference.facts["efficiency"] == pytest.approx(1) and reference.facts[
        "log_evidence"
    ] == pytest.approx(3.0)
    assert (
        reference.facts["distortion"] == pytest.approx(0, abs=1e-9)
        and reference.warnings == ()
        and reference.chains == 0
    )


@pytest.mark.parametrize("proposal", ["amortized", "prior", "map", "normal"])
def test_draws_are_those_of_the_posterior_with_every_proposal(proposal):
    mean, covariance = np.array([1.5, 0.0]), 0.6 * targets.correlated(2)
    target = scaled(targets.normal(mean, covariance), 1.4)
    reference = run(target, 2_000, proposal=proposal, proposals=100_000)
    assert len(np.unique(reference.theta, axis=0)) == 2_000 and reference.warnings == ()
    assert reference.theta.mean(0) == pytest.approx(mean, abs=0.1)
    assert np.cov(reference.theta.T) == pytest.approx(covariance, abs=0.15)


@pytest.mark.slow
def test_draws_cannot_be_told_from_exact_ones(rng):
    target = scaled(targets.normal(np.arange(10.0), targets.correlated(10)), 1.2)
    reference = run(target, 3_000, proposals=200_000)
    assert c2st(target.exact(3_000, rng), reference.theta) <= 0.53


def test_width_counts_and_another_density_has_no_evidence():
    narrow, wide = (
        run(targets.banana(), proposal="map", width=width, proposals=5_000).facts
        for width in (0.3, 1.5)
    )
    assert narrow["efficiency"] < wide["efficiency"]
    assert "log_integral" in wide and "log_evidence" not in wide


def test_normal_proposals_are_those_of_the_starts(rng):
    target = targets.normal([2.0, 0.0, 1.0], targets.correlated(3))
    found = normal_of(target, "amortized", rng)
    assert found.mean == pytest.approx(target.amortized.mean, abs=0.08)
    assert found.scale @ found.scale.T == pytest.approx(target.amortized.covariance, abs=0.08)
    z = found.sample(7, rng)
    assert found.log_prob(z) == pytest.approx(
        targets.Gaussian(found.mean, found.scale @ found.scale.T).log_prob(z)
    )
    assert found.place(found.noise(z)) == pytest.approx(z)
    assert np.diag(independent(found).scale) ** 2 == pytest.approx(
        np.diag(found.scale @ found.scale.T)
    )
    assert (
        isinstance(independent(found), NormalProposal)
        and np.count_nonzero(independent(found).scale) == 3
    )


def test_the_amortized_posterior_is_needed_only_where_it_proposes():
    target = dataclasses.replace(targets.normal([0.0], np.eye(1)), amortized=None)
    with pytest.raises(DataError, match="no amortized posterior to propose from") as error:
        run(target)
    assert "sbiwb train" in error.value.todo
    assert run(target, proposal="prior").theta.shape == (500, 1)


def test_impossible_draws_weigh_nothing_and_progress_is_told():
    recorder = Recorder()
    target = dataclasses.replace(
        targets.plain(lambda z: (-0.5 * z[:, 0] ** 2).masked_fill(z[:, 0] < 0, -np.inf), ("a",)),
        amortized=targets.Gaussian(np.zeros(1), np.eye(1)),
    )
    reference = run(target, reporter=recorder)
    assert (reference.theta >= 0).all() and reference.facts["efficiency"] == pytest.approx(
        0.5, abs=0.02
    )
    assert reference.facts["log_integral"] == pytest.approx(0.5 * np.log(np.pi / 2), abs=0.02)
    assert recorder.advanced == {"importance": 20_000}


def test_the_same_generator_gives_the_same_draws():
    target = targets.normal([0.0, 1.0], targets.correlated(2))
    first, again, other = (run(target, seed=seed).theta for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
