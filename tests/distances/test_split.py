"""Marginals and dependence: closed forms of normals, and that each sees only its own."""

import numpy as np
import pytest
from scipy.stats import norm

from sbiwb.distances import c2st, c2st_dependence, c2st_marginals


def correlated(size, rho, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size)


def best_of_scales(wide):
    """1/2 + TV / 2 of N(0, 1) and N(0, wide²), whose densities cross at ±c."""
    c = np.sqrt(2 * np.log(wide) / (1 - wide**-2))
    return 0.5 + norm.cdf(c) - norm.cdf(c / wide)


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_marginals_come_near_the_best_there_is(shift):
    rng = np.random.default_rng(3)
    reference, draws = rng.normal(size=(10_000, 1)), rng.normal(shift, 1, (10_000, 1))
    found, error = c2st_marginals(reference, draws), 0.5 / np.sqrt(20_000)
    best = norm.cdf(shift / 2)
    assert best - 0.006 - 3 * error < found < best + 3 * error


@pytest.mark.parametrize("wide", [1.2, 3.0])
def test_another_scale_is_in_the_marginals_and_not_in_the_dependence(wide):
    reference, draws = correlated(2_000, 0.6, 0), correlated(2_000, 0.6, 1, wide)
    assert c2st_marginals(reference, draws) == pytest.approx(best_of_scales(wide), abs=0.02)
    assert c2st_dependence(reference, draws) == pytest.approx(0.5, abs=0.025)


def test_marginals_are_the_mean_over_columns():
    rng = np.random.default_rng(0)
    reference, draws = rng.normal(size=(2, 5_000, 2))
    mean = (norm.cdf(1.0) + 0.5) / 2
    assert c2st_marginals(reference, draws + np.array([2.0, 0.0])) == pytest.approx(mean, abs=0.01)


def test_another_correlation_is_in_the_dependence_and_not_in_the_marginals():
    reference, draws = correlated(2_000, 0.8, 0), correlated(2_000, 0.0, 1)
    assert c2st_marginals(reference, draws) == pytest.approx(0.5, abs=0.02)
    both, alone = c2st(reference, draws), c2st_dependence(reference, draws)
    assert alone > 0.65 and alone == pytest.approx(both, abs=0.03)


def test_dependence_does_not_see_increasing_maps_of_a_column():
    reference, draws = correlated(400, 0.9, 0), correlated(400, 0.0, 1)
    found = c2st_dependence(reference, draws)
    assert c2st_dependence(np.exp(reference), draws**3) == found > 0.6


def test_equal_samples_are_one_half_on_average():
    rng = np.random.default_rng(5)
    found = [c2st_dependence(*rng.normal(size=(2, 300, 2))) for _ in range(20)]
    assert np.mean(found) == pytest.approx(0.5, abs=3 * np.std(found) / np.sqrt(20))


def test_one_column_has_no_dependence_and_constant_ones_no_difference():
    rng = np.random.default_rng(0)
    assert c2st_dependence(rng.normal(size=(50, 1)), rng.normal(5, 1, (50, 1))) == 0.5
    assert c2st_marginals(np.ones((50, 2)), np.ones((50, 2))) == pytest.approx(0.5, abs=0.1)
    assert c2st_marginals(np.zeros((50, 1)), np.ones((50, 1))) == 1.0


def test_what_cannot_be_compared_is_refused():
    for score in (c2st_marginals, c2st_dependence):
        with pytest.raises(ValueError, match="differ in size"):
            score(np.zeros((5, 2)), np.zeros((4, 2)))
