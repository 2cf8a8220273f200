"""Linear regression: sets of any size, the exact posterior against a grid, and the config against
the exact posterior."""

import numpy as np
import pytest
from scipy.stats import norm

from tests.c2st import c2st
from tests.simulators.loaded import alone, simulator, trained

regression = simulator("linear_regression")


def one_set(n, seed=0):
    rng = np.random.default_rng(seed)
    (u, sizes), (y, _) = regression.simulate(
        rng.normal(size=1), rng.normal(size=1), np.array([n]), rng=rng
    ).values()
    return {"u": u[0, : sizes[0]], "y": y[0, : sizes[0]]}


def test_sizes_and_moments():
    rng, n = np.random.default_rng(0), 20_000
    (u, sizes), (y, also) = regression.simulate(
        np.full(n, 2.0), np.full(n, -1.0), np.arange(n) % 4 + 5.0, rng=rng
    ).values()
    assert (
        (sizes == np.arange(n) % 4 + 5).all()
        and (also == sizes).all()
        and u.shape == y.shape == (n, 8)
    )
    assert np.abs(u).max() <= 3 and u.var() == pytest.approx(3, rel=0.01)
    residual = y - (2 - u)
    assert residual.mean() == pytest.approx(0, abs=0.01) and residual.var() == pytest.approx(
        1, abs=0.02
    )
    assert abs(np.corrcoef(residual.ravel(), u.ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("n", [1, 5, 30])
def test_exact_posterior_is_that_of_a_grid(n):
    x = one_set(n, seed=n)
    grid = np.linspace(-5, 5, 801)
    intercept, slope = np.meshgrid(grid, grid, indexing="ij")
    likelihood = sum(
        norm.logpdf(y, intercept + slope * u) for u, y in zip(x["u"], x["y"], strict=True)
    )
    log = norm.logpdf(intercept) + norm.logpdf(slope) + likelihood
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = np.array([(weight * intercept).sum(), (weight * slope).sum()])
    apart = np.stack([intercept - mean[0], slope - mean[1]])
    covariance = np.einsum("iab,jab,ab->ij", apart, apart, weight)
    found = regression.exact(x)
    assert found[0] == pytest.approx(mean, abs=1e-3) and found[1] == pytest.approx(
        covariance, abs=1e-3
    )


@pytest.mark.slow
def test_c2st_of_the_config(tmp_path, recorder):
    posterior, rng, scores = (
        trained("linear_regression", tmp_path, recorder),
        np.random.default_rng(7),
        [],
    )
    for n in (5, 10, 20, 35, 50):
        x = one_set(n, seed=n)
        scores.append(
            c2st(regression.posterior(x, 10_000, rng), posterior.sample(alone(**x), 10_000, rng)[0])
        )
    print("linear_regression: C2ST", np.round(scores, 3), "mean", np.mean(scores).round(3))
    assert np.mean(scores) < 0.55
