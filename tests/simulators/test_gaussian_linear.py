"""Gaussian linear: moments of the data, the exact posterior against Bayes' rule, and the config
against the exact posterior."""

import numpy as np
import pytest
from scipy.stats import norm

from tests.c2st import c2st
from tests.simulators.loaded import alone, simulator, trained

gaussian_linear = simulator("gaussian_linear")


def test_noise_has_variance_a_tenth():
    theta = np.tile([0.5, 0.0, -0.5], (100_000, 1))
    x = gaussian_linear.simulate(theta, rng=np.random.default_rng(0))["x"]
    assert x.mean(0) == pytest.approx([0.5, 0, -0.5], abs=0.005)
    assert np.cov(x.T) == pytest.approx(0.1 * np.eye(3), abs=0.003)


def test_exact_posterior_is_prior_times_likelihood():
    grid, sd = np.linspace(-2, 2, 2001), np.sqrt(0.1)
    density = norm.pdf(grid, 0, sd) * norm.pdf(0.6, grid, sd)
    density /= density.sum()
    mean = density @ grid
    draws = gaussian_linear.posterior({"x": np.full(10, 0.6)}, 50_000, np.random.default_rng(0))
    assert draws.mean(0) == pytest.approx(np.full(10, mean), abs=0.005)
    assert np.cov(draws.T) == pytest.approx(density @ (grid - mean) ** 2 * np.eye(10), abs=0.003)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_c2st_of_the_config(tmp_path, recorder):
    """2,500 draws a side instead of 10,000, for a classifier in ten dimensions takes three minutes
    on those."""
    posterior, rng = trained("gaussian_linear", tmp_path, recorder), np.random.default_rng(7)
    x = gaussian_linear.simulate(rng.normal(0, np.sqrt(0.1), (5, 10)), rng=rng)["x"]
    pairs = [
        (
            gaussian_linear.posterior({"x": one}, 2_500, rng),
            posterior.sample(alone(x=one), 2_500, rng)[0],
        )
        for one in x
    ]
    scores = [c2st(*pair) for pair in pairs]
    print("gaussian_linear: C2ST", np.round(scores, 3), "mean", np.mean(scores).round(3))
    assert np.mean(scores) < 0.55
    assert all(
        np.abs(draws.mean(0) - exact.mean(0)).max() < 0.25 * np.sqrt(0.05) for exact, draws in pairs
    )
