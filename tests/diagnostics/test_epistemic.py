"""Epistemic share: mixtures whose share is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sbiwb.diagnostics import epistemic
from sbiwb.diagnostics.epistemic import Config, compute, plot
from sbiwb.evidence import WeightDraws


def weights(
    between: float, *, n: int = 400, w: int = 20, draws: int = 50, d: int = 2, seed: int = 0
) -> WeightDraws:
    """Under each weight draw Normal(mean, 1), the means' variance `between`; from draws."""
    rng = np.random.default_rng(seed)
    centre = 100 + np.sqrt(between) * rng.standard_normal((n, w, 1, d))
    cloud = centre + rng.standard_normal((n, w, draws, d))
    return WeightDraws(
        tuple(f"theta_{j}" for j in range(d)), cloud.mean(2), cloud.var(2, ddof=1), draws
    )


@pytest.mark.parametrize(("w", "draws"), [(5, 20), (20, 50), (50, 2)])
def test_no_share_where_all_weights_agree(w, draws):
    result = compute(weights(0.0, w=w, draws=draws, n=2000), Config())
    assert all(value.value <= 0.005 and value.warning is None for value in result.values)
    assert np.nanmean(result.share) == pytest.approx(
        0, abs=3e-3 if draws > 2 else 0.03
    )  # by 1 / draws without the correction


@pytest.mark.parametrize("between", [0.1, 1.0, 9.0])
def test_share_of_a_known_mixture(between):
    value = compute(weights(between, w=60), Config()).values[0]
    assert value.value == pytest.approx(between / (1 + between), abs=0.02)
    assert (value.warning is not None) == (between > 0.25)


def test_units_do_not_matter():
    made = weights(0.5)
    scaled = dataclasses.replace(made, mean=7 + 1e3 * made.mean, variance=1e6 * made.variance)
    np.testing.assert_allclose(
        compute(scaled, Config()).share, compute(made, Config()).share, atol=1e-9
    )


def test_degenerate_posteriors_that_differ_are_all_epistemic():
    made = weights(1.0)
    assert (
        compute(dataclasses.replace(made, variance=0 * made.variance), Config()).values[0].value
        == 1.0
    )


TROUBLES = {
    "one set of weights": lambda made: dataclasses.replace(
        made, mean=made.mean[:, :1], variance=made.variance[:, :1]
    ),
    "single draw": lambda made: dataclasses.replace(
        made, draws=1, variance=np.full_like(made.variance, np.nan)
    ),
    "no test pair": lambda made: dataclasses.replace(
        made, mean=made.mean[:0], variance=made.variance[:0]
    ),
    "is 0": lambda made: dataclasses.replace(
        made, mean=np.ones_like(made.mean), variance=np.zeros_like(made.variance)
    ),
    "not finite in 400 of 400": lambda made: dataclasses.replace(
        made, variance=np.full_like(made.variance, np.inf)
    ),
    "too large": lambda made: dataclasses.replace(
        made, mean=1e200 * made.mean, variance=1e306 * made.variance
    ),
}


@pytest.mark.parametrize("words", TROUBLES)
def test_troubles_are_told(words):
    result = compute(TROUBLES[words](weights(0.5)), Config())
    assert all(value.value is None and words in value.reason for value in result.values)
    assert plot(result).get_suptitle()


def test_trouble_of_one_parameter_stays_there():
    made = weights(0.5)
    mean = made.mean.copy()
    mean[3, 1, 0] = np.nan
    first, second = compute(dataclasses.replace(made, mean=mean), Config()).values
    assert first.value is None and "1 of 400" in first.reason and second.value is not None


@pytest.mark.parametrize("d", [1, 50])
def test_picture(d):
    figure = plot(compute(weights(0.5, n=20, w=4, draws=10, d=d), Config()))
    figure.canvas.draw()
    assert len(figure.axes[0].get_yticks()) == d


def test_shares_of_an_unequal_mixture_are_those_of_this_very_mixture():
    """Two normal distributions of variance 1 at 0 and 3 in unequal parts p: variance 1 + 9 p (1 -
    p)."""
    for part in (0.5 - 1e-3, 0.1, 1e-5, 0.0):
        found = epistemic.shares(
            WeightDraws(
                ("a",),
                np.array([[[0.0], [3.0]]]),
                np.ones((1, 2, 1)),
                10**9,
                np.array([1 - part, part]),
            )
        )
        between = 9 * part * (1 - part)
        assert np.allclose(found, between / (1 + between), atol=1e-6)
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=(50, 3, 2)), rng.uniform(0.5, 1.5, size=(50, 3, 2))
    equal = epistemic.shares(WeightDraws(("a", "b"), mean, variance, 50))
    assert np.allclose(
        equal, epistemic.shares(WeightDraws(("a", "b"), mean, variance, 50, np.full(3, 1 / 3)))
    )


def test_networks_that_agree_have_no_share_whatever_their_weights():
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(4000, 4, 100, 1))
    found = epistemic.shares(
        WeightDraws(
            ("a",), draws.mean(2), draws.var(2, ddof=1), 100, np.array([0.7, 0.1, 0.1, 0.1])
        )
    )
    assert abs(found.mean()) < 5e-4
