r"""Random-walk Metropolis: all chains at once, for any density that can be computed.

A proposal $z' = z + s L \epsilon$ is taken with probability $\min(1, p(z') / p(z))$. In the
warm-up, $L L^T$ becomes the covariance of all chains together and s is tuned to an acceptance of
0.234 (0.44 in one dimension); both are fixed afterwards, as a chain that keeps adapting need not
have the right limit.

Warning: draws of a random walk are correlated over about 3 D iterations at best, so thin is 5 D by
default (at least 10). A random walk seldom leaves a mode: start from the prior with several chains,
and R-hat shows when they sit in different ones.

References:
    Metropolis, Rosenbluth, Rosenbluth, Teller & Teller 1953, https://doi.org/10.1063/1.1699114
    Roberts, Gelman & Gilks 1997 (0.234), https://doi.org/10.1214/aoap/1034625254
    Haario, Saksman & Tamminen 2001 (covariance), https://doi.org/10.2307/3318737
    Andrieu & Thoms 2008 (scale by stochastic approximation),
        https://doi.org/10.1007/s11222-008-9110-y
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import Reference, Reporter, Target, TargetNeed
from sbiwb.families import Count
from sbiwb.references._chains import (
    ChainProgress,
    MarkovChain,
    acceptance_warning,
    joined,
    progress,
)
from sbiwb.references._start import density, starts

EDGES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""Parts of the warm-up at whose ends the covariance is learned anew."""

DECAY = 0.6  # of the stochastic approximation's gain
ACCEPTANCE_OK = 0.1, 0.8


class Config(MarkovChain):
    """Options of the random walk."""

    needs: ClassVar[TargetNeed] = "density"

    chains: Count = Field(
        16, ge=1, le=10_000, description="Chains, which walk side by side as one batch."
    )
    warmup: Count = Field(
        2000, ge=0, description="Iterations that are thrown away, in which the proposal is tuned."
    )
    step: float | None = Field(
        None, gt=0, description="Standard deviation of the proposal in z, then not tuned."
    )

    def run(
        self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Reference:
        """`draws` draws, chain by chain; facts: `acceptance` and `step`, the proposal's root mean
        square sd over the columns of z."""
        walk = _Walk(target, starts(target, self.start, self.chains, rng), rng)
        d, length = walk.z.shape[1], -(-draws // self.chains)
        thin = self.thin or max(10, 5 * d)
        with progress(reporter, "metropolis", self.warmup + length * thin) as line:
            factor = self._warmed(walk, line)
            kept, acceptance = _walked(walk, factor, length, thin, line)
        step = float(np.sqrt(np.trace(factor @ factor.T) / d))
        warnings = acceptance_warning(
            acceptance,
            *ACCEPTANCE_OK,
            todo="a smaller step accepts more, a larger one moves farther",
        )
        facts = {"acceptance": acceptance, "step": step}
        return Reference(target.theta(joined(kept, draws)), self.chains, facts, warnings=warnings)

    def _warmed(self, walk: _Walk, line: ChainProgress) -> np.ndarray:
        """The factor (D, D) of the proposal's covariance, after the warm-up."""
        if self.step is None:
            return _tuned(walk, self.warmup, line)
        factor = self.step * np.eye(walk.z.shape[1])
        for _ in range(self.warmup):
            walk.step(factor)
            line.step()
        return factor


class _Walk:
    """C chains where they are now: z (C, D) and their log-density (C,)."""

    def __init__(self, target: Target, z: np.ndarray, rng: np.random.Generator) -> None:
        self.target, self.z, self.rng, self.log_p = target, z, rng, density(target, z)

    def step(self, factor: np.ndarray) -> np.ndarray:
        """One proposal for each chain; returns the probabilities with which they were taken,
        (C,)."""
        proposed = self.z + self.rng.standard_normal(self.z.shape) @ factor.T
        log_p = density(self.target, proposed)
        log_ratio = np.minimum(log_p - self.log_p, 0.0)
        taken = -self.rng.standard_exponential(len(log_p)) < log_ratio
        self.z = np.where(taken[:, None], proposed, self.z)
        self.log_p = np.where(taken, log_p, self.log_p)
        return np.exp(log_ratio)


def _walked(
    walk: _Walk, factor: np.ndarray, length: int, thin: int, line: ChainProgress
) -> tuple[np.ndarray, float]:
    """Every `thin`-th point of each chain, (C, length, D), and the mean acceptance."""
    kept, acceptance = np.empty((len(walk.z), length, walk.z.shape[1])), 0.0
    for i in range(length):
        for _ in range(thin):
            acceptance += walk.step(factor).mean()
            line.step()
        kept[:, i] = walk.z
    return kept, float(acceptance / (length * thin))


def _tuned(walk: _Walk, warmup: int, line: ChainProgress) -> np.ndarray:
    """The factor (D, D) of a proposal that is tuned over `warmup` iterations."""
    tuning = _Tuning.first(walk.z.shape[1])
    edges = {int(edge * warmup) for edge in EDGES} - {0}
    for i in range(1, warmup + 1):
        tuning.follow(walk)
        if i in edges:
            tuning = tuning.with_learned_covariance()
        line.step()
    return tuning.factor


@dataclass
class _Tuning:
    """A proposal between two edges of the warm-up.

    Args:
        shape: L, (D, D).
        scales: log s after each iteration.
        visited: z of all chains after each iteration, (C, D) each.
    """

    shape: np.ndarray
    scales: list[float]
    visited: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def first(cls, d: int) -> _Tuning:
        return cls(np.eye(d), [np.log(2.38 / np.sqrt(d))])

    def follow(self, walk: _Walk) -> None:
        """One iteration, and a scale that accepts more nearly as many as it should."""
        goal = 0.44 if len(self.shape) == 1 else 0.234
        acceptance = walk.step(np.exp(self.scales[-1]) * self.shape).mean()
        self.visited.append(walk.z)
        gain = len(self.visited) ** DECAY
        self.scales.append(self.scales[-1] + (acceptance - goal) / gain)

    def with_learned_covariance(self) -> _Tuning:
        return _Tuning(_factor(np.stack(self.visited)), self.first(len(self.shape)).scales)

    @property
    def factor(self) -> np.ndarray:
        """s L, by the mean of log s over the second half of the iterations."""
        return np.exp(np.mean(self.scales[len(self.scales) // 2 :])) * self.shape


def _factor(visited: np.ndarray) -> np.ndarray:
    """Cholesky factor (D, D) of the covariance of T points of C chains (T, C, D), shrunk to its
    diagonal where the points are few."""
    t, _, d = visited.shape
    covariance = np.atleast_2d(np.cov(visited.reshape(-1, d).T))
    variances = np.diag(np.maximum(np.diag(covariance), 1e-20))
    weight = t / (t + 5 * d)
    return np.linalg.cholesky(weight * covariance + (1 - weight) * variances)
