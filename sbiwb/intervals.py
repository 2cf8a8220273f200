"""Binomial intervals: the one interval of a share, and when a count of failures is too large.

The interval is that of Clopper and Pearson: by construction it covers at least at its level for
every share and every number of trials. The score interval of Wilson falls short of it near 0 and
1, and there p(valid) lies. The price is a slightly wider interval.

References:
    Clopper & Pearson (1934), Biometrika 26:404, https://doi.org/10.1093/biomet/26.4.404
    Brown, Cai & DasGupta (2001), Statistical Science 16:101, https://doi.org/10.1214/ss/1009213286
"""

from __future__ import annotations

import math

import numpy as np

LEVEL = 0.95
UPPER_QUANTILE = 0.99


def binomial_intervals(
    hits: np.ndarray, trials: np.ndarray, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Central intervals of shares, elementwise.

    Quantiles of Beta(hits, trials - hits + 1) below and of Beta(hits + 1, trials - hits) above.

    Args:
        hits: Successes, from 0 to `trials`; weighted counts need not be whole.
        trials: How many were tried; after none the interval is (0, 1).
        level: Coverage.

    Returns:
        Lower and upper ends, in the common shape of `hits` and `trials`.
    """
    from scipy.special import betaincinv  # scipy.stats has it by name, and costs 0.7 s to import

    hits, misses = np.asarray(hits), np.asarray(trials) - np.asarray(hits)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, betaincinv(hits, misses + 1, tail), 0.0)
        high = np.where(misses > 0, betaincinv(hits + 1, misses, 1 - tail), 1.0)
    return low, high


def binomial_interval(hits: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Central interval of one share; see `binomial_intervals`.

    Example:
        >>> low, high = binomial_interval(950, 1000)
        >>> round(low, 4), round(high, 4)
        (0.9346, 0.9627)
    """
    low, high = binomial_intervals(np.asarray(hits), np.asarray(trials), level)
    return float(low), float(high)


def binomial_upper_quantile(trials: int, rate: float, level: float = UPPER_QUANTILE) -> int:
    """Smallest count that a binomial variable exceeds in at most 1 - `level` of all cases.

    More failures than this say that the true rate is above `rate`.

    Args:
        trials: How many were tried.
        rate: Probability of a failure, from 0 to 1.
        level: Of the quantile.

    Example:
        >>> binomial_upper_quantile(200, 0.05)
        18
    """
    if rate in (0.0, 1.0):
        return round(rate * trials)
    from scipy.special import bdtrik

    return math.ceil(bdtrik(level, trials, rate))
