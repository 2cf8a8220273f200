"""NLPD: closed form, units, and truths that the posterior excludes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sbiwb.diagnostics import nlpd
from sbiwb.diagnostics._judge import judge
from tests.diagnostics.conjugate import full, normal


def loss(log_prob: np.ndarray | None, **options: int) -> nlpd.Result:
    n = 60 if log_prob is None else len(log_prob)
    return nlpd.compute(
        dataclasses.replace(normal(n, 9, 2, seed=0), log_prob_theta=log_prob),
        nlpd.Config(**options),
    )


def test_entropy_of_an_exact_normal_posterior():
    (value,) = nlpd.compute(full(20_000, 5, 3, seed=1), nlpd.Config()).values
    assert value.value == pytest.approx(3 * 0.5 * np.log(2 * np.pi * np.e * 0.25), abs=0.04)
    error = float(value.reason.split()[1])
    assert error == pytest.approx(
        np.sqrt(3 / 2 / 20_000), rel=0.1
    )  # half a chi-square with 3 degrees of freedom


@pytest.mark.parametrize("wrong", [{"sd": 0.7}, {"sd": 1.4}, {"shift": 0.5}, {"prior": True}])
def test_wrong_posteriors_score_worse(wrong):
    exact, other = (
        nlpd.compute(full(3000, 5, 2, seed=1, **how), nlpd.Config()).values[0].value
        for how in ({}, wrong)
    )
    assert other > exact + 0.05


def test_units_add_the_log_determinant():
    log_prob = np.random.default_rng(0).standard_normal(100)
    hours, minutes = loss(log_prob).values[0].value, loss(log_prob - np.log(60)).values[0].value
    assert minutes - hours == pytest.approx(np.log(60))


def test_an_excluded_truth_is_a_warning():
    result = loss(np.r_[np.zeros(50), -np.inf, -np.inf])
    (judgment,) = judge([("nlpd", nlpd.Config(), result)])
    assert judgment.verdict == "warn" and judgment.value is None
    assert judgment.reason == "truth excluded: q is zero at the truth in 2 of 52 test pairs"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_density_has_no_number(bad):
    (value,) = loss(np.r_[np.zeros(50), bad]).values
    assert value.value is None and "not a number in 1 of 51 test pairs" in value.reason


def test_without_density_there_is_a_reason():
    assert loss(None).values[0].reason == "log q at the truth is not known"


def test_picture_names_the_worst_pairs():
    log_prob = np.random.default_rng(0).standard_normal(100)
    log_prob[[17, 4, 60]] = -1e6, -50, -np.inf
    result = loss(log_prob, worst=2)
    assert result.worst == (17, 4)
    (axes,) = nlpd.plot(result).axes
    assert any("worst pairs: 17, 4" in text.get_text().replace("\n", " ") for text in axes.texts)
    assert axes.get_xlim()[1] < 100  # one loss of 1e6 does not hide the others
