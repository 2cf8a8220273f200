r"""Self-consistency: posterior and likelihood obey Bayes' rule at every theta, or contradict each
other.

    c(theta) = log p(theta) + log l(x | theta) - log q(theta | x)

is the same for every theta, and the log evidence. How much it varies over draws of q(. | x) at one
data set says how far the two contradict each other there, and needs no truth; held against the
same spread at test pairs, it is a test of the posterior at that data set.

Where both networks are only nearly right, a pool of them is better than either. With

    p_a(theta | x) ∝ q(theta | x)^(1 - a) (p(theta) l(x | theta))^a

the share a is chosen by how well the true theta of a pair is told from draws of q by the weights
exp(a c):

    gain(a) = mean log [ (S + 1) exp(a c*) / (exp(a c*) + sum_s exp(a c_s)) ],

which is 0 for a = 0, and a lower bound on the nats by which the pool beats q.

Shapes: N pairs, S draws of each.

References:
    Schmitt, Ivanova, Habermann, Köthe, Bürkner & Radev (2024), Leveraging Self-Consistency for
        Data-Efficient Amortized Bayesian Inference, https://arxiv.org/abs/2310.04395
    Genest & Zidek (1986), Combining Probability Distributions,
        https://doi.org/10.1214/ss/1177013825
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

GRID = np.linspace(0.0, 1.0, 21)  # of a
LEAST = -1e4  # nats that a draw may lie below the largest; beyond, it is as good as impossible


def spreads(c: np.ndarray) -> np.ndarray:
    """How much c (N, S) varies over the draws of each data set, (N,), in nats.

    The standard deviation of what lies between the 1 % and 99 % quantiles, beyond which values
    count as these, so that a single draw in a tail does not decide.
    """
    low, high = np.quantile(c, [0.01, 0.99], axis=1, keepdims=True)
    return np.clip(c, low, high).std(axis=1, ddof=1)


def p_values(observed: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Chance of a spread as large as each of `observed` (N,), by the spreads `usual` of test pairs;
    exact where data set and test pairs are alike, whatever the networks are."""
    above = (usual[None] >= observed[:, None]).sum(1)
    return (1 + above) / (1 + len(usual))


def gains(c_true: np.ndarray, c_draws: np.ndarray) -> np.ndarray:
    """gain(a) of each pair on `GRID`, (N, A), of c at the true theta (N,) and at draws (N, S)."""
    together = np.concatenate([c_true[:, None], c_draws], axis=1)
    together = np.maximum(together - together.max(1, keepdims=True), LEAST)
    count = together.shape[1]
    each = [a * together[:, 0] - logsumexp(a * together, axis=1) + np.log(count) for a in GRID]
    return np.stack(each, axis=1)


@dataclass(frozen=True)
class Pool:
    """How much of the learned likelihood the pooled posterior takes.

    Args:
        share: a.
        gain: Nats a pair over the posterior alone.
        error: Its standard error.
    """

    share: float
    gain: float
    error: float


def best_pool(c_true: np.ndarray, c_draws: np.ndarray) -> Pool:
    """The share of the largest mean gain."""
    by_share = gains(c_true, c_draws)
    best = int(by_share.mean(0).argmax())
    own = by_share[:, best]
    error = float(own.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else 0.0
    return Pool(float(GRID[best]), float(own.mean()), error)
