"""Each calibration check on exact and wrong posteriors: the verdict, and the shapes that advice
reads."""

from __future__ import annotations

import pytest

from sbiwb.diagnostics import coverage, family, sbc
from sbiwb.diagnostics._judge import Judgment, judge
from sbiwb.evidence import Shape
from tests.diagnostics.conjugate import full

CHECKS = ("sbc", "coverage", "tarp")


def judged(check: str, **wrong: float) -> list[Judgment]:
    """The tests of one check, not those of log q: it tells no bias from too small a width."""
    config = family.parse(check)
    found = judge(
        [(check, config, family.module(check).compute(full(1000, 99, 2, seed=12, **wrong), config))]
    )
    return [one for one in found if one.p is not None and one.parameter != "log q"]


@pytest.mark.parametrize("check", CHECKS)
def test_exact_posterior_passes_without_a_word(check):
    for one in judged(check):
        assert one.verdict == "pass"
        assert one.shapes == ()


@pytest.mark.parametrize(
    ("wrong", "shape"), [({"sd": 0.6}, Shape.OVERCONFIDENT), ({"sd": 1.6}, Shape.UNDERCONFIDENT)]
)
@pytest.mark.parametrize("check", CHECKS)
def test_wrong_width_fails_and_is_named(check, wrong, shape):
    for one in judged(check, **wrong):
        assert one.verdict == "fail"
        assert one.shapes == (shape,) and one.reason.startswith(shape)


@pytest.mark.parametrize(("shift", "shape"), [(-1.0, Shape.BIASED_LOW), (1.0, Shape.BIASED_HIGH)])
@pytest.mark.parametrize("check", CHECKS)
def test_bias_fails_and_is_named(check, shift, shape):
    for one in judged(check, shift=shift):
        assert one.verdict == "fail"
        if check == "coverage":  # central intervals have no direction
            shape = Shape.OVERCONFIDENT
        assert one.shapes == (shape,)  # a shift is no wrong width
        assert one.reason.startswith(shape)


def test_regions_of_highest_density_never_count_as_a_test():
    result = coverage.compute(full(1000, 99, 2, seed=12, sd=0.6), coverage.Config())
    hpd = [
        one
        for one in judge([("coverage", coverage.Config(), result)])
        if one.name.startswith("hpd")
    ]
    assert hpd and all(one.verdict == "info" and one.p is None for one in hpd)


def test_a_number_can_have_two_shapes_the_strongest_first():
    value = sbc.compute(full(1000, 99, 1, seed=11, sd=0.5, shift=-0.5), sbc.Config()).values[0]
    assert value.shapes == (Shape.BIASED_LOW, Shape.OVERCONFIDENT)
    assert value.reason.startswith("biased low (most draws lie below the truth) and overconfident")


def test_a_posterior_that_is_the_prior_is_told_to_follow_the_data_too_little():
    shapes = {one.parameter: one.shapes for one in judged("sbc", prior=True)}
    assert shapes["theta_0"] == () and shapes["theta_0·x"] == (Shape.PRIOR_LIKE,)
