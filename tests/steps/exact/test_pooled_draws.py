"""Draws of a pool against closed forms: a network that is too wide, shifted, or misses a mode's
weight, and a likelihood that is exact.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_normal, multivariate_t

from sbiwb.contracts import Silent, Target
from sbiwb.pareto import importance_weights
from sbiwb.steps.exact.pooled_draws import TAIL_DF, FittedProposal, pooled_draws

LOG_EVIDENCE = -7.0


@dataclass(frozen=True)
class Normal:
    """A network whose posterior is N(mean, sd²) in D dimensions."""

    mean: np.ndarray
    sd: float

    def sample(self, n, rng):
        return self.mean + self.sd * rng.standard_normal((n, len(self.mean)))

    def log_prob(self, z):
        return multivariate_normal(self.mean, self.sd**2).logpdf(z)


def target_of(log_density, network):
    return Target(
        columns=tuple(f"z{i}" for i in range(len(network.mean))),
        log_density=lambda z: torch.from_numpy(log_density(z.numpy()) + LOG_EVIDENCE),
        theta=lambda z: z,
        z=lambda z: z,
        prior=network.sample,
        amortized=network,
    )


def pooled(log_density, network, seed=0, share=1.0, draws=2_000):
    rng = np.random.default_rng(seed)
    return pooled_draws(target_of(log_density, network), share, draws, rng, Silent())


def test_a_network_that_is_far_too_wide_is_narrowed_by_few_proposals():
    """In three dimensions 15 times as wide: of its own draws one in 3,000 counts."""
    exact = multivariate_normal(np.full(3, 0.5), 0.1**2)
    found = pooled(exact.logpdf, Normal(np.zeros(3), 1.5))
    assert found.proposals <= 80_000
    assert found.efficiency > 0.1
    assert (found.share, found.pareto_k < 0.7) == (1.0, True)
    assert found.log_evidence == pytest.approx(LOG_EVIDENCE, abs=0.05)
    for column in found.theta.T:
        assert kstest((column - 0.5) / 0.1, "norm").pvalue > 1e-3


def test_weights_are_those_of_the_mixture_over_many_seeds():
    """The evidence is right on average, which weights by the wrong density are not."""
    exact = multivariate_normal(np.full(2, 1.0), 0.2**2)
    network = Normal(np.zeros(2), 1.0)
    found = [pooled(exact.logpdf, network, seed, draws=500) for seed in range(30)]
    ratio = np.exp([one.log_evidence - LOG_EVIDENCE for one in found])
    assert ratio.mean() == pytest.approx(1, abs=4 * ratio.std() / np.sqrt(len(ratio)) + 1e-3)
    assert all(one.proposals > 2_500 for one in found)


def test_a_second_mode_keeps_its_weight():
    """What is fitted to both modes lies between them; the network's own draws are not given up."""

    def log_density(z):
        near = multivariate_normal([-3.0, 0.0], 0.15**2).logpdf(z) + np.log(0.3)
        far = multivariate_normal([3.0, 0.0], 0.15**2).logpdf(z) + np.log(0.7)
        return logsumexp([near, far], axis=0)

    found = pooled(log_density, Normal(np.zeros(2), 2.5))
    assert (found.theta[:, 0] > 0).mean() == pytest.approx(0.7, abs=0.05)
    assert found.log_evidence == pytest.approx(LOG_EVIDENCE, abs=0.1)


def test_a_share_pools_network_and_likelihood():
    """N(0, 1) and N(m, s²) with a half each: precision (1 + 1/s²) / 2."""
    exact = multivariate_normal([2.0], 0.25**2)
    found = pooled(exact.logpdf, Normal(np.zeros(1), 1.0), share=0.5, draws=4_000)
    precision = 0.5 * (1 + 1 / 0.25**2)
    mean = 0.5 * 2.0 / 0.25**2 / precision
    assert found.share == 0.5
    assert found.theta.mean() == pytest.approx(mean, abs=0.03)
    assert found.theta.std() == pytest.approx(precision**-0.5, rel=0.06)


def test_a_network_that_is_right_is_not_given_up():
    found = pooled(multivariate_normal(np.zeros(2), 1.0).logpdf, Normal(np.zeros(2), 1.0))
    assert (found.proposals, found.efficiency) == (10_000, pytest.approx(1.0))


def test_what_is_fitted_is_as_wide_as_the_weighed_draws():
    rng = np.random.default_rng(1)
    z = 3 * rng.standard_normal((20_000, 2))
    weights = importance_weights(-0.5 * (z**2).sum(1), -0.5 * (z**2).sum(1) / 9)
    fitted = FittedProposal.to(z, weights)
    assert fitted is not None
    assert fitted.root @ fitted.root.T == pytest.approx(np.eye(2), abs=0.06)
    draws = fitted.sample(5, rng)
    law = multivariate_t(fitted.mean, fitted.root @ fitted.root.T, df=TAIL_DF)
    assert fitted.log_prob(draws) == pytest.approx(law.logpdf(draws))
    wide = fitted.sample(50_000, rng)
    assert np.cov(wide.T) == pytest.approx(np.eye(2) * TAIL_DF / (TAIL_DF - 2), abs=0.2)
    few = importance_weights(np.append(0.0, np.full(99, -50.0)), np.zeros(100))
    assert FittedProposal.to(z[:100], few) is None
