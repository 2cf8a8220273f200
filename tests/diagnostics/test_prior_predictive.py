"""Prior predictive: known percentiles, and data in wrong units."""

from __future__ import annotations

import numpy as np
import pytest

from sbiwb.diagnostics import prior_predictive
from sbiwb.diagnostics.prior_predictive import Config, compute, plot, standardize
from sbiwb.evidence import FeatureSpace, Summaries


def summaries(observed: np.ndarray, simulated: np.ndarray) -> Summaries:
    columns = tuple(f"s[{j}]" for j in range(simulated.shape[1]))
    labels = tuple(f"mine {m}" for m in range(len(observed)))
    half = len(simulated) // 2
    return Summaries(
        labels,
        labels,
        {"statistics": FeatureSpace(columns, simulated[:half], simulated[half:], observed)},
    )


def test_percentiles_and_probability_by_hand():
    simulated = np.stack([np.arange(99.0), np.arange(99.0)], axis=1)
    result = compute(summaries(np.array([[49.0, 9.5]]), simulated), Config())
    np.testing.assert_allclose(result.percentiles, [[50.0, 1000 / 99]])
    np.testing.assert_allclose(result.p, [[1.0, 0.22]])  # (1 + 10) / 100 on either side
    assert result.values[0].value == pytest.approx(0.44) and "s[1] = 9.5" in result.values[0].reason


def test_genuine_data_seldom_warn():
    rng = np.random.default_rng(0)
    sizes = rng.lognormal(sigma=2.0, size=(3000, 8)) * rng.standard_normal((3000, 1))
    values = compute(summaries(sizes[:1000], sizes[1000:]), Config(below=0.05)).values
    assert np.mean([value.warning is not None for value in values]) <= 0.05


def test_wrong_units_warn_and_name_the_statistic():
    rng = np.random.default_rng(1)
    observed = rng.gamma(5.0, 0.1, (1, 40))
    observed[0, 7] *= 1000  # milliseconds
    value = compute(summaries(observed, rng.gamma(5.0, 0.1, (1000, 40))), Config()).values[0]
    assert value.warning == "outside the prior predictive" and value.value < 1e-4
    assert (
        value.reason.startswith("s[7] = ")
        and "percentile 100" in value.reason
        and "s[8]" not in value.reason
    )


def test_many_outside_are_counted():
    rng = np.random.default_rng(2)
    value = compute(
        summaries(np.full((1, 9), 1e6), rng.standard_normal((1000, 9))), Config()
    ).values[0]
    assert value.reason.endswith("and 6 more")


def test_float32_data_equal_the_constant_they_came_from():
    simulated = np.full((200, 1), 0.1)
    result = compute(summaries(simulated[:1].astype(np.float32).astype(float), simulated), Config())
    assert result.values[0].value == 1.0
    assert compute(summaries(np.array([[0.2]]), simulated), Config()).values[
        0
    ].value == pytest.approx(2 / 201)


def test_troubles_are_told():
    fine = np.random.default_rng(3).standard_normal((100, 2))
    assert "no real data set" in compute(summaries(fine[:0], fine), Config()).values[0].reason
    assert "5 simulations" in compute(summaries(fine[:1], fine[:5]), Config()).values[0].reason
    assert "not computed" in compute(Summaries((), (), {}), Config()).values[0].reason
    bad = np.where(np.eye(100, 2, dtype=bool), np.inf, fine)
    for found in (
        compute(summaries(fine[:1], bad), Config()),
        compute(summaries(bad[:1], fine), Config()),
    ):
        assert found.values[0].value is None and "not finite" in found.values[0].reason
        assert plot(found).get_suptitle()


def test_standardized_quantiles():
    quantiles = np.array([[-2.0], [-1.0], [0.0], [2.0], [8.0]])
    np.testing.assert_allclose(
        standardize(np.array([[-2.0], [0.0], [8.0], [4.0]]), quantiles)[:, 0], [-1, 0, 1, 0.5]
    )
    assert standardize(np.array([[1.0]]), np.zeros((5, 1)))[0, 0] > prior_predictive.EDGE


@pytest.mark.parametrize(("m", "k"), [(0, 3), (1, 1), (100, 50), (2, 300)])
def test_picture(m, k):
    rng = np.random.default_rng(4)
    figure = plot(
        compute(summaries(rng.standard_normal((m, k)), rng.standard_normal((100, k))), Config())
    )
    figure.canvas.draw()
    assert figure.get_size_inches()[1] < 24 and figure.get_suptitle()
