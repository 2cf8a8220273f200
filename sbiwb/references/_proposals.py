"""Proposals on z: normal distributions made from a target, which variational inference begins with,
too; and what a target gives them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from sbiwb.contracts import Proposal, Target
from sbiwb.references._start import Start, density, starts

MEASURED = 4_000  # draws that give mean and covariance
CHUNK = 10_000  # proposals evaluated at once


@dataclass(frozen=True)
class NormalProposal:
    """N(mean, L L^T), a `Proposal`.

    Args:
        mean: (D,).
        scale: L, lower triangular, (D, D).
    """

    mean: np.ndarray
    scale: np.ndarray

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n draws z, (n, D)."""
        return self.place(rng.standard_normal((n, len(self.mean))))

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Log-density of z (N, D), (N,)."""
        return -0.5 * (self.noise(z) ** 2 + math.log(2 * math.pi)).sum(1) - self.log_volume

    def place(self, noise: np.ndarray) -> np.ndarray:
        """mean + L noise, (N, D)."""
        return self.mean + noise @ self.scale.T

    def noise(self, z: np.ndarray) -> np.ndarray:
        """The way back."""
        return solve_triangular(self.scale, (z - self.mean).T, lower=True).T

    @property
    def log_volume(self) -> float:
        """Log-determinant of L."""
        return float(np.log(np.diag(self.scale)).sum())


def normal_of(target: Target, start: Start, rng: np.random.Generator) -> NormalProposal:
    """Mean and covariance of many starting points: of the prior, of the amortized posterior, or
    around the mode, 1.5 times as wide.

    Raises:
        DataError: There is no amortized posterior, or hardly a point has a finite density.
    """
    z = starts(target, start, MEASURED, rng)
    return NormalProposal(z.mean(0), np.linalg.cholesky(np.atleast_2d(np.cov(z.T))))


def independent(normal: NormalProposal) -> NormalProposal:
    """The same mean and standard deviations, no correlation."""
    return NormalProposal(normal.mean, np.diag(np.linalg.norm(normal.scale, axis=1)))


def weighted(
    target: Target, proposal: Proposal, n: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """n proposals in chunks of N: z (N, D), log p(z) (N,) and log q(z) (N,)."""
    for first in range(0, n, CHUNK):
        z = np.ascontiguousarray(proposal.sample(min(CHUNK, n - first), rng), np.float64)
        yield z, density(target, z), proposal.log_prob(z)
