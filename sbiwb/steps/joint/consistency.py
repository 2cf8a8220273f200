r"""Self-consistency: posterior and likelihood obey Bayes' rule at every theta, or contradict each
other.

    c(theta) = log p(theta) + log l(x | theta) - log q(theta | x)

is the same for every theta, and the log evidence. How much it varies over draws of q(. | x) at one
data set says how far the two contradict each other there, and needs no truth; held against the
same spread at test pairs, it is a test of the posterior at that data set: of level alpha whatever
the networks are, as long as data set and test pairs are alike (`make calibration` has the rates).

The spread is that of the importance weights w = exp(c) / sum exp(c), how far they are from equal:
sqrt(2 KL(w, 1/S)), the standard deviation of c wherever that is normal. The standard deviation
itself would hardly see a posterior that is too narrow, whose draws do not reach where c is large.

Warning:
    A fault at every data set alike is no more at one of them than at test pairs, and not seen. The
    rank of c at the true theta among c at draws sees it: c is a test quantity of theta and x, whose
    ranks are uniform for an exact posterior, however wrong the likelihood [Modrák et al. 2025].

Where both networks are only nearly right, a pool of them is better than either. With

    p_a(theta | x) ∝ q(theta | x)^(1 - a) (p(theta) l(x | theta))^a

the share a is chosen by how well the true theta of a pair is told from draws of q by the weights
exp(a c):

    gain(a) = mean log [ (S + 1) exp(a c*) / (exp(a c*) + sum_s exp(a c_s)) ],

which is 0 for a = 0, tends for many draws to the nats by which the pool beats q, and is at most
those by which the exact posterior does, on average [van den Oord et al. 2018].

Shapes: N pairs, S draws of each.

References:
    Schmitt, Ivanova, Habermann, Köthe, Bürkner & Radev (2024), Leveraging Self-Consistency for
        Data-Efficient Amortized Bayesian Inference, https://arxiv.org/abs/2310.04395
    Genest & Zidek (1986), Combining Probability Distributions,
        https://doi.org/10.1214/ss/1177013825
    Modrák, Moon, Kim, Bürkner, Huurre, Faltejsková, Gelman & Vehtari (2025), Simulation-Based
        Calibration Checking for Bayesian Computation, https://arxiv.org/abs/2211.02383
    van den Oord, Li & Vinyals (2018), Representation Learning with Contrastive Predictive Coding,
        https://arxiv.org/abs/1807.03748
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import entr, logsumexp, softmax

GRID = np.linspace(0.0, 1.0, 21)  # of a
USED = 0.99  # of the draws, by c; the rest count as the largest of these
LARGEST = float(np.finfo(float).max)  # none of a pair may be possible
LEAST = -1e4  # nats that a draw may lie below the largest; beyond, it is as good as impossible


def spreads(c: np.ndarray) -> np.ndarray:
    """How much c (N, S) varies over the draws of each data set, (N,), in nats.

        sqrt(2 [log S - H(w)]),    w = exp(c) / sum exp(c),    H the entropy

    The largest 1 % of c count as the largest below, so that a single draw in a tail does not
    decide; a draw with c = -inf has no weight, however few such there are.

    Warning:
        Not above sqrt(2 log 100) = 3.0, where all weight is on these 1 %, whatever the standard
        deviation of c; sqrt(2 log S) where no other draw is possible.
    """
    largest = np.quantile(c, USED, axis=1, keepdims=True, method="lower")
    none = np.isneginf(largest)
    weights = softmax(np.where(none, 0.0, np.minimum(c, largest)), axis=1)
    entropy = np.where(none[:, 0], 0.0, entr(weights).sum(1))
    return np.sqrt(2 * np.maximum(0.0, np.log(c.shape[1]) - entropy))


def p_values(observed: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Chance of a spread as large as each of `observed` (N,), by the spreads `usual` of test pairs;
    exact where data set and test pairs are alike, whatever the networks are."""
    above = (usual[None] >= observed[:, None]).sum(1)
    return (1 + above) / (1 + len(usual))


def gains(c_true: np.ndarray, c_draws: np.ndarray) -> np.ndarray:
    """gain(a) of each pair on `GRID`, (N, A), of c at the true theta (N,) and at draws (N, S)."""
    together = np.concatenate([c_true[:, None], c_draws], axis=1)
    largest = np.maximum(together.max(1, keepdims=True), -LARGEST)
    together = np.maximum(together - largest, LEAST)
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
