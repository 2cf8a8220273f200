"""SBC of more than the columns: the columns times the data, log q, and the simulator file's own
quantities."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sbiwb.diagnostics import coverage, sbc
from sbiwb.evidence import Draws, Quantity
from tests.diagnostics.conjugate import full, normal


def by_parameter(draws: Draws) -> dict:
    return {value.parameter: value for value in sbc.compute(draws, sbc.Config()).values}


def test_names_and_order():
    result = sbc.compute(full(60, 99, 2, seed=1), sbc.Config())
    assert result.names == ("theta_0", "theta_1", "log q", "total", "theta_0·x", "theta_1·x")
    assert [result.names[q] for q in result.data_dependent] == ["theta_0·x", "theta_1·x"]
    assert tuple(value.parameter for value in result.values) == result.names
    titles = [
        [axes.get_title(loc="left") for axes in plot(result).axes[::2]]
        for plot in (sbc.plot, sbc.plot_data_dependent)
    ]
    assert titles == [list(result.names[:4]), list(result.names[4:])]


def test_rank_is_that_of_the_product():
    draws = full(40, 19, 2, seed=2)
    result = sbc.compute(draws, sbc.Config())
    h = draws.ridge_prediction
    brute = (draws.draws * h[:, None] < (draws.theta * h)[:, None]).sum(axis=1)
    np.testing.assert_array_equal(result.ranks[:, result.data_dependent], brute)


def test_data_that_say_nothing_tie():
    draws = dataclasses.replace(
        full(1000, 99, 1, seed=3, shift=1.0), ridge_prediction=np.zeros((1000, 1))
    )
    values = by_parameter(draws)
    assert (
        values["theta_0"].p < 1e-6 and values["theta_0·x"].p > 0.01
    )  # 0 = 0 says nothing of a bias


def test_prior_as_posterior_passes_for_the_columns_and_fails_with_the_data():
    values = by_parameter(full(1000, 99, 2, seed=4, prior=True))
    assert min(values[name].p for name in ("theta_0", "theta_1", "log q", "total")) > 0.01
    for name in ("theta_0·x", "theta_1·x"):
        assert values[name].p < 1e-50 and values[name].reason.startswith(
            "follows the data too little"
        )


def test_posterior_that_overreacts_says_so():
    draws = full(1000, 99, 1, seed=5)
    value = by_parameter(
        dataclasses.replace(draws, draws=draws.draws + 0.4 * draws.ridge_prediction[:, None])
    )["theta_0·x"]
    assert value.p < 1e-6 and value.reason.startswith("follows the data too much")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sd": 0.7}, "overconfident"),
        ({"sd": 1.4}, "underconfident"),
        ({"shift": 0.6}, "biased high"),
    ],
)
def test_faults_of_the_column_keep_their_words(wrong, words):
    values = by_parameter(full(1000, 99, 1, seed=6, **wrong))
    assert values["theta_0"].reason.startswith(words)
    assert values["theta_0·x"].reason.startswith(words)


def test_own_quantity_is_judged_and_explained():
    draws = full(1000, 99, 2, seed=7)
    off = Quantity(draws.theta.sum(axis=1), draws.draws.sum(axis=2) - 1.0)
    value = by_parameter(dataclasses.replace(draws, quantities={"total": off}))["total"]
    assert value.p < 1e-6 and value.reason.startswith("biased low")


def test_own_quantity_that_is_not_a_number_has_a_reason():
    draws = full(60, 99, 2, seed=7)
    broken = Quantity(np.where(np.arange(60) == 3, np.nan, 0.0), draws.draws.sum(axis=2))
    value = by_parameter(dataclasses.replace(draws, quantities={"total": broken}))["total"]
    assert value.value is None and value.reason == "total is not a number in 1 of 60 test pairs"


@pytest.mark.parametrize("sd", [0.8, 1.0])
def test_hpd_coverage_of_a_normal_posterior(sd):
    draws = full(1000, 99, 1, seed=8, sd=sd)
    result = coverage.compute(draws, coverage.Config())
    central = np.interp(result.highest.levels, result.central.levels, result.central.coverage[0])
    np.testing.assert_allclose(
        result.highest.coverage[0], central, atol=0.03
    )  # in one dimension both are the same intervals
    values = {value.name: value for value in result.values if value.parameter == "all parameters"}
    assert list(values) == [
        "hpd_coverage_50",
        "hpd_coverage_80",
        "hpd_coverage_90",
        "hpd_coverage_95",
    ]
    assert all(value.p is None for value in values.values())
    assert values["hpd_coverage_90"].reason.startswith(
        "your 90 % regions of highest density hold the truth"
    )


def test_hpd_coverage_by_brute_force():
    draws = full(60, 19, 2, seed=9)
    result = coverage.compute(draws, coverage.Config())
    higher = (draws.log_prob_draws > draws.log_prob_theta[:, None]).sum(axis=1)
    np.testing.assert_allclose(
        result.highest.coverage[0], [(higher <= k).mean() for k in range(19)]
    )


def test_pictures_say_what_is_missing():
    result = sbc.compute(normal(60, 99, 2, seed=1), sbc.Config())
    hpd = coverage.plot_hpd(coverage.compute(normal(60, 99, 2, seed=1), coverage.Config()))
    for figure, words in ((sbc.plot_data_dependent(result), "no prediction"), (hpd, "not known")):
        assert words in figure.axes[0].texts[0].get_text().replace("\n", " ")
