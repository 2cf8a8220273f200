"""TARP: what it sees, what it is blind to, and what it makes of leaks and ties."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sbiwb.diagnostics import tarp
from sbiwb.evidence import Draws
from tests.diagnostics.conjugate import full, normal


def computed(draws: Draws) -> tarp.Result:
    return tarp.compute(draws, tarp.Config())


@pytest.mark.parametrize("d", [1, 4])
def test_p_values_of_exact_posteriors_are_uniform(d):
    p = np.array(
        [
            [value.p for value in computed(full(60, 99, d, seed)).values]
            for seed in range(7000, 7300)
        ]
    )
    for level in (0.05, 0.2, 0.5):
        np.testing.assert_allclose(
            (p <= level).mean(axis=0), level, atol=3.5 * np.sqrt(level * (1 - level) / len(p))
        )


def test_ranks_agree_with_brute_force():
    draws = full(30, 19, 3, seed=2)
    result = computed(draws)
    truth = draws.theta / 1.25**0.5
    references = tarp.references_of(draws, tarp.prior_z(draws))
    for q, one in enumerate(references):
        for n in range(draws.n):
            own = np.linalg.norm((truth[n] - one.points[n]) / one.scale)
            far = np.linalg.norm((draws.draws[n] / 1.25**0.5 - one.points[n]) / one.scale, axis=1)
            assert result.ranks[n, q] == (far < own).sum()
    np.testing.assert_allclose(
        result.ecdf[0], [(result.ranks[:, 0] <= k).mean() for k in range(19)]
    )


def test_prior_as_posterior_passes_references_from_the_prior_alone():
    values = computed(full(1000, 99, 3, seed=5, prior=True)).values
    assert values[0].p > 0.01
    assert values[1].p < 1e-10 and values[1].reason.startswith("underconfident")


def test_wrong_correlation_is_seen():
    rng, draws = np.random.default_rng(6), full(1000, 99, 2, seed=6)
    centre, common = draws.ridge_prediction * 1.25**0.5, rng.standard_normal((1000, 1))
    theta = centre + 0.5 * (
        0.95**0.5 * common + 0.05**0.5 * rng.standard_normal((1000, 2))
    )  # correlation 0.95; the draws show none
    assert min(value.p for value in computed(dataclasses.replace(draws, theta=theta)).values) < 1e-3


@pytest.mark.parametrize(
    ("column", "shift", "words"),
    [(0, 2.0, "biased high in theta_0"), (1, -2.0, "biased low in theta_1")],
)
def test_the_biased_column_is_named(column, shift, words):
    draws = full(1000, 99, 2, seed=7)
    cloud = draws.draws.copy()
    cloud[:, :, column] += 0.5 * shift
    assert {value.reason for value in computed(dataclasses.replace(draws, draws=cloud)).values} == {
        words
    }


def test_leaked_draws_are_infinitely_far():
    draws = full(1000, 99, 2, seed=8)
    cloud = draws.draws.copy()
    cloud[:, ::3, 0] = 50.0

    def inside(theta: np.ndarray) -> np.ndarray:
        return np.where(theta > 20, np.nan, theta)

    leaking = dataclasses.replace(draws, draws=cloud, unconstrain=inside)
    result, far = computed(leaking), computed(dataclasses.replace(leaking, unconstrain=None))
    np.testing.assert_array_equal(result.ranks, far.ranks)  # 50 is as good as infinity
    assert np.all(result.ranks <= 66) and result.values[0].p < 1e-6


def test_truth_outside_the_support_cannot_be_judged():
    draws = dataclasses.replace(
        full(60, 99, 2, seed=8), unconstrain=lambda theta: np.where(theta > 1.5, np.nan, theta)
    )
    count = (draws.theta > 1.5).any(axis=1).sum()
    value = computed(draws).values[0]
    assert (
        value.value is None
        and f"outside the prior's support, in {count} of 60 test pairs" in value.reason
    )


def test_ties_are_broken_evenly():
    draws = full(4000, 9, 1, seed=9)
    rng = np.random.default_rng(3)
    coins = dataclasses.replace(
        draws,
        theta=rng.integers(0, 2, (4000, 1)) * 1.0,
        draws=rng.integers(0, 2, (4000, 9, 1)) * 1.0,
    )
    assert min(value.p for value in computed(coins).values) > 0.01


def test_without_a_guess_references_come_from_the_prior_alone():
    (value,) = computed(dataclasses.replace(full(60, 99, 2, seed=1), ridge_prediction=None)).values
    assert value.name == "tarp_prior" and value.p is not None


def test_references_depend_on_no_truth():
    draws = full(60, 99, 3, seed=1)
    moved = dataclasses.replace(draws, theta=3 * draws.theta + 1)
    for one, other in zip(
        *(tarp.references_of(some, tarp.prior_z(some)) for some in (draws, moved)), strict=True
    ):
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.scale, other.scale)


@pytest.mark.slow
def test_the_level_holds_for_few_pairs_of_many_parameters():
    """As in small strata: a reference scaled by the truths' own residuals rejects 7.5 % here."""
    p = np.array(
        [
            [value.p for value in computed(full(50, 99, 20, seed)).values]
            for seed in range(9000, 10500)
        ]
    )
    assert (p <= 0.05).mean(axis=0).max() <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / len(p))


def test_without_references_there_is_a_reason():
    (value,) = computed(normal(60, 99, 2, seed=1)).values
    assert (value.name, value.parameter, value.value) == ("tarp_prior", "all parameters", None)
    assert "no draws from the prior" in value.reason


def test_prior_draws_outside_the_support_are_left_out():
    draws = full(60, 99, 2, seed=3)
    outside = dataclasses.replace(
        draws, prior_draws=np.vstack([draws.prior_draws, np.full((50, 2), np.nan)])
    )
    assert computed(outside).values[0].p is not None
    (value, _) = computed(dataclasses.replace(draws, prior_draws=np.full((50, 2), np.nan))).values
    assert value.value is None and "none of the draws from the prior" in value.reason


def test_few_prior_draws_are_used_again():
    draws = full(1000, 99, 2, seed=3)
    assert (
        computed(dataclasses.replace(draws, prior_draws=draws.prior_draws[:7])).values[0].p > 0.001
    )


def test_affine_maps_change_nothing():
    draws, factor, offset = (
        full(60, 99, 3, seed=4),
        np.array([1e-6, 3.0, 1e5]),
        np.array([0.0, 1e3, -7.0]),
    )
    bare = dataclasses.replace(
        draws, unconstrain=None, ridge_prediction=draws.ridge_prediction * 1.25**0.5
    )
    moved = dataclasses.replace(
        bare,
        theta=bare.theta * factor + offset,
        draws=bare.draws * factor + offset,
        prior_draws=bare.prior_draws * factor + offset,
        ridge_prediction=bare.ridge_prediction * factor,
    )
    for other in (bare, moved):
        np.testing.assert_array_equal(computed(draws).ranks, computed(other).ranks)
