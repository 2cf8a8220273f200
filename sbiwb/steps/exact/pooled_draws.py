"""Draws of posterior network and learned likelihood together, by importance weights.

    w = (p(theta) l(x | theta) / q(theta | x))^a

with a as the validation pairs have it; less where the weights of a data set cannot be trusted.
Where the draws of the network are not enough, most further ones are of a t distribution fitted to
those that count, and all are weighed as draws of the mixture.

References:
    Owen & Zhou (2000), Safe and Effective Importance Sampling,
        https://doi.org/10.1080/01621459.2000.10473909
    Cornuet, Marin, Mira & Robert (2012), Adaptive Multiple Importance Sampling,
        https://arxiv.org/abs/0907.1254
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, reduce

import numpy as np
import torch
from scipy.stats import multivariate_t

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
TAIL_DF = 5  # of what is fitted to weighed draws
MIN_FIT_DRAWS = 10  # effective ones for each column
FITTED_SHARE = 0.8  # of further draws; the others keep to the network, which knows other modes


@dataclass(frozen=True)
class FittedProposal:
    """A multivariate t of `TAIL_DF` degrees of freedom, as wide as weighed draws.

    Args:
        mean: (D,).
        root: Lower Cholesky factor of its scale, (D, D).
        count: Draws that were made of it.
    """

    mean: np.ndarray
    root: np.ndarray
    count: int = 0

    @classmethod
    def to(cls, z: np.ndarray, weights: Weights) -> FittedProposal | None:
        """Fitted to draws (S, D); None where too few of them count."""
        d = z.shape[1]
        if weights.ess < MIN_FIT_DRAWS * d:
            return None
        share = np.exp(weights.log_weights - weights.log_weights.max())
        share /= share.sum()
        mean = share @ z
        covariance = (share[:, None] * (z - mean)).T @ (z - mean)
        ridge = 1e-9 * np.trace(covariance) / d
        return cls(mean, np.linalg.cholesky(covariance + ridge * np.eye(d)))

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws (S, D)."""
        normal = rng.standard_normal((count, len(self.mean)))
        scale = np.sqrt(TAIL_DF / rng.chisquare(TAIL_DF, (count, 1)))
        return self.mean + scale * normal @ self.root.T

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """At z (S, D), (S,)."""
        law = multivariate_t(self.mean, self.root @ self.root.T, df=TAIL_DF)
        return np.atleast_1d(law.logpdf(z))


@dataclass(frozen=True)
class WeighedProposals:
    """Draws of the posterior network, and of what was fitted to them, weighed by the learned
    likelihood as draws of the mixture of all of these [Owen & Zhou 2000; Cornuet et al. 2012].

    Args:
        z: (S, D).
        log_density: log p(z) + log l(x | z), (S,).
        log_network: log q(z), (S,).
        fitted: What part of the draws are of.
    """

    z: np.ndarray
    log_density: np.ndarray
    log_network: np.ndarray
    fitted: tuple[FittedProposal, ...] = ()

    @cached_property
    def log_proposal(self) -> np.ndarray:
        """Log density of the mixture, (S,)."""
        counts = [one.count for one in self.fitted]
        parts = [np.log(len(self.z) - sum(counts)) + self.log_network]
        for one in self.fitted:
            parts.append(np.log(one.count) + one.log_prob(self.z))
        return np.asarray(np.logaddexp.reduce(parts) - np.log(len(self.z)))

    def weights(self, share: float) -> Weights:
        """Of the pool with this share of the likelihood."""
        parts = ((share, self.log_density), (1 - share, self.log_network))
        log_density = sum((part * values for part, values in parts if part), np.zeros(len(self.z)))
        return importance_weights(log_density, self.log_proposal)

    def joined(self, other: WeighedProposals) -> WeighedProposals:
        """Both end to end."""
        return WeighedProposals(
            np.concatenate([self.z, other.z]),
            np.concatenate([self.log_density, other.log_density]),
            np.concatenate([self.log_network, other.log_network]),
            (*self.fitted, *other.fitted),
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
    target: Target,
    count: int,
    rng: np.random.Generator,
    reporter: Reporter,
    fitted: FittedProposal | None = None,
) -> WeighedProposals:
    """`count` draws with their densities: of the amortized posterior, and the most of them of what
    was fitted to earlier ones, if anything.

    Raises:
        DataError: Nothing is trained.
    """
    proposal = target.amortized
    if proposal is None:
        raise DataError("there is no amortized posterior to draw from", where="pool")
    parts, drawn = list[WeighedProposals](), 0
    with reporter.task("weigh draws", count, unit="draws") as ticker:
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            of_fitted = round(FITTED_SHARE * size) if fitted is not None else 0
            z = np.ascontiguousarray(proposal.sample(size - of_fitted, rng), np.float64)
            if fitted is not None:
                z = np.concatenate([z, fitted.sample(of_fitted, rng)])
                drawn += of_fitted
            with torch.no_grad():
                log_density = target.log_density(torch.from_numpy(z)).numpy()
            parts.append(WeighedProposals(z, log_density, proposal.log_prob(z)))
            ticker.advance(size)
    weighed = reduce(WeighedProposals.joined, parts)
    if fitted is None:
        return weighed
    return replace(weighed, fitted=(replace(fitted, count=drawn),))


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
    while len(weighed.z) < most and (
        own < share or weights.ess < ess or is_distorted(weights, draws)
    ):
        wanted = len(weighed.z)
        if weights.ess < ess:
            wanted = max(CHUNK, int(1.1 * wanted * (ess / max(weights.ess, 1.0) - 1)))
        more = min(wanted, most - len(weighed.z))
        fitted = FittedProposal.to(weighed.z, weights)
        weighed = weighed.joined(weigh(target, more, rng, reporter, fitted))
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
