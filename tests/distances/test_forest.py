"""C2ST by a random forest: the number of scikit-learn's own cross-validation, and how much less
sharp it is than the perceptron."""

import sys

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import KFold, cross_val_score

from sbiwb.distances import c2st, c2st_forest
from sbiwb.errors import ConfigError

BEST = 0.567  # of N(0, 1) and N(0, 1.2²) in the plane: 1/2 + TV / 2


def wider(size, seed=0, by=1.2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 2)), rng.normal(0, by, (size, 2))


def test_it_is_the_number_of_scikit_learn():
    reference, draws = wider(100, by=3.0)
    x = (np.concatenate([reference, draws]) - reference.mean(0)) / reference.std(0, ddof=1)
    found = cross_val_score(
        RandomForestClassifier(random_state=4),
        x.astype(np.float32),
        np.repeat([0, 1], 100),
        cv=KFold(5, shuffle=True, random_state=4),
    )
    assert c2st_forest(reference, draws, seed=4) == pytest.approx(found.mean())


def test_it_sees_less_of_another_scale_than_the_perceptron():
    reference, draws = wider(2_000)
    error = 0.5 / np.sqrt(4_000)
    forest, perceptron = c2st_forest(reference, draws), c2st(reference, draws)
    assert forest < BEST - 3 * error
    assert BEST - 3 * error < perceptron < BEST + 3 * error


@pytest.mark.slow
def test_with_ten_thousand_draws_it_says_what_papers_would():
    forests = [c2st_forest(*wider(10_000, seed)) for seed in (10, 11)]
    assert np.mean(forests) == pytest.approx(0.528, abs=0.008)
    assert c2st(*wider(10_000, 10)) == pytest.approx(0.565, abs=0.008)


def test_without_scikit_learn_it_is_told_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ConfigError, match=r"pip install \"sbiwb\[benchmark\]\""):
        c2st_forest(*wider(20))
