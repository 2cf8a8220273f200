"""Posterior predictive: shares outside that are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sbiwb.diagnostics import predictive
from sbiwb.evidence import PredictiveReplicates


def replicas(
    n: int = 300, r: int = 99, k: int = 3, *, seed: int = 0, shift: float = 0.0
) -> PredictiveReplicates:
    rng = np.random.default_rng(seed)
    cloud = rng.standard_normal((n, r + 1, k))
    return PredictiveReplicates(
        tuple(f"s[{j}]" for j in range(k)), cloud[:, 0] + shift, cloud[:, 1:]
    )


def test_exchangeable_data_lie_outside_in_four_of_a_hundred():
    values = predictive.compute(replicas(5000, 49), predictive.Config()).values
    for value in values:  # ranks 0 and 49 of 50
        assert value.value == pytest.approx(0.04, abs=0.012) and value.warning is None


def test_ties_do_not_accuse():
    made = PredictiveReplicates(
        ("zeros",),
        np.zeros((50, 1)),
        np.random.default_rng(0).poisson(0.5, (50, 60, 1)).astype(float),
    )
    assert predictive.compute(made, predictive.Config()).values[0].value == 0.0


@pytest.mark.parametrize(("shift", "side"), [(3.0, "above"), (-3.0, "below")])
def test_shifted_data_are_not_reproduced(shift, side):
    result = predictive.compute(replicas(r=999, shift=shift), predictive.Config())
    assert all(
        value.warning == "not reproduced" and side in value.reason for value in result.values
    )
    np.testing.assert_allclose(getattr(result, side), 0.85, atol=0.06)  # P(Normal(3, 1) > 1.96)


def test_warnings_are_seldom_where_all_is_well():
    warned = [
        any(
            v.warning
            for v in predictive.compute(replicas(100, 99, 10, seed=s), predictive.Config()).values
        )
        for s in range(60)
    ]
    assert sum(warned) <= 1


def test_margin_is_the_users():
    made = replicas(shift=1.2)  # about 20 % outside
    assert predictive.compute(made, predictive.Config()).values[0].warning
    assert predictive.compute(made, predictive.Config(margin=0.3)).values[0].warning is None


def test_failed_simulations_are_left_out():
    made = replicas(200, 60)
    cloud = made.replicated.copy()
    cloud[:100, :30] = np.nan  # too few remain
    cloud[100:, :5] = np.nan
    result = predictive.compute(dataclasses.replace(made, replicated=cloud), predictive.Config())
    assert (
        result.judged.tolist() == [100, 100, 100]
        and "of 100 test data sets" in result.values[0].reason
    )
    few = predictive.compute(
        dataclasses.replace(made, replicated=cloud[:, :38]), predictive.Config()
    ).values[0]
    assert few.value is None and "39 valid simulations" in few.reason


def test_one_bad_statistic_stays_alone():
    made = replicas()
    observed = made.observed.copy()
    observed[4, 0] = np.inf
    first, second, _ = predictive.compute(
        dataclasses.replace(made, observed=observed), predictive.Config()
    ).values
    assert first.value is None and "1 of 300" in first.reason and second.value is not None


def test_constant_statistics_are_told():
    made = PredictiveReplicates(("fixed",), np.ones((50, 1)), np.ones((50, 60, 1)))
    value = predictive.compute(made, predictive.Config()).values[0]
    assert value.value is None and "same in all" in value.reason


@pytest.mark.parametrize("k", [0, 1, 50, 300])
def test_picture(k):
    figure = predictive.plot(predictive.compute(replicas(60, 45, k), predictive.Config()))
    figure.canvas.draw()
    assert figure.get_size_inches()[1] < 24 and figure.get_suptitle()
    if k == 300:
        assert "100 worst of 300" in figure.get_supxlabel().replace("\n", " ")
