"""Strata part the test pairs by what an exact posterior may be judged by, each pair once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sbiwb.diagnostics import coverage, sbc
from sbiwb.errors import ConfigError
from sbiwb.steps.judge.strata import strata
from tests.diagnostics.conjugate import normal


def draws(n: int = 400, **more):
    return replace(normal(n, 99, 2, seed=1), **more)


def test_each_pair_is_in_one_stratum_of_about_equal_size():
    trials = np.random.default_rng(0).integers(40, 200, 400).astype(float)
    found, _ = strata(draws(context={"trials": trials}), "auto", 4)
    assert len(found) == 4
    np.testing.assert_array_equal(
        np.sort(np.concatenate([one.rows for one in found])), np.arange(400)
    )
    assert all(80 <= len(one.rows) <= 120 for one in found)
    tops = [trials[one.rows].max() for one in found]
    bottoms = [trials[one.rows].min() for one in found]
    assert all(top < bottom for top, bottom in zip(tops, bottoms[1:], strict=False))
    assert found[0].label == f"trials {bottoms[0]:g} to {tops[0]:g}"


def test_few_values_are_a_stratum_each():
    found, small = strata(
        draws(context={"design": np.repeat([2019.0, 2020.0, 2021.0], [100, 260, 40])}), "auto", 4
    )
    assert [one.label for one in found] == ["design 2019", "design 2020"]
    assert small == ["design 2021: 40 test pairs are too few for a verdict of their own"]


def test_few_pairs_have_fewer_strata():
    found, small = strata(draws(180, context={"n": np.arange(180.0)}), "auto", 4)
    assert [len(one.rows) for one in found] == [60, 60, 60] and not small


def test_a_size_that_is_the_context_too_is_judged_once():
    trials = np.random.default_rng(0).integers(40, 200, 400)
    found, _ = strata(
        draws(
            context={"n": trials.astype(float)}, sizes={"rt": trials, "other": trials[::-1].copy()}
        ),
        "auto",
        3,
    )
    assert [one.by for one in found] == ["n"] * 3 + ["other"] * 3


def test_what_does_not_vary_parts_nothing():
    assert strata(draws(context={"n": np.ones(400)}), "auto", 4) == ([], [])


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(ConfigError, match="'n_trial' parts no test pairs") as caught:
        strata(draws(context={"n_trials": np.arange(400.0)}), ["n_trial"], 4)
    assert "n_trials, theta_0, theta_1" in caught.value.todo


def rejected(seed: int, by_truth: bool) -> bool:
    """Whether a stratum of an exact posterior is rejected."""
    exact = normal(800, 99, 1, seed)
    parts = [one.rows for one in strata(exact, ["theta_0"], 4)[0]]
    if by_truth:
        parts = np.array_split(np.argsort(exact.theta[:, 0]), 4)
    tests = [
        check.compute(exact.at(rows), check.Config()).values
        for rows in parts
        for check in (sbc, coverage)
    ]
    ps = [value.p for values in tests for value in values if value.p is not None]
    return min(ps) * len(ps) <= 0.05


def test_a_posterior_equal_to_the_prior_is_calibrated_in_strata_of_its_median_too():
    """By the median of the draws alone the ranks in the outer quarters are not uniform: it rejects
    every time here."""
    rng = np.random.default_rng(3)
    equal = replace(
        draws(6000),
        theta=rng.standard_normal((6000, 1)),
        draws=rng.standard_normal((6000, 99, 1)),
        names=("theta_0",),
    )
    parts, _ = strata(equal, ["theta_0"], 4)
    assert (
        min(
            value.p
            for one in parts
            for value in sbc.compute(equal.at(one.rows), sbc.Config()).values
        )
        > 0.01
    )


def test_strata_of_a_parameter_keep_an_exact_posterior_calibrated_and_strata_of_the_truth_do_not():
    """200 tests at 5 %: 5 rejections in 40 repetitions are seen with probability below 1 in 50."""
    assert sum(rejected(seed, by_truth=False) for seed in range(40)) <= 5
    assert sum(rejected(seed, by_truth=True) for seed in range(10)) == 10
