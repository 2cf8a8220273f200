"""Test posteriors with a known truth: theta* and draws from Normal(m, s), given m, the draws' sd
and mean set right or wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm

from sbiwb.evidence import Draws, Quantity

PRIOR_SD = 1.25**0.5


def normal(n: int, s: int, d: int, seed: int, *, sd: float = 1.0, shift: float = 0.0) -> Draws:
    """Draws from a posterior whose sd is off by the factor `sd` and whose mean by `shift` sds."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((n, d))
    theta = centre + 0.5 * rng.standard_normal((n, d))
    cloud = centre[:, None] + 0.5 * (shift + sd * rng.standard_normal((n, s, d)))
    return Draws(names_of(d), theta, cloud, np.full(d, 1.25), seed=seed)


def full(
    n: int, s: int, d: int, seed: int, *, sd: float = 1.0, shift: float = 0.0, prior: bool = False
) -> Draws:
    """The same with everything else that draws may carry; with `prior` the posterior is the prior,
    whatever the data."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((n, d))
    theta = centre + 0.5 * rng.standard_normal((n, d))
    mean, width = (np.zeros((n, d)), PRIOR_SD) if prior else (centre + 0.5 * shift, 0.5 * sd)
    cloud = mean[:, None] + width * rng.standard_normal((n, s, d))
    return Draws(
        names_of(d),
        theta,
        cloud,
        np.full(d, PRIOR_SD**2),
        log_prob_theta=norm.logpdf(theta, mean, width).sum(axis=-1),
        log_prob_draws=norm.logpdf(cloud, mean[:, None], width).sum(axis=-1),
        context={"design": rng.integers(0, 3, n).astype(float)},
        leaked=np.zeros(d),
        seed=seed,
        sizes={"x": rng.integers(5, 50, n)},
        quantities={"total": Quantity(theta.sum(axis=-1), cloud.sum(axis=-1))},
        prior_draws=PRIOR_SD * rng.standard_normal((1000, d)),
        unconstrain=standardise,
        ridge_prediction=centre / PRIOR_SD,
    )


def with_levels(n: int, s: int, probability: np.ndarray, seed: int, *, sharpen: float = 1) -> Draws:
    """One discrete column `k` whose posterior is that of the truth, or surer of it by a power.

    Args:
        n: Test pairs, which have one of the given posteriors each.
        s: Draws.
        probability: Of each of K levels, 2, 4, ... in each of P posteriors, (P, K).
        seed: Of everything.
        sharpen: Power of the probabilities that are drawn from.
    """
    rng = np.random.default_rng(seed)
    exact = probability[rng.integers(len(probability), size=n)]
    said = exact**sharpen / (exact**sharpen).sum(axis=1, keepdims=True)
    levels = 2.0 * np.arange(1, probability.shape[1] + 1)
    truth = np.array([rng.choice(levels, p=row) for row in exact])
    cloud = np.array([rng.choice(levels, size=s, p=row) for row in said])
    variance = np.array([truth.var()])
    return Draws(
        ("k",), truth[:, None], cloud[:, :, None], variance, seed=seed, levels={"k": levels}
    )


def standardise(theta: np.ndarray) -> np.ndarray:
    """theta (n, D) to z, standard normal under the prior."""
    return theta / PRIOR_SD


def normal_ranks(
    n: int, s: int, d: int, seed: int, *, sd: float = 1.0, shift: float = 0.0
) -> Draws:
    """Draws with the same ranks in distribution, a hundred times faster: the rank is Binomial(S,
    P(draw < theta*))."""
    rng = np.random.default_rng(seed)
    below = ndtr((rng.standard_normal((n, d)) - shift) / sd)
    return with_ranks(rng.binomial(s, below), s, seed=seed)


def with_ranks(ranks: np.ndarray, s: int, *, seed: int = 0) -> Draws:
    """Draws 0..S-1 in every pair and the theta that has the given ranks (N, D) among them."""
    n, d = ranks.shape
    cloud = np.broadcast_to(np.arange(s, dtype=float)[None, :, None], (n, s, d))
    return Draws(names_of(d), ranks - 0.5, cloud, np.full(d, s**2 / 12), seed=seed)


def names_of(d: int) -> tuple[str, ...]:
    return tuple(f"theta_{j}" for j in range(d))


def by_name(values: Sequence, name: str) -> list:
    return [value for value in values if value.name == name]
