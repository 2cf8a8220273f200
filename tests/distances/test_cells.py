"""PQMass: its level where samples are of one distribution, its power where they are not."""

import numpy as np
import pytest
from scipy.stats import kstest

from sbiwb.distances import pqmass


def p_values(size, shift, times, dimension=2):
    found = []
    for seed in range(times):
        rng = np.random.default_rng([7, seed])
        reference, draws = rng.normal(size=(2, size, dimension))
        found.append(pqmass(reference, draws + shift, seed=seed))
    return np.array(found)


@pytest.mark.parametrize("size, dimension", [(100, 2), (400, 5)])
def test_p_is_uniform_where_samples_are_of_one_distribution(size, dimension):
    p = p_values(size, 0.0, 300, dimension)
    assert kstest(p, "uniform").pvalue > 0.01
    for level in (0.05, 0.2):
        assert np.mean(p < level) == pytest.approx(level, abs=3 * np.sqrt(level / 300))


def test_power_grows_with_the_shift():
    shares = [np.mean(p_values(400, shift, 60) < 0.05) for shift in (0.0, 0.2, 0.4)]
    assert shares[0] < 0.2 < shares[1] < 0.95 < shares[2] == 1.0


def test_correlation_alone_is_seen():
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 1_000)
    assert pqmass(rng.normal(size=(1_000, 2)), draws) < 1e-6


def test_units_swapping_and_a_constant_column_change_nothing():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 200, 2))
    usual = pqmass(x, y)
    assert pqmass(x * [1e6, 1e-3] + 5, y * [1e6, 1e-3] + 5) == pytest.approx(usual)
    ones = np.ones((200, 1))
    assert pqmass(np.hstack([x, ones]), np.hstack([y, ones])) == pytest.approx(usual)
    assert pqmass(x, y) == usual != pqmass(x, y, seed=2)


@pytest.mark.parametrize("sizes, cells", [((19, 500), 10), ((100, 100), 1)])
def test_too_few_draws_or_cells_are_refused(sizes, cells):
    with pytest.raises(ValueError, match="at least 2 cells, and at least 20 draws of each"):
        pqmass(np.zeros((sizes[0], 1)), np.zeros((sizes[1], 1)), cells=cells)
