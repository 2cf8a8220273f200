"""Binomial intervals against scipy.stats: Clopper and Pearson's, scalar and by element, and the
count that is too large."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from sbiwb import intervals
from sbiwb.intervals import binomial_interval, binomial_intervals, binomial_upper_quantile

CASES = [(0, 10), (10, 10), (3, 10), (995, 1000), (1, 1)]


@pytest.mark.parametrize(("hits", "trials"), CASES)
def test_the_interval_is_that_of_clopper_and_pearson(hits, trials):
    exact = binomtest(hits, trials).proportion_ci(0.95, "exact")
    assert binomial_interval(hits, trials) == pytest.approx((exact.low, exact.high), rel=1e-12)


def test_intervals_by_element_are_those_of_each():
    hits, trials = (np.array(column) for column in zip(*CASES, strict=True))
    ends = np.stack(binomial_intervals(hits, trials), axis=-1)
    assert ends.tolist() == [list(binomial_interval(*case)) for case in CASES]


def test_after_no_trial_nothing_is_known():
    assert binomial_interval(0, 0) == (0.0, 1.0)


def test_the_interval_covers_at_least_at_its_level():
    """For every share, also near 1 where a score interval falls short."""
    counts = np.arange(51)
    low, high = binomial_intervals(counts, np.full(51, 50))
    for share in (0.01, 0.3, 0.9, 0.98, 0.995):
        covered = binom.pmf(counts, 50, share)[(low <= share) & (share <= high)].sum()
        assert covered >= 0.95


def test_the_upper_quantile_is_the_99_percent_quantile():
    for n, p in [(200, 0.05), (1000, 0.05), (1000, 0.5), (10_000, 0.001), (10**6, 0.05)]:
        assert binomial_upper_quantile(n, p) == binom.ppf(0.99, n, p)
    assert (binomial_upper_quantile(500, 0.0), binomial_upper_quantile(500, 1.0)) == (0, 500)


def test_the_examples_run():
    assert doctest.testmod(intervals).failed == 0
