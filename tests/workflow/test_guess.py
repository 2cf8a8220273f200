"""The ridge prediction of z from statistics: it finds what is there, and nothing where nothing
is."""

from __future__ import annotations

import numpy as np

from sbiwb.steps.judge.first_guess import ridge_prediction


def problem(n: int, seed: int, noise: float = 0.5):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 2))
    numbers = np.hstack(
        [
            z @ rng.standard_normal((2, 6)) + noise * rng.standard_normal((n, 6)),
            rng.standard_normal((n, 20)),
        ]
    )
    return numbers, z


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_it_predicts_other_pairs():
    numbers, z = problem(1500, seed=0)
    guess = ridge_prediction(numbers[:1000], z[:1000])(numbers[1000:])
    assert all(correlation(guess[:, d], z[1000:, d]) > 0.8 for d in range(2))


def test_it_does_not_see_units_or_order():
    numbers, z = problem(600, seed=1)
    scaled = numbers * np.logspace(-6, 6, 26) + 1e3
    first, second = ridge_prediction(numbers, z)(numbers), ridge_prediction(scaled, z)(scaled)
    np.testing.assert_allclose(first, second, atol=1e-3)
    order = np.random.default_rng(2).permutation(600)
    np.testing.assert_allclose(
        ridge_prediction(numbers[order], z[order])(numbers), first, atol=1e-8
    )


def test_numbers_that_say_nothing_predict_nothing():
    rng = np.random.default_rng(3)
    guess = ridge_prediction(rng.standard_normal((500, 30)), rng.standard_normal((500, 1)))(
        rng.standard_normal((500, 30))
    )
    assert guess.std() < 0.25


def test_constant_and_huge_numbers_do_no_harm():
    numbers, z = problem(400, seed=4)
    numbers = np.hstack(
        [numbers, np.full((400, 1), 7.0), np.random.default_rng(5).standard_cauchy((400, 1)) * 1e12]
    )
    guess = ridge_prediction(numbers[:300], z[:300])(numbers[300:])
    assert np.isfinite(guess).all() and correlation(guess[:, 0], z[300:, 0]) > 0.7


def test_fewer_pairs_than_numbers():
    rng = np.random.default_rng(6)
    guess = ridge_prediction(rng.standard_normal((20, 60)), rng.standard_normal((20, 3)))(
        rng.standard_normal((5, 60))
    )
    assert guess.shape == (5, 3) and np.isfinite(guess).all()
