"""SLCP: the data have the mean and covariance that theta says, and the density is theirs."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from tests.simulators.loaded import simulator

slcp = simulator("slcp")
THETA = np.array([1.0, -0.5, 1.2, -0.8, 0.6])
COVARIANCE = np.array(
    [[1.44**2, np.tanh(0.6) * 1.44 * 0.64], [np.tanh(0.6) * 1.44 * 0.64, 0.64**2]]
)


def log_likelihood(x, theta):
    return slcp.log_likelihood({"x": torch.from_numpy(x)}, theta=torch.from_numpy(theta)).numpy()


def test_moments():
    points = slcp.simulate(np.tile(THETA, (50_000, 1)), rng=np.random.default_rng(0))["x"].reshape(
        -1, 2
    )
    assert points.mean(0) == pytest.approx(THETA[:2], abs=0.01)
    assert np.cov(points.T) == pytest.approx(COVARIANCE, abs=0.02)


def test_log_likelihood_is_of_four_normal_points_whatever_the_signs():
    x = slcp.simulate(THETA[None], rng=np.random.default_rng(1))["x"][0]
    expected = multivariate_normal(THETA[:2], COVARIANCE).logpdf(x.reshape(4, 2)).sum()
    assert log_likelihood(x, THETA * [[1, 1, 1, 1, 1], [1, 1, -1, -1, 1]]) == pytest.approx(
        [expected, expected]
    )


def test_correlation_of_nearly_one_stays_finite():
    theta = np.array([[0.0, 0.0, 1.0, 1.0, 3.0]])
    x = slcp.simulate(theta, rng=np.random.default_rng(2))["x"]
    assert np.isfinite(log_likelihood(x[0], theta)).all()
