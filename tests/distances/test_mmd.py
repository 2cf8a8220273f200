"""MMD: the closed form of two normals, and what makes it unbiased."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from sbiwb.distances import _discrepancy, mmd2


def kernel_mean(variances, shift, dimension, width):
    """E exp(-|z|² / (2 width²)) of a normal z with these variances in sum and a mean of length
    `shift`.
    """
    total = width**2 + variances
    return (width**2 / total) ** (dimension / 2) * np.exp(-0.5 * shift**2 / total)


@pytest.mark.parametrize(
    "dimension, shift, spread, width", [(1, 1.0, 1.0, 1.0), (2, 0.5, 2.0, 0.7), (5, 2.0, 0.5, 3.0)]
)
def test_normals_have_a_closed_form(dimension, shift, spread, width):
    rng = np.random.default_rng(dimension)
    exact = (
        kernel_mean(2, 0, dimension, width)
        + kernel_mean(2 * spread**2, 0, dimension, width)
        - 2 * kernel_mean(1 + spread**2, shift, dimension, width)
    )
    mean = np.full(dimension, shift / np.sqrt(dimension))
    found = [
        mmd2(
            rng.normal(size=(300, dimension)),
            rng.normal(mean, spread, (200, dimension)),
            bandwidth=width,
        )
        for _ in range(60)
    ]
    assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / np.sqrt(60))
    assert abs(np.mean(found) - exact) < 0.1 * exact


def test_it_is_without_bias():
    rng = np.random.default_rng(0)
    found = np.array([mmd2(*rng.normal(size=(2, 20, 2))) for _ in range(400)])
    assert abs(found.mean()) < 4 * found.std() / 20
    assert found.min() < 0 < found.max()


def test_the_bandwidth_is_the_median_distance_of_the_reference(monkeypatch):
    reference = np.random.default_rng(0).normal(size=(41, 3))
    exact = np.sort(pdist(reference))[(41 * 40 // 2 - 1) // 2]
    monkeypatch.setattr(_discrepancy, "BLOCK", 200)
    assert _discrepancy._median_distance(reference) == pytest.approx(exact, rel=1e-6)
    draws = reference[:30] + 1
    assert mmd2(reference, draws) == pytest.approx(
        mmd2(reference, draws, bandwidth=exact), rel=1e-5
    )


@pytest.mark.parametrize("block", [1, 100, 1_000, 1 << 22])
def test_the_size_of_blocks_changes_nothing(monkeypatch, block):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(57, 2)), rng.normal(1, 1, (43, 2))
    whole = mmd2(x, y)
    monkeypatch.setattr(_discrepancy, "BLOCK", block)
    assert mmd2(x, y) == pytest.approx(whole, rel=1e-9)


def test_moving_and_turning_both_and_swapping_them_changes_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 2)), rng.normal(1, 2, (60, 2))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert mmd2(3 * x @ turn + 7, 3 * y @ turn + 7) == pytest.approx(mmd2(x, y), rel=1e-5)
    assert mmd2(x, y, bandwidth=1.5) == pytest.approx(mmd2(y, x, bandwidth=1.5))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="same D parameters"):
        mmd2(np.zeros((5, 2)), np.zeros((5, 1)))
    with pytest.raises(ValueError, match="not positive"):
        mmd2(np.zeros((5, 2)), np.zeros((5, 2)))
