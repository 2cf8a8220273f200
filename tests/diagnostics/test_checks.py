"""Known values, one check after the other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

from sbiwb.diagnostics import coverage, recovery, sbc, zscore_contraction
from sbiwb.errors import DataError
from tests.diagnostics.conjugate import by_name, names_of, normal, normal_ranks, with_ranks


@pytest.mark.parametrize(
    ("s", "expected"), [(999, 20), (99, 20), (50, 17), (1000, 13), (4, 5), (249, 10)]
)
def test_bins_divide_the_ranks(s, expected):
    assert sbc.bins(s) == expected
    result = sbc.compute(with_ranks(np.arange(s + 1)[:, None], s), sbc.Config())
    assert set(result.counts[0]) == {(s + 1) // expected}  # every rank once: equal bins
    assert result.edges[0] == -0.5 and result.edges[-1] == s + 0.5


@pytest.mark.parametrize("s", [1, 2, 100, 106])
def test_draws_that_make_no_equal_bins_are_refused(s):
    with pytest.raises(DataError, match=rf"{s} draws make {s + 1} possible ranks.*Take \d+ draws"):
        sbc.compute(normal(10, s, 1, seed=0), sbc.Config())


SHAPES = [
    ({"sd": 0.7}, "overconfident", 1),
    ({"sd": 1.4}, "underconfident", -1),
    ({"shift": -0.5}, "biased low", 0),
    ({"shift": 0.5}, "biased high", 0),
]


@pytest.mark.parametrize(("wrong", "word", "ends"), SHAPES)
def test_sbc_names_the_shape(wrong, word, ends):
    result = sbc.compute(normal(1000, 99, 1, seed=3, **wrong), sbc.Config())
    value = result.values[0]
    assert value.reason.startswith(word) and value.p < 0.001 and value.value < 0
    low, value_effect, high = value.effect_interval[0], value.effect, value.effect_interval[1]
    assert low <= value_effect <= high
    at_ends = result.counts[0, [0, -1]].mean() / result.counts[0].mean() - 1
    assert not ends or np.sign(at_ends) == ends
    if word == "biased low":  # the posterior is too low: ranks pile up high
        assert result.counts[0, -1] > 2 * result.counts[0, 0]


def test_discrete_parameter_with_ties_is_calibrated():
    rng = np.random.default_rng(4)
    rate = rng.gamma(2.0, 1.0, (1000, 1))
    draws = normal(1000, 99, 1, seed=0)
    draws = dataclasses.replace(
        draws,
        theta=rng.poisson(rate).astype(float),
        draws=rng.poisson(rate[:, None], (1000, 99, 1)) * 1.0,
    )
    assert sbc.compute(draws, sbc.Config()).values[0].p > 0.05


@pytest.mark.parametrize(
    ("sd", "word"), [(1.0, "uniform"), (0.6, "overconfident"), (1.6, "underconfident")]
)
def test_log_q_is_a_test_quantity_where_it_is_known(sd, word):
    rng = np.random.default_rng(8)
    theta, cloud = rng.standard_normal((800, 2)), sd * rng.standard_normal((800, 99, 2))
    draws = dataclasses.replace(normal(800, 99, 2, seed=0), theta=theta, draws=cloud)
    log_q = norm.logpdf(theta, scale=sd).sum(1)
    draws = dataclasses.replace(
        draws, log_prob_theta=log_q, log_prob_draws=norm.logpdf(cloud, scale=sd).sum(2)
    )
    result = sbc.compute(draws, sbc.Config())
    assert result.names == (*names_of(2), "log q") and result.values[-1].parameter == "log q"
    assert word in result.values[-1].reason
    assert (
        len(sbc.compute(dataclasses.replace(draws, log_prob_draws=None), sbc.Config()).values) == 2
    )


def test_coverage_of_known_ranks():
    result = coverage.compute(with_ranks(np.arange(100)[:, None], 99), coverage.Config())
    np.testing.assert_allclose(result.central.coverage[0], result.central.levels)
    assert result.highest is None and "not known" in result.highest_trouble


@pytest.mark.parametrize("s", [99, 100])
@pytest.mark.parametrize("sd", [0.8, 1.0, 1.25])
def test_coverage_agrees_with_theory(s, sd):
    result = coverage.compute(normal_ranks(10_000, s, 1, seed=5, sd=sd), coverage.Config())
    expected = 2 * norm.cdf(sd * norm.ppf((1 + result.central.levels) / 2)) - 1
    np.testing.assert_allclose(result.central.coverage[0], expected, atol=0.025)


def test_coverage_says_what_a_user_can_act_on():
    result = coverage.compute(
        with_ranks(np.r_[np.arange(1000) % 1000, np.zeros(200, int)][:, None], 999),
        coverage.Config(),
    )
    value = by_name(result.values, "coverage_90")[0]
    assert value.value == pytest.approx(0.75)
    assert (
        value.reason
        == "your 90 % intervals hold the truth 75 % of the time (an exact posterior: 88.2 to 91.7 "
        "%)"
    )
    main = by_name(result.values, "coverage_log_gamma")[0]
    assert (
        main.reason.startswith("overconfident")
        and main.p < 0.001
        and main.effect == pytest.approx(1 / 6, abs=0.01)
    )


def test_coverage_names_the_level_that_the_draws_can_form():
    result = coverage.compute(normal(50, 99, 1, seed=0), coverage.Config())
    assert "no 95 % intervals" in by_name(result.values, "coverage_95")[0].reason
    with pytest.raises(DataError, match="3 draws form too few intervals"):
        coverage.compute(normal(50, 3, 1, seed=0), coverage.Config())


def test_coverage_reads_levels_from_a_list():
    assert coverage.Config.model_validate({"levels": [0.5, 0.68]}).levels == (0.5, 0.68)
    with pytest.raises(ValueError, match="levels"):
        coverage.Config.model_validate({"levels": [90]})


def test_z_score_is_signed_with_ddof_one():
    draws = dataclasses.replace(
        normal(2, 3, 1, seed=0),
        theta=np.array([[0.0], [5.0]]),
        draws=np.array([[1, 2, 3], [1, 2, 3]])[..., None],
    )
    result = zscore_contraction.compute(draws, zscore_contraction.Config())
    np.testing.assert_allclose(result.z[:, 0], [2.0, -3.0])


@pytest.mark.parametrize(("definition", "expected"), [("variance", 0.75), ("sd", 0.5)])
def test_halving_the_sd(definition, expected):
    draws = dataclasses.replace(
        normal(300, 499, 2, seed=1), prior_var=np.ones(2)
    )  # posterior sd 0.5, prior sd 1
    result = zscore_contraction.compute(draws, zscore_contraction.Config(definition=definition))
    value = by_name(result.values, f"contraction_{definition}_median")[0]
    assert (
        value.value == pytest.approx(expected, abs=0.02)
        and value.warning is None
        and "prior" in value.reason
    )
    assert by_name(result.values, "z_sd")[0].value == pytest.approx(1, abs=0.1)
    assert by_name(result.values, "z_mean")[0].value == pytest.approx(0, abs=0.15)


def test_contraction_is_not_clipped_and_warns():
    draws = dataclasses.replace(normal(50, 99, 1, seed=1), prior_var=np.array([0.2]))
    value = by_name(
        zscore_contraction.compute(draws, zscore_contraction.Config()).values,
        "contraction_variance_median",
    )[0]
    assert value.value == pytest.approx(-0.25, abs=0.1) and value.warning == "unidentified"


def test_unknown_prior_variance_is_replaced_and_said():
    draws = dataclasses.replace(normal(400, 99, 2, seed=1), prior_var=np.array([np.nan, 1.25]))
    result = zscore_contraction.compute(draws, zscore_contraction.Config())
    values = by_name(result.values, "contraction_variance_median")
    assert "test set" in values[0].reason and "prior" in values[1].reason
    assert values[0].value == pytest.approx(values[1].value, abs=0.05)


def test_leaked_draws_are_said():
    draws = dataclasses.replace(normal(50, 99, 2, seed=1), leaked=np.array([0.2, 0.001]))
    values = by_name(
        zscore_contraction.compute(draws, zscore_contraction.Config()).values, "leaked_share"
    )
    assert [value.warning for value in values] == ["leaked", None]
    assert "20.0% of the draws lie outside" in sbc.compute(draws, sbc.Config()).values[0].reason


def test_quantiles_are_those_of_numpy():
    draws = np.random.default_rng(0).standard_normal((20, 37, 3))
    np.testing.assert_allclose(
        recovery.quantiles(draws, (0.025, 0.5, 0.975)),
        np.quantile(draws, (0.025, 0.5, 0.975), axis=1),
    )


def test_recovery_of_known_numbers():
    theta = np.array([[0.0], [1.0], [2.0]])
    draws = dataclasses.replace(
        normal(3, 5, 1, seed=0), theta=theta, draws=np.repeat(0.5 * theta[:, None] + 0.5, 5, axis=1)
    )
    r, r2, slope = (value.value for value in recovery.compute(draws, recovery.Config()).values)
    assert (r, r2, slope) == pytest.approx((1.0, 0.75, 0.5))


def test_recovery_picture_holds_two_hundred_pairs():
    figure = recovery.plot(recovery.compute(normal(1000, 49, 1, seed=0), recovery.Config()))
    assert len(figure.axes[0].collections[1].get_offsets()) == 200
    assert "200 of 1000" in figure.get_supxlabel()
