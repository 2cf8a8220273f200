"""Numbers far from 0 that carry a small spread: float64 until it is standardized, told where it is
lost."""

import numpy as np
import pytest

from sbiwb.adapters import InputAdapter, InputPlan, ThetaMap, family
from sbiwb.adapters._precision import standardizer
from sbiwb.priors import family as priors
from sbiwb.records import Ragged

SECONDS = 1126259462.4  # a date in GPS time
STANDARDIZE = (family.parse("standardize"),)


def spread(sd, n=4000, offset=SECONDS):
    small = np.random.default_rng(0).standard_normal(n) * sd
    return small, offset + small


def fitted(x, tail=()):
    return InputAdapter.fit(InputPlan("vector", ("t",), tail=tail), {"t": x})


@pytest.mark.parametrize("sd", [4e-4, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("offset", [SECONDS, -SECONDS, 1e5, 0.0])
def test_a_small_spread_beside_a_large_number_reaches_the_network(sd, offset):
    small, x = spread(sd, offset=offset)
    adapter = fitted(x, STANDARDIZE)
    values, _ = adapter.apply({"t": x})
    assert values.dtype == np.float32 and not adapter.warnings
    steps = np.spacing(abs(offset)) / sd  # what float64 itself has rounded away
    np.testing.assert_allclose(values.std(), 1, atol=1e-4 + steps)
    expected = (small - small.mean()) / small.std()
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-5 + 2 * steps)


def test_the_same_of_members_of_sets():
    _, x = spread(4e-4)
    ragged = Ragged(x, np.arange(0, 4001, 8))
    adapter = InputAdapter.fit(InputPlan("set", ("t",), tail=STANDARDIZE), {"t": ragged})
    assert 0.99 < adapter.apply({"t": ragged})[0].std() < 1.01


def test_a_parameter_known_by_its_draws_alone_is_standardized_as_well():
    _, theta = spread(4e-4)
    parts = [(slice(0, 1), priors.parse("joint").build(), "prior")]
    theta_map = ThetaMap.fit(["t0"], parts, theta[:, None])
    z = theta_map.forward(theta[:, None])
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=1e-3)
    np.testing.assert_allclose(theta_map.inverse(z)[:, 0], theta, rtol=0, atol=3e-7)


@pytest.mark.parametrize("value", [0.0, 7.3, -1e-9, SECONDS])
def test_a_constant_channel_has_the_sd_1(value):
    values = np.full((1000, 1), value)
    _, sd = standardizer(values, values.mean(0), values.std(0))
    assert sd == 1


def test_ordinary_numbers_are_standardized_by_what_numpy_says_to_the_last_digit():
    values = np.random.default_rng(1).gamma(2, 3, (500, 4))
    mean, sd = values.mean(0), values.std(0)
    for ours, theirs in zip(standardizer(values, mean, sd), (mean, sd), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_spread_that_float32_cannot_hold_is_told():
    (sentence,) = fitted(spread(4e-4)[1]).warnings
    assert sentence.startswith("t varies by 0.00") and "float32 cannot tell apart" in sentence
    assert "Add the transform standardize." in sentence
    again = InputAdapter.restore(InputPlan("vector", ("t",)), fitted(spread(4e-4)[1]).state())
    assert again.warnings == [sentence]


def test_a_type_that_is_too_coarse_for_its_spread_is_told():
    single = spread(300.0)[1].astype(np.float32)
    (sentence,) = fitted(single, STANDARDIZE).warnings
    assert "steps of float32, the type it comes in" in sentence and "float64" in sentence
    (sentence,) = fitted(spread(1e-6)[1], STANDARDIZE).warnings
    assert "steps of float64, the type it comes in" in sentence


@pytest.mark.parametrize(
    "x",
    [
        np.array([0.0, 1.0, 0.0]),
        np.array([16_000_000, 16_000_003, 16_000_001]),
        np.array([0.5, 0.25, 1e6], np.float32),
        np.full(5, SECONDS),
        np.array([0.3, 0.1 + 0.2, 0.3]),  # one step of rounding in a constant
        np.array([[1.0, 5.0], [2.0, 5.0]]),
    ],
)
def test_nothing_is_told_of_ordinary_columns(x):
    assert fitted(x).warnings == [] and "warnings" not in fitted(x).state()
