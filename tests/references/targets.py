"""Targets whose posterior and evidence have closed forms, to hold reference methods against."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import multivariate_normal

from sbiwb.contracts import Target

SHIFT, SCALE = (
    1.0,
    2.0,
)  # theta = SHIFT + SCALE z, so that a method that forgets the way back is found out
BANANA_LOG_Z = math.log(6 * math.pi)


class Gaussian:
    """A normal proposal on z, with mean (D,) and covariance (D, D)."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        self.mean, self.covariance = np.asarray(mean, float), np.asarray(covariance, float)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.multivariate_normal(self.mean, self.covariance, n)

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        return np.atleast_1d(multivariate_normal(self.mean, self.covariance).logpdf(z))


def normal(
    mean: Sequence[float] | np.ndarray, covariance: np.ndarray, log_evidence: float = 0.0
) -> Target:
    """theta ~ N(mean, covariance), its density of z = (theta - 1) / 2 multiplied by
    exp(log_evidence); `exact` and `amortized` are exact.

    Args:
        mean: (D,), of theta.
        covariance: (D, D), of theta.
        log_evidence: Log integral of the density over z.
    """
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    exact = Gaussian((mean - SHIFT) / SCALE, covariance / SCALE**2)
    density = torch.distributions.MultivariateNormal(
        torch.tensor(exact.mean), torch.tensor(exact.covariance), validate_args=False
    )
    return Target(
        columns=tuple(f"theta{i}" for i in range(len(mean))),
        log_density=lambda z: density.log_prob(z) + log_evidence,
        theta=lambda z: SHIFT + SCALE * z,
        z=lambda theta: (theta - SHIFT) / SCALE,
        prior=lambda n, rng: rng.standard_normal((n, len(mean))),
        amortized=exact,
        exact=lambda n, rng: rng.multivariate_normal(mean, covariance, n),
    )


def correlated(d: int, rho: float = 0.8) -> np.ndarray:
    """Covariance (D, D): standard deviations from 0.5 to 2, correlations rho^|i - j|."""
    sd = np.linspace(0.5, 2.0, d)
    return np.outer(sd, sd) * rho ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))


def banana() -> Target:
    """exp(-x²/18 - (y - x²/10)²/2) with theta = z = (x, y): log Z = log 6π, E[x] = 0, E[y] = 0.9,
    Var[x] = 9, Var[y] = 2.62."""
    return plain(
        lambda z: -(z[:, 0] ** 2) / 18 - (z[:, 1] - 0.1 * z[:, 0] ** 2) ** 2 / 2,
        ("x", "y"),
        exact=banana_draws,
    )


def banana_draws(n: int, rng: np.random.Generator) -> np.ndarray:
    """n exact draws of the banana, (n, 2)."""
    x = 3 * rng.standard_normal(n)
    return np.stack([x, 0.1 * x**2 + rng.standard_normal(n)], axis=1)


def plain(log_density, columns: tuple[str, ...], **changes) -> Target:
    """A target with theta = z and a standard normal prior on z."""
    parts = {
        "theta": lambda z: z,
        "z": lambda theta: theta,
        "prior": lambda n, rng: rng.standard_normal((n, len(columns))),
        "evidence": False,
    }
    return Target(columns=columns, log_density=log_density, **{**parts, **changes})
