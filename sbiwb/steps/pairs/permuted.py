"""A permutation test of many statistics at once: numbers in, a p-value out.

The largest of the statistics decides, each in units of how it varies under permutation:

    T = max_s |t_s - m_s| / d_s,    p = share of arrangements with T at least as large,

where m_s and d_s are mean and sd over a few permutations that serve for nothing else. If the data
are as likely in any arrangement as in this one, p is uniform whatever their distribution, and
however the statistics depend on each other. Permuting ends early once the data are seen to be
nothing unusual.

References:
    Besag & Clifford (1991), Sequential Monte Carlo p-values,
        https://doi.org/10.1093/biomet/78.2.301
    Westfall & Young (1993), Resampling-Based Multiple Testing (the largest of many statistics)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PILOT = 64  # permutations that say how each statistic varies
ENOUGH = 30  # arrangements as unusual as the data after which no more are looked at
DRAWS = 499  # permutations at most
ROUNDING = 1e-9


def permutation_test(
    observed: np.ndarray, permuted: Callable[[], np.ndarray], draws: int = DRAWS
) -> float:
    """p-value of the largest of S statistics: whether the data are an arrangement like any other.

    Args:
        observed: S statistics of the data, (S,).
        permuted: The same of a random arrangement, another one at each call.
        draws: Permutations at most; the smallest p is 1 / (draws + 1).
    """
    pilot = np.stack([permuted() for _ in range(PILOT)])
    centre, scale = pilot.mean(0), pilot.std(0, ddof=1)
    varies = scale > ROUNDING * np.abs(pilot).max(0, initial=1.0)

    def largest(statistics: np.ndarray) -> float:
        distance = np.abs(statistics - centre)
        return float(np.divide(distance, scale, out=np.zeros(len(scale)), where=varies).max())

    limit, exceeding = largest(observed) * (1 - ROUNDING), 0
    for draw in range(1, draws + 1):
        exceeding += largest(permuted()) >= limit
        if exceeding == ENOUGH:
            return exceeding / draw
    return (exceeding + 1) / (draws + 1)
