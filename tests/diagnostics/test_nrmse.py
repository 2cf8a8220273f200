"""NRMSE: closed forms of a normal problem, and no units."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sbiwb.diagnostics import nrmse
from sbiwb.evidence import Draws
from tests.diagnostics.conjugate import by_name, full, normal


def numbers(draws: Draws, name: str) -> list[float]:
    return [value.value for value in by_name(nrmse.compute(draws, nrmse.Config()).values, name)]


def test_by_hand():
    draws = Draws(
        ("a",),
        np.array([[0.0], [2.0]]),
        np.array([[[1.0], [3.0]], [[2.0], [4.0]]]),
        np.array([4.0]),
        prior_draws=np.array([[0.0], [2.0]]),
    )
    # errors sqrt((1 + 9)/2), sqrt((0 + 4)/2); of the prior sqrt(2) both; means 2 and 1 off, prior
    # sd 2
    assert numbers(draws, "nrmse_draws") == pytest.approx([np.median(np.sqrt([5, 2])) / np.sqrt(2)])
    assert numbers(draws, "nrmse_mean") == pytest.approx([np.sqrt((4 + 1) / 2) / 2])


def test_prior_as_posterior_has_learned_nothing():
    result = nrmse.compute(full(1000, 499, 2, seed=1, prior=True), nrmse.Config())
    for value in by_name(result.values, "nrmse_draws"):
        assert value.value == pytest.approx(1, abs=0.05) and value.warning == "learned little"
    assert numbers(full(1000, 499, 2, seed=1, prior=True), "nrmse_mean") == pytest.approx(
        [1, 1], abs=0.06
    )


def test_exact_posterior_of_a_normal_problem():
    draws = full(4000, 199, 1, seed=2)  # posterior sd 0.5, prior sd sqrt(1.25)
    assert numbers(draws, "nrmse_mean") == pytest.approx([0.5 / 1.25**0.5], rel=0.04)
    assert by_name(nrmse.compute(draws, nrmse.Config()).values, "nrmse_draws")[0].warning is None
    errors = np.median(np.sqrt(0.25 + 0.25 * np.random.default_rng(0).chisquare(1, 100_000)))
    prior = np.median(np.sqrt(1.25 + 1.25 * np.random.default_rng(1).chisquare(1, 100_000)))
    assert numbers(draws, "nrmse_draws") == pytest.approx([errors / prior], rel=0.04)


def test_test_set_stands_in_for_the_prior():
    draws = full(2000, 99, 2, seed=3)
    bare = dataclasses.replace(draws, prior_draws=None, prior_var=np.full(2, np.nan))
    for name in ("nrmse_draws", "nrmse_mean"):
        assert numbers(bare, name) == pytest.approx(numbers(draws, name), rel=0.05)
    reasons = [value.reason for value in nrmse.compute(bare, nrmse.Config()).values]
    assert all("test set" in reason for reason in reasons)


def test_no_units():
    draws, factor = full(50, 49, 3, seed=4), np.array([1e-200, 1.0, 1e150])
    moved = dataclasses.replace(
        draws,
        theta=draws.theta * factor,
        draws=draws.draws * factor,
        prior_draws=draws.prior_draws * factor,
        prior_var=draws.prior_var * factor * factor,
    )
    for name in ("nrmse_draws", "nrmse_mean"):
        got, wanted = numbers(moved, name), numbers(draws, name)
        assert got[1:] == pytest.approx(wanted[1:])
    assert numbers(moved, "nrmse_draws") == pytest.approx(numbers(draws, "nrmse_draws"))


def test_prior_without_spread_is_no_yardstick():
    draws = dataclasses.replace(normal(50, 49, 1, seed=5), prior_var=np.zeros(1))
    (value,) = by_name(nrmse.compute(draws, nrmse.Config()).values, "nrmse_mean")
    assert value.value is None and "no spread" in value.reason
