"""Each calibration check on exact and wrong posteriors: the verdict, and the words that advice reads."""

from __future__ import annotations

import pytest

from sbiwb.diagnostics import _calibration, coverage, family, sbc
from sbiwb.diagnostics._judge import Judgment, judge
from tests.diagnostics.conjugate import full

CHECKS = ("sbc", "coverage", "tarp")
SHAPES = (
    _calibration.OVERCONFIDENT,
    _calibration.UNDERCONFIDENT,
    _calibration.BIASED_LOW,
    _calibration.BIASED_HIGH,
)


def judged(check: str, **wrong: float) -> list[Judgment]:
    """The tests of one check, not those of log q: it tells no bias from too small a width."""
    config = family.parse(check)
    found = judge(
        [(check, config, family.module(check).compute(full(1000, 99, 2, seed=12, **wrong), config))]
    )
    return [one for one in found if one.p is not None and one.parameter != "log q"]


def test_the_words_are_those_that_advice_reads():
    assert SHAPES == ("overconfident", "underconfident", "biased low", "biased high")


@pytest.mark.parametrize("check", CHECKS)
def test_exact_posterior_passes_without_a_word(check):
    for one in judged(check):
        assert one.verdict == "pass"
        assert not [shape for shape in SHAPES if shape in one.reason]


@pytest.mark.parametrize(
    ("wrong", "words"), [({"sd": 0.6}, "overconfident"), ({"sd": 1.6}, "underconfident")]
)
@pytest.mark.parametrize("check", CHECKS)
def test_wrong_width_fails_and_is_named(check, wrong, words):
    for one in judged(check, **wrong):
        assert one.verdict == "fail"
        assert [shape for shape in SHAPES if one.reason.startswith(shape)] == [words]


@pytest.mark.parametrize(("shift", "words"), [(-1.0, "biased low"), (1.0, "biased high")])
@pytest.mark.parametrize("check", CHECKS)
def test_bias_fails_and_is_named(check, shift, words):
    for one in judged(check, shift=shift):
        assert one.verdict == "fail"
        expected = (
            "overconfident" if check == "coverage" else words
        )  # central intervals have no direction
        assert one.reason.startswith(expected)
        assert check == "coverage" or "confident" not in one.reason  # a shift is no wrong width


def test_regions_of_highest_density_never_count_as_a_test():
    result = coverage.compute(full(1000, 99, 2, seed=12, sd=0.6), coverage.Config())
    hpd = [
        one
        for one in judge([("coverage", coverage.Config(), result)])
        if one.name.startswith("hpd")
    ]
    assert hpd and all(one.verdict == "info" and one.p is None for one in hpd)


def test_a_reason_can_name_two_shapes():
    value = sbc.compute(full(1000, 99, 1, seed=11, sd=0.5, shift=-0.5), sbc.Config()).values[0]
    assert _calibration.BIASED_LOW in value.reason and _calibration.OVERCONFIDENT in value.reason
