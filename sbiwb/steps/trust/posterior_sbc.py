r"""Posterior SBC: is the network right in the neighbourhood of this very data set?

Simulation-based calibration draws the truth from the prior, and speaks of all data sets. Here it
comes from the posterior of the real data, x_o [Säilynoja et al. 2025]:

    theta_0 ~ q(. | x_o),   x' ~ p(. | theta_0),   theta_1, ..., theta_S ~ q(. | x_o).

With q(. | x_o) as the prior of x', the posterior of x_o and x' together has weights that the
network gives by itself,

    w_s ∝ p(x' | theta_s) ∝ q(theta_s | x') / p(theta_s).

theta_0, ..., theta_S are independent draws of one distribution, one of which made x'. Given x' it
is the s-th with the probability w_s / sum w. So the position of theta_0,

    u = sum of w_s where theta_s < theta_0, and w_0 times a uniform number,    over sum w,

is uniform for every S, whatever q(. | x_o) is, as long as the network is right at x'. It is judged
for every column of theta, and for log w itself, in which all columns count.

Warning:
    What is tested is the network at data sets that the posterior predicts. A posterior that is
    wrong at x_o, and leads to data sets where the network is right, is not found.

References:
    Säilynoja, Schmitt, Bürkner & Vehtari (2025), Posterior SBC: Simulation-Based Calibration
        Checking Conditional on Data, https://arxiv.org/abs/2502.03279
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from sbiwb.diagnostics import uniformity

CELLS = 99  # a position counts as a rank among so many draws


@dataclass(frozen=True)
class PosteriorSBC:
    """Of one data set.

    Args:
        p: Of all columns and the density together, after Bonferroni.
        effect: Largest distance of the positions' distribution from a uniform one, where it is
            least likely.
        column: The column where it is, or `density`.
        replicates: Data sets simulated from the posterior.
    """

    p: float
    effect: float
    column: str
    replicates: int


def positions(theta: np.ndarray, log_weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """u of R replicates, by column and, last, by log w, (R, D + 1).

    Args:
        theta: What made each replicate, first, and the other draws, (R, S + 1, D).
        log_weights: log q(theta | x') - log p(theta) of each, (R, S + 1).
        rng: Of the uniform numbers.
    """
    known = np.where(np.isnan(log_weights), -np.inf, log_weights)
    impossible = np.isneginf(known).all(1, keepdims=True)  # for a network that excludes them all
    weights = np.where(impossible, 0.0, softmax(np.where(impossible, 0.0, known), axis=1))
    quantities = np.concatenate([theta, known[..., None]], axis=2)
    first = quantities[:, :1]
    below = np.einsum("rs,rsd->rd", weights, quantities < first)
    tied = np.einsum("rs,rsd->rd", weights, quantities == first)
    return below + tied * rng.random(below.shape)


def judged(u: np.ndarray, columns: tuple[str, ...]) -> PosteriorSBC:
    """Whether positions (R, D + 1) are uniform."""
    ranks = np.minimum((u * (CELLS + 1)).astype(int), CELLS)
    test = uniformity(ranks, CELLS)
    worst = int(test.p.argmin())
    return PosteriorSBC(
        min(1.0, float(test.p[worst]) * len(test.p)),
        float(test.effect[worst]),
        (*columns, "density")[worst],
        len(u),
    )
