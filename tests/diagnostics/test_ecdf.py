"""Rank statistics, the gamma statistic, its null, and the bands."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import binom, kstest

from sbiwb.diagnostics import _ecdf, _inputs


def brute_log_gamma(ranks: np.ndarray, s: int, fold: int) -> float:
    """The definition, one grid point after the other."""
    n, smallest = len(ranks), 1.0
    cells = np.bincount(
        np.minimum(np.arange(s + 1), s - np.arange(s + 1)) if fold == 2 else np.arange(s + 1)
    ) / (s + 1)
    for k in range(len(cells) - 1):
        z, count = cells[: k + 1].sum(), int((ranks <= k).sum())
        pmf = binom.pmf(np.arange(n + 1), n, z)
        smallest = min(smallest, pmf[: count + 1].sum(), pmf[count:].sum())
    return np.log(2 * smallest)


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize(("n", "s"), [(1, 4), (5, 9), (17, 20), (40, 19), (30, 99)])
def test_gamma_agrees_with_brute_force(n, s, fold):
    rng = np.random.default_rng(n)
    ranks = rng.integers(0, s + 1, (n, 3))
    ranks = _ecdf.fold_ranks(ranks, s) if fold == 2 else ranks
    z = _ecdf.grid(s, fold)
    found = _ecdf.tails(_ecdf.counts_below(ranks, s, fold), n, z).min(axis=1)
    np.testing.assert_allclose(
        found, [brute_log_gamma(column, s, fold) for column in ranks.T], atol=1e-9
    )


@pytest.mark.parametrize("s", [4, 5, 99, 100])
def test_grid_of_folded_ranks_is_their_exact_distribution(s):
    folded = _ecdf.fold_ranks(np.arange(s + 1), s)
    exact = np.cumsum(np.bincount(folded))[:-1] / (s + 1)
    np.testing.assert_allclose(_ecdf.grid(s, 2), exact)


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize(("n", "s"), [(50, 19), (50, 20), (201, 99), (300, 99)])
def test_p_values_are_uniform_under_the_null(n, s, fold):
    ranks = np.random.default_rng(5).integers(0, s + 1, (n, 2000))
    ranks = _ecdf.fold_ranks(ranks, s) if fold == 2 else ranks
    p = _ecdf.uniformity(ranks, s, fold=fold).p
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level + 3.5 * np.sqrt(level / 2000)
    assert kstest(p, "uniform").statistic < 0.06


@pytest.mark.parametrize("fold", [1, 2])
def test_band_log_gamma_and_p_tell_the_same(fold):
    ranks = np.random.default_rng(6).integers(0, 100, (200, 1000))
    ranks = _ecdf.fold_ranks(ranks, 99) if fold == 2 else ranks
    test, (lower, upper) = _ecdf.uniformity(ranks, 99, fold=fold), _ecdf.band(200, 99, fold)
    outside = ((test.ecdf < lower - 1e-12) | (test.ecdf > upper + 1e-12)).any(axis=1)
    np.testing.assert_array_equal(test.p <= 0.05, test.log_gamma < 0)
    np.testing.assert_array_equal(outside, test.log_gamma < 0)


def test_p_value_is_never_zero():
    test = _ecdf.uniformity(np.zeros((500, 1), int), 99)
    assert 0 < test.p[0] < 1e-300
    assert np.isfinite(test.log_gamma[0]) and test.log_gamma[0] < -600


def test_beyond_the_simulated_null_p_is_bounded_by_the_union_and_by_counting():
    n, s = 200, 99
    floor, smallest = 1 / (_ecdf.repetitions(s) + 1), _ecdf.null(n, s)[0]
    rng = np.random.default_rng(8)
    ranks = np.stack(
        [np.r_[np.zeros(zeros, int), rng.integers(0, s + 1, n - zeros)] for zeros in range(5, 60)],
        axis=1,
    )
    p, observed = (
        _ecdf.uniformity(ranks, s).p,
        _ecdf.tails(_ecdf.counts_below(ranks, s), n, _ecdf.grid(s)).min(axis=1),
    )
    beyond = observed + _ecdf.TIE < smallest
    assert 10 < beyond.sum() < len(p) and np.all(p[~beyond] > floor)
    np.testing.assert_allclose(p[beyond], np.minimum(floor, 99 * np.exp(observed[beyond])))
    order = np.argsort(observed)
    assert np.all(np.diff(p[order]) >= 0)  # a smaller gamma never has a larger p


def test_union_bound_holds_for_a_null_that_can_be_counted():
    n, s = 12, 4  # all ways of putting 12 ranks into 5 cells
    cells = np.array([c for c in np.ndindex(*(n + 1,) * s) if sum(c) <= n])
    counts = np.cumsum(cells, axis=1)
    full = np.hstack([cells, n - counts[:, -1:]])
    probability = np.exp(gammaln(n + 1) - gammaln(full + 1).sum(axis=1) - n * np.log(s + 1))
    gamma = np.exp(_ecdf.tails(counts, n, _ecdf.grid(s)).min(axis=1))
    assert probability.sum() == pytest.approx(1)
    for level in np.unique(np.quantile(gamma, np.linspace(0, 1, 200))):
        assert probability[gamma <= level * (1 + 1e-9)].sum() <= s * level * (1 + 1e-6)


def test_interval_of_the_effect_covers_the_true_effect():
    s, n, true = 99, 300, 0.1  # ten per cent of the mass moved from the upper to the lower half
    rng, share = np.random.default_rng(7), np.r_[np.full(50, 0.6 / 50), np.full(50, 0.4 / 50)]
    ranks = rng.choice(100, size=(n, 400), p=share)
    low, high = _ecdf.uniformity(ranks, s).interval.T
    assert np.mean((low <= true) & (true <= high)) >= 0.95


def test_ties_are_broken_evenly_and_reproducibly():
    theta, draws = np.zeros((20_000, 1)), np.zeros((20_000, 4, 1))
    first = _inputs.rank_statistics(theta, draws, np.random.default_rng(0))
    np.testing.assert_array_equal(
        first, _inputs.rank_statistics(theta, draws, np.random.default_rng(0))
    )
    np.testing.assert_allclose(np.bincount(first[:, 0]) / 20_000, 0.2, atol=0.015)


def test_ranks_do_not_depend_on_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    theta, draws = rng.integers(0, 5, (50, 3)), rng.integers(0, 5, (50, 9, 3))
    whole = _inputs.rank_statistics(theta, draws, np.random.default_rng(0))
    monkeypatch.setattr(_inputs, "MAX_NUMBERS", 100)
    np.testing.assert_array_equal(
        whole, _inputs.rank_statistics(theta, draws, np.random.default_rng(0))
    )
    assert np.all(whole >= (draws < theta[:, None]).sum(1)) and np.all(
        whole <= (draws <= theta[:, None]).sum(1)
    )


def test_ten_thousand_pairs_and_a_thousand_draws_stay_affordable():
    ranks = np.random.default_rng(3).integers(0, 1001, (10_000, 2))
    assert _ecdf.uniformity(ranks, 1000).p.min() > 0.01
