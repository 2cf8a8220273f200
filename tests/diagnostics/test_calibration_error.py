"""Calibration error: closed form, and what chance does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from sbiwb.diagnostics import calibration_error
from tests.diagnostics.conjugate import normal_ranks, with_ranks


def test_every_rank_once_has_no_error():
    (value,) = calibration_error.compute(
        with_ranks(np.arange(1000)[:, None], 999), calibration_error.Config()
    ).values
    assert value.value == pytest.approx(0, abs=1e-9) and value.warning is None


@pytest.mark.parametrize("sd", [0.6, 1.6])
def test_wrong_width_agrees_with_theory(sd):
    result = calibration_error.compute(
        normal_ranks(20_000, 99, 2, seed=1, sd=sd), calibration_error.Config()
    )
    levels = calibration_error.LEVELS
    expected = np.median(np.abs(2 * norm.cdf(sd * norm.ppf((1 + levels) / 2)) - 1 - levels))
    for value in result.values:
        assert value.value == pytest.approx(expected, abs=0.02)
        assert value.warning == "miscalibrated" and "above 5" in value.reason


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_exact_posteriors_do_not_warn(n):
    results = [
        calibration_error.compute(normal_ranks(n, 99, 20, seed), calibration_error.Config())
        for seed in range(20)
    ]
    assert not [value for result in results for value in result.values if value.warning]


def test_chance_fades_with_the_number_of_pairs():
    small, large = calibration_error.chance(100), calibration_error.chance(10_000)
    assert small > 0.08 and large < 0.03
    assert small / large == pytest.approx(10, rel=0.3)


def test_limit_is_an_option():
    draws = normal_ranks(5000, 99, 1, seed=1, sd=0.9)
    warnings = [
        calibration_error.compute(draws, calibration_error.Config(warn_above=limit))
        .values[0]
        .warning
        for limit in (0.03, 0.05)
    ]
    assert warnings == ["miscalibrated", None]
