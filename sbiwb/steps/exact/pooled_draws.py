"""Draws of posterior network and learned likelihood together, by importance weights.

    w = (p(theta) l(x | theta) / q(theta | x))^a

with a as the validation pairs have it; less where the weights of a data set cannot be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch

from sbiwb.contracts import Reporter, Target
from sbiwb.errors import DataError
from sbiwb.pareto import (
    TRUSTED_K,
    Weights,
    distortion,
    importance_weights,
    resample,
)

CHUNK = 10_000  # proposals at once
PROPOSALS_PER_DRAW, MAX_PER_DRAW = 5, 40
MAX_DISTORTION = 0.02  # of the weight, that drawing without replacement may move
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class WeighedProposals:
    """Draws of the posterior network, weighed by the learned likelihood.

    Args:
        z: (S, D).
        log_density: log p(z) + log l(x | z), (S,).
        log_proposal: log q(z), (S,).
    """

    z: np.ndarray
    log_density: np.ndarray
    log_proposal: np.ndarray

    def weights(self, share: float) -> Weights:
        """Of the pool with this share of the likelihood."""
        log_density = share * self.log_density + (1 - share) * self.log_proposal
        return importance_weights(log_density, self.log_proposal)

    def joined(self, other: WeighedProposals) -> WeighedProposals:
        """Both end to end."""
        return WeighedProposals(
            np.concatenate([self.z, other.z]),
            np.concatenate([self.log_density, other.log_density]),
            np.concatenate([self.log_proposal, other.log_proposal]),
        )


@dataclass(frozen=True)
class PooledDraws:
    """Draws of the pool, and what they are worth.

    Args:
        theta: (S, D), in the user's units.
        share: Of the likelihood, a.
        pareto_k: Of the weights under a.
        ess: Effective number of the proposals under a.
        proposals: How many were weighed.
        log_evidence: By a = 1.
        log_evidence_error: Its standard error.
        evidence_k: Pareto k of the weights it is made of; above 0.7 it is worth nothing.
    """

    theta: np.ndarray
    share: float
    pareto_k: float
    ess: float
    proposals: int
    log_evidence: float
    log_evidence_error: float
    evidence_k: float

    @property
    def efficiency(self) -> float:
        return self.ess / self.proposals


def weigh(
    target: Target, count: int, rng: np.random.Generator, reporter: Reporter
) -> WeighedProposals:
    """`count` draws of the amortized posterior with their densities.

    Raises:
        DataError: Nothing is trained.
    """
    proposal = target.amortized
    if proposal is None:
        raise DataError("there is no amortized posterior to draw from", where="pool")
    parts = []
    with reporter.task("weigh draws", count, unit="draws") as ticker:
        for start in range(0, count, CHUNK):
            z = np.ascontiguousarray(proposal.sample(min(CHUNK, count - start), rng), np.float64)
            with torch.no_grad():
                log_density = target.log_density(torch.from_numpy(z)).numpy()
            parts.append(WeighedProposals(z, log_density, proposal.log_prob(z)))
            ticker.advance(len(z))
    return reduce(WeighedProposals.joined, parts)


def pooled_draws(
    target: Target,
    share: float,
    draws: int,
    rng: np.random.Generator,
    reporter: Reporter,
    *,
    ess: int = 0,
    most: int = 0,
) -> PooledDraws:
    """Draws of the pool, none of them twice.

    Args:
        target: The posterior by the learned likelihood, with the network's as its proposal.
        share: a, of the likelihood.
        draws: How many.
        rng: Source of all random numbers.
        reporter: Where progress goes.
        ess: Effective draws wanted, beside as many as let all draws be distinct.
        most: Proposals at most; 0: 40 for each draw.

    Raises:
        DataError: Nothing is trained, or hardly a draw is possible.
    """
    most = most or MAX_PER_DRAW * draws
    weighed = weigh(target, PROPOSALS_PER_DRAW * draws, rng, reporter)
    weights, own = _trusted(weighed, share)
    while len(weighed.z) < most and (weights.ess < ess or is_distorted(weights, draws)):
        wanted = len(weighed.z)
        if weights.ess < ess:
            wanted = max(CHUNK, int(1.1 * wanted * (ess / max(weights.ess, 1.0) - 1)))
        more = min(wanted, most - len(weighed.z))
        weighed = weighed.joined(weigh(target, more, rng, reporter))
        weights, own = _trusted(weighed, share)
    exact = weighed.weights(1.0)
    chosen = resample(weighed.z, weights.log_weights, draws, rng)
    return PooledDraws(
        theta=target.theta(chosen),
        share=own,
        pareto_k=weights.pareto_k,
        ess=weights.ess,
        proposals=len(weighed.z),
        log_evidence=exact.log_integral,
        log_evidence_error=exact.log_integral_error,
        evidence_k=exact.pareto_k,
    )


def is_distorted(weights: Weights, draws: int) -> bool:
    """Whether so many draws without replacement move too much of the weight."""
    return distortion(weights.log_weights, draws) > MAX_DISTORTION


def _trusted(weighed: WeighedProposals, share: float) -> tuple[Weights, float]:
    """The weights of the largest share up to this one that can be trusted."""
    weights = weighed.weights(share)
    while weights.pareto_k > TRUSTED_K and share > LEAST_SHARE:
        share *= 0.8
        weights = weighed.weights(share)
    return weights, share
