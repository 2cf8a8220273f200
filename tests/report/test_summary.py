"""The summary table: ArviZ's columns to the last digits, and contraction in closed form."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from sbiwb.report import Moments, moments, summarise
from sbiwb.report.summary import hdi

RNG = np.random.default_rng(1)
DRAWS = {
    "normal": RNG.normal(3, 2, 999),
    "skewed": RNG.exponential(size=1000),
    "two modes": np.concatenate([RNG.normal(-4, 1, 500), RNG.normal(4, 0.5, 500)]),
    "two draws": np.array([1.0, 2.0]),
    "constant": np.full(50, 2.5),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_columns_are_those_of_arviz(name):
    values = DRAWS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        data = {"a": values[None]}
        by_mean = arviz.summary(data, kind="stats", round_to="none").loc["a"]
        by_median = arviz.summary(data, kind="stats", round_to="none", stat_focus="median").loc["a"]
        shortest = arviz.hdi(values, hdi_prob=0.94)
    [row] = summarise("one", {"a": values})
    np.testing.assert_allclose(row.hdi, shortest, rtol=1e-12)
    for column, expected in {**by_mean.to_dict(), **by_median.to_dict()}.items():
        if column in row.columns:
            assert row.columns[column] == pytest.approx(expected, rel=1e-12), column
    assert {"mean", "sd", "median", "mad", "hdi_3%", "hdi_97%", "mcse_mean"} <= set(row.columns)


@pytest.mark.parametrize("probability", [0.5, 0.94])
def test_the_shortest_interval_of_an_exponential_begins_at_zero(probability):
    u = (np.arange(20_000) + 0.5) / 20_000
    low, high = hdi(-np.log1p(-u), probability)
    assert low == pytest.approx(0, abs=1e-3) and high == pytest.approx(
        -math.log(1 - probability), rel=1e-2
    )


def test_the_error_of_the_mean_is_that_of_independent_draws():
    rows = [summarise("one", {"a": RNG.normal(size=100)})[0] for _ in range(400)]
    assert np.std([row.mean for row in rows]) == pytest.approx(
        np.mean([row.mcse_mean for row in rows]), rel=0.1
    )


def test_contraction_is_against_the_variance_of_the_prior():
    prior = moments(
        ["a", "joint", "flat"], RNG.normal(5, 2, (1000, 3)), np.array([4.0, np.nan, np.inf])
    )
    assert (
        set(prior) == {"a"}
        and prior["a"].sd == 2.0
        and prior["a"].mean == pytest.approx(5, abs=0.3)
    )
    draws = np.array([4.0, 6.0, 4.0, 6.0])  # variance 4/3
    known, unknown = summarise("one", {"a": draws, "joint": draws}, prior)
    assert known.contraction == pytest.approx(1 - (4 / 3) / 4) and known.prior == Moments(
        prior["a"].mean, 2.0
    )
    assert (
        unknown.contraction is None
        and unknown.prior is None
        and unknown.columns["prior_sd"] is None
    )
    assert (
        summarise("one", {"a": 10 * draws}, prior)[0].contraction < 0
    )  # wider than the prior: said, not clipped


def test_levels_have_their_share_of_the_draws_under_their_names():
    draws = {
        "k": np.array([0, 2, 2, 2]),
        "mu": np.array([0.0, 2.0, 1.0, 3.0]),
        "n": np.array([1, 1, 1, 2]),
        "many": np.arange(4),
    }
    levels = {
        "k": {0.0: "mild", 1.0: "severe", 2.0: "dead"},
        "n": {1.0: "1", 2.0: "2", 10.0: "10"},
        "many": {float(value): str(value) for value in range(21)},
    }
    k, mu, n, many = summarise("one", draws, levels=levels)
    assert k.levels == {"mild": 0.25, "severe": 0.0, "dead": 0.75}
    assert n.levels == {"1": 0.75, "2": 0.25, "10": 0.0}
    assert mu.levels == many.levels == {}
    columns = ["p(mild)", "p(severe)", "p(1)", "p(dead)", "p(2)", "p(10)"]
    assert [name for name in k.columns if name.startswith("p(")] == columns
    assert [k.columns[name] for name in columns] == [0.25, 0.0, None, 0.75, None, None]
    assert [mu.columns[name] for name in columns] == [None] * 6
    assert list(k.columns) == list(mu.columns) == list(n.columns) and k.mean == 1.5
    assert not any(name.startswith("p(") for name in summarise("one", draws)[0].columns)
