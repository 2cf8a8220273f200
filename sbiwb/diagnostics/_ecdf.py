"""Are ranks uniform? The gamma statistic on the discrete grid, its simulated null, simultaneous bands and an effect size.

Ranks are discrete. With S draws a rank r lies in {0..S}, and an exact posterior has P(r <= k) = z_k = (k + 1)/(S + 1) exactly, so
the count R_k of ranks at or below k is Binomial(N, z_k). The most surprising count decides:

    gamma = 2 min_k min{ P(Bin(N, z_k) <= R_k), P(Bin(N, z_k) >= R_k) }.

The counts depend on each other, so the null of gamma is simulated. Below its smallest simulated value, where counting only says
p <= 1/repetitions, the union bound tells more: each of the K terms is at or below gamma with probability gamma at most, so that
p <= K gamma. Folded ranks min(r, S - r), which measure central intervals,
have P(folded <= k) = 2 (k + 1)/(S + 1): the same formulas with `fold=2`. Where S is even the middle cell has half the mass of the
others; leaving out grid points at 1 takes care of it.

Warning: comparing r/S with bands for continuous uniforms rejects exact posteriors (61 % false alarms at N=1000, S=100).

References:
    Säilynoja, Bürkner, Vehtari 2022, Graphical test for discrete uniformity, https://arxiv.org/abs/2103.10522.
    Modrák et al. 2025, Simulation-based calibration checking for Bayesian computation, https://arxiv.org/abs/2211.02383.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sbiwb.seeds import generator

FEWEST, MOST = 20_000, 100_000  # repetitions of the null: counting gives p down to 5e-5 or less
TIE = 1e-9  # log gammas nearer than this are equal
CELLS = 2_000_000  # numbers held at once while the null is simulated
NULL_SEED = 0  # the null is a property of (N, S), not of a run


@dataclass(frozen=True)
class Uniformity:
    """How Q columns of ranks compare with an exact posterior's.

    Args:
        ecdf: Share of ranks at or below each grid point, (Q, K).
        log_gamma: log(gamma / its `alpha` quantile under the null), below 0 rejects, (Q,).
        p: p-values, (Q,); an upper bound of them where no simulated gamma is as small.
        effect: max |ECDF - z|, (Q,).
        interval: Lower and upper end of its 95 % interval, (Q, 2).
    """

    ecdf: np.ndarray
    log_gamma: np.ndarray
    p: np.ndarray
    effect: np.ndarray
    interval: np.ndarray


def grid(s: int, fold: int = 1) -> np.ndarray:
    """P(rank <= k) of an exact posterior, for every k but the last, (K,).

    Example:
        >>> grid(4).tolist(), grid(4, 2).tolist()
        ([0.2, 0.4, 0.6, 0.8], [0.4, 0.8])
    """
    steps = np.arange(fold, s + 1, fold)
    return steps / (s + 1)


def fold_ranks(ranks: np.ndarray, s: int) -> np.ndarray:
    """Draws on the emptier side of the truth: it lies in the central interval that cuts k off each side where this is k or more."""
    return np.minimum(ranks, s - ranks)


def counts_below(ranks: np.ndarray, s: int, fold: int = 1) -> np.ndarray:
    """Ranks (N, Q) at or below each grid point, (Q, K)."""
    k = len(grid(s, fold))
    return np.stack(
        [np.cumsum(np.bincount(column, minlength=k + 1))[:k] for column in ranks.T]
    ).reshape(-1, k)


def uniformity(ranks: np.ndarray, s: int, *, fold: int = 1, alpha: float = 0.05) -> Uniformity:
    """Tests Q columns of ranks (N, Q) against an exact posterior; folded ranks with `fold=2`."""
    n, z = len(ranks), grid(s, fold)
    if n == 0:
        return _nothing(ranks.shape[1], len(z))
    counts, scores = counts_below(ranks, s, fold), null(n, s, fold)
    observed = tails(counts, n, z).min(axis=1)
    ecdf = counts / n
    effect = np.abs(ecdf - z).max(axis=1)
    return Uniformity(
        ecdf,
        observed - threshold(n, s, fold, alpha),
        _p_values(observed, scores, len(z)),
        effect,
        spread(effect, n),
    )


def _p_values(observed: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """p-values of observed log gammas (Q,), by counting the simulated ones; beyond all of these no more than K gamma."""
    at_most = np.searchsorted(scores, observed + TIE, side="right")
    counted = (1 + at_most) / (1 + len(scores))
    return np.where(at_most == 0, np.minimum(counted, k * np.exp(observed)), counted)


def _nothing(q: int, k: int) -> Uniformity:
    """What no test pair says."""
    gap = np.full(q, np.nan)
    return Uniformity(np.full((q, k), np.nan), gap, gap, gap, np.full((q, 2), np.nan))


def tails(counts: np.ndarray, n: int, z: np.ndarray) -> np.ndarray:
    """log of twice the smaller binomial tail at each count (..., K), its smallest being log gamma."""
    from scipy.special import bdtr, bdtrc

    smaller = np.minimum(bdtr(counts, n, z), bdtrc(counts - 1, n, z))
    return np.log(np.maximum(2 * smaller, np.finfo(float).tiny))


def null(n: int, s: int, fold: int = 1) -> np.ndarray:
    """Sorted log gammas of `repetitions` sets of N ranks of an exact posterior; memory O(grid), whatever N.

    N is rounded up to two digits, so that strata of about equal size share a null. Log gamma falls slowly as N grows (its 5 % quantile
    by 0.25 from N = 250 to 1000): p-values come out larger by 2 % of their value at most, never smaller.
    """
    return _null(rounded_up(n), s, fold)


def rounded_up(n: int) -> int:
    """N with two digits.

    Example:
        >>> rounded_up(99), rounded_up(243), rounded_up(1000), rounded_up(1001)
        (99, 250, 1000, 1100)
    """
    unit = 10 ** max(0, len(str(n)) - 2)
    return -(-n // unit) * unit


@lru_cache(maxsize=64)
def _null(n: int, s: int, fold: int) -> np.ndarray:
    rng, z = generator(NULL_SEED, "bands", n, s, fold), grid(s, fold)
    start, table = _tail_table(n, z)
    step, scores = max(1, CELLS // max(len(z), min(n, s))), np.empty(repetitions(len(z)))
    for at in range(0, len(scores), step):
        chunk = scores[at : at + step]
        column = np.clip(_null_counts(rng, len(chunk), n, s, fold) - start, 0, table.shape[1] - 1)
        chunk[:] = table[np.arange(len(z)), column].min(axis=1)
    scores.sort()
    scores.flags.writeable = False
    return scores


def _null_counts(rng: np.random.Generator, sets: int, n: int, s: int, fold: int) -> np.ndarray:
    """`counts_below` of sets of N ranks of an exact posterior, (sets, K); by their ranks where N is small, which is faster."""
    z = grid(s, fold)
    if n > s + 1:
        return rng.multinomial(n, np.diff(z, prepend=0.0, append=1.0), size=sets).cumsum(axis=1)[
            :, :-1
        ]
    ranks, cells = rng.integers(0, s + 1, (sets, n), dtype=np.int32), len(z) + 1
    ranks = fold_ranks(ranks, s) if fold == 2 else ranks
    places = ranks + cells * np.arange(sets, dtype=np.int32)[:, None]
    return (
        np.bincount(places.ravel(), minlength=sets * cells)
        .reshape(sets, cells)
        .cumsum(axis=1)[:, :-1]
    )


def repetitions(k: int) -> int:
    """Sets of ranks in the null on a grid of K points: as many as a second or two allow."""
    return min(MOST, max(FEWEST, 20_000_000 // k))


def _tail_table(n: int, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First count of each row (K,) and `tails` from there on (K, W): nine standard deviations each way hold all a null can meet."""
    width = int(np.ceil(4.5 * np.sqrt(n))) + 10
    start = np.maximum(0, np.rint(n * z).astype(int) - width)
    counts = np.minimum(start[:, None] + np.arange(2 * width + 1), n)
    return start, tails(counts, n, z[:, None])


def threshold(n: int, s: int, fold: int = 1, alpha: float = 0.05) -> float:
    """Log gamma below which p <= alpha."""
    scores = null(n, s, fold)
    return float(scores[max(0, int(alpha * (len(scores) + 1) + TIE) - 1)])


@lru_cache(maxsize=64)
def band(n: int, s: int, fold: int = 1, alpha: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the simultaneous band for the ECDF at the grid points, (K,) each.

    The ECDF of an exact posterior stays inside it everywhere with probability 1 - alpha.
    """
    from scipy.stats import binom

    gamma = np.exp(threshold(n, s, fold, alpha) - TIE)  # a count of just this gamma is inside
    return binom.ppf(gamma / 2, n, grid(s, fold)) / n, binom.ppf(
        1 - gamma / 2, n, grid(s, fold)
    ) / n


def spread(effect: np.ndarray, n: int, level: float = 0.95) -> np.ndarray:
    """Interval of max |F - z| for the true F, (Q, 2): at least `level`, whatever F, and wide.

    By the triangle inequality it is no farther from the observed maximum than the ECDF from F, which the Dvoretzky-Kiefer-Wolfowitz
    inequality bounds [Massart 1990]. A bootstrap of a maximum would be biased upward.
    """
    reach = np.sqrt(np.log(2 / (1 - level)) / (2 * n))
    return np.stack([np.maximum(0.0, effect - reach), np.minimum(1.0, effect + reach)], axis=-1)
