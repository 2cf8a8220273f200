"""Are ranks uniform? The gamma statistic, its simulated null, bands and an effect size.

Ranks are discrete. With S draws a rank r lies in {0..S}, and an exact posterior has P(r <= k) = z_k
= (k + 1)/(S + 1) exactly, so the count R_k of ranks at or below k is Binomial(N, z_k). The most
surprising count decides:

    gamma = 2 min_k min{ P(Bin(N, z_k) <= R_k), P(Bin(N, z_k) >= R_k) }.

The counts depend on each other, so the null of gamma is simulated. Below its smallest simulated
value, where counting only says p <= 1/repetitions, the union bound tells more: each of the K terms
is at or below gamma with probability gamma at most, so that p <= K gamma. Folded ranks
min(r, S - r), which measure central intervals, have P(folded <= k) = 2 (k + 1)/(S + 1): the same
formulas with `fold=2`. Where S is even the middle cell has half the mass of the others; leaving out
grid points at 1 takes care of it.

Warning: comparing r/S with bands for continuous uniforms rejects exact posteriors (61 % false
alarms at N=1000, S=100).

References:
    Säilynoja, Bürkner, Vehtari 2022, Graphical test for discrete uniformity,
    https://arxiv.org/abs/2103.10522.
    Modrák et al. 2025, Simulation-based calibration checking for Bayesian computation,
    https://arxiv.org/abs/2211.02383.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sbiwb.seeds import generator

MIN_REPETITIONS = 20_000  # of the null: counting gives p down to 5e-5 or less
MAX_REPETITIONS = 100_000
TIE = 1e-9  # log gammas nearer than this are equal
MAX_CELLS = 2_000_000  # numbers held at once while the null is simulated
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
    """Draws on the emptier side of the truth.

    It lies in the central interval that cuts k off each side where this is k or more.
    """
    return np.minimum(ranks, s - ranks)


def counts_below(ranks: np.ndarray, s: int, fold: int = 1) -> np.ndarray:
    """Ranks (N, Q) at or below each grid point, (Q, K)."""
    k = len(grid(s, fold))
    counts = [np.bincount(column, minlength=k + 1).cumsum()[:k] for column in ranks.T]
    return np.stack(counts).reshape(-1, k)


def uniformity(ranks: np.ndarray, s: int, *, fold: int = 1, alpha: float = 0.05) -> Uniformity:
    """Tests Q columns of ranks (N, Q) against an exact posterior; folded ranks with `fold=2`."""
    n = len(ranks)
    z = grid(s, fold)
    if n == 0:
        return _unknown(ranks.shape[1], len(z))
    counts = counts_below(ranks, s, fold)
    observed = tails(counts, n, z).min(axis=1)
    effect = np.abs(counts / n - z).max(axis=1)
    return Uniformity(
        ecdf=counts / n,
        log_gamma=observed - threshold(n, s, fold, alpha),
        p=_p_values(observed, null(n, s, fold), len(z)),
        effect=effect,
        interval=dkw_interval(effect, n),
    )


def _p_values(observed: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """p-values of log gammas (Q,), by counting the simulated ones; beyond all of them K gamma."""
    at_most = np.searchsorted(scores, observed + TIE, side="right")
    counted = (1 + at_most) / (1 + len(scores))
    return np.where(at_most == 0, np.minimum(counted, k * np.exp(observed)), counted)


def _unknown(q: int, k: int) -> Uniformity:
    """What no test pair says."""
    column = np.full(q, np.nan)
    return Uniformity(np.full((q, k), np.nan), column, column, column, np.full((q, 2), np.nan))


def tails(counts: np.ndarray, n: int, z: np.ndarray) -> np.ndarray:
    """log of twice the smaller binomial tail at each count (..., K); the least is log gamma."""
    from scipy.special import bdtr, bdtrc

    smaller = np.minimum(bdtr(counts, n, z), bdtrc(counts - 1, n, z))
    return np.log(np.maximum(2 * smaller, np.finfo(float).tiny))


def null(n: int, s: int, fold: int = 1) -> np.ndarray:
    """Log gammas of sets of N ranks of an exact posterior, sorted; memory O(grid), whatever N.

    N is rounded up to two digits, so that strata of about equal size share a null. Log gamma falls
    slowly as N grows (its 5 % quantile by 0.25 from N = 250 to 1000): p-values come out larger by
    2 % of their value at most, never smaller.
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
    rng = generator(NULL_SEED, "bands", n, s, fold)
    z = grid(s, fold)
    start, table = _tail_table(n, z)
    step = max(1, MAX_CELLS // max(len(z), min(n, s)))
    scores = np.empty(repetitions(len(z)))
    for first in range(0, len(scores), step):
        chunk = scores[first : first + step]
        counts = _null_counts(rng, len(chunk), n, s, fold)
        column = np.clip(counts - start, 0, table.shape[1] - 1)
        chunk[:] = table[np.arange(len(z)), column].min(axis=1)
    scores.sort()
    scores.flags.writeable = False
    return scores


def _null_counts(rng: np.random.Generator, sets: int, n: int, s: int, fold: int) -> np.ndarray:
    """`counts_below` of sets of N ranks of an exact posterior, (sets, K)."""
    if n > s + 1:
        return _counts_by_cell(rng, sets, n, grid(s, fold))
    return _counts_by_rank(rng, sets, n, s, fold)


def _counts_by_cell(rng: np.random.Generator, sets: int, n: int, z: np.ndarray) -> np.ndarray:
    cells = np.diff(z, prepend=0.0, append=1.0)
    return rng.multinomial(n, cells, size=sets).cumsum(axis=1)[:, :-1]


def _counts_by_rank(rng: np.random.Generator, sets: int, n: int, s: int, fold: int) -> np.ndarray:
    """The same by drawing the ranks, which is faster where N is small."""
    cells = len(grid(s, fold)) + 1
    ranks = rng.integers(0, s + 1, (sets, n), dtype=np.int32)
    if fold == 2:
        ranks = fold_ranks(ranks, s)
    places = ranks + cells * np.arange(sets, dtype=np.int32)[:, None]
    counts = np.bincount(places.ravel(), minlength=sets * cells).reshape(sets, cells)
    return counts.cumsum(axis=1)[:, :-1]


def repetitions(k: int) -> int:
    """Sets of ranks in the null on a grid of K points: as many as a second or two allow."""
    return min(MAX_REPETITIONS, max(MIN_REPETITIONS, 20_000_000 // k))


def _tail_table(n: int, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First count of each row (K,) and `tails` from there on (K, W).

    Nine standard deviations each way hold all a null can meet.
    """
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

    z = grid(s, fold)
    gamma = np.exp(threshold(n, s, fold, alpha) - TIE)  # a count of just this gamma is inside
    return binom.ppf(gamma / 2, n, z) / n, binom.ppf(1 - gamma / 2, n, z) / n


def dkw_interval(effect: np.ndarray, n: int, level: float = 0.95) -> np.ndarray:
    """Interval of max |F - z| for the true F, (Q, 2): at least `level`, whatever F, and wide.

    By the triangle inequality it is no farther from the observed maximum than the ECDF from F,
    which the Dvoretzky-Kiefer-Wolfowitz inequality bounds [Massart 1990]. A bootstrap of a maximum
    would be biased upward.
    """
    reach = np.sqrt(np.log(2 / (1 - level)) / (2 * n))
    return np.stack([np.maximum(0.0, effect - reach), np.minimum(1.0, effect + reach)], axis=-1)
