"""C2ST: the training is scikit-learn's to rounding, the number is scikit-learn's, and what theory
says of it.
"""

import warnings
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPClassifier

from sbiwb.distances import _c2st, _compiled_perceptron, _perceptron, c2st, c2st_many
from sbiwb.distances._batched import train_together
from sbiwb.distances._classifier import Labelled
from sbiwb.distances._perceptron import train_one
from tests import c2st as theirs

TRAINERS = {
    "c": train_one,
    "torch": lambda data, seed, max_epochs: train_together([data], seed, max_epochs)[0],
}


@pytest.fixture(params=TRAINERS)
def train(request):
    if request.param == "c" and not _compiled_perceptron.available():
        pytest.skip("no C compiler")
    return TRAINERS[request.param]


@pytest.fixture(params=["c", "torch"])
def trained_by(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(_compiled_perceptron, "available", lambda: False)
    elif not _compiled_perceptron.available():
        pytest.skip("no C compiler")


def normals(size, dimension, shift, seed=0):
    """Two samples whose best classifier is right Phi(shift / 2) of the time."""
    rng = np.random.default_rng([seed, dimension])
    return rng.normal(size=(size, dimension)), rng.normal(
        shift / np.sqrt(dimension), 1, (size, dimension)
    )


def labelled(size, dimension, shift, seed=0):
    x = np.concatenate(normals(size, dimension, shift, seed)).astype(np.float32)
    return Labelled(x, np.repeat(np.array([0, 1], np.float32), size))


def fitted(data, seed, max_epochs=10_000):
    width = 10 * data.x.shape[1]
    network = MLPClassifier((width, width), max_iter=max_epochs, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return network.fit(data.x.astype(np.float64), data.y)


@pytest.mark.parametrize("dimension, epochs, seed", [(1, 5, 2), (2, 5, 1), (3, 5, 1), (5, 3, 7)])
def test_every_weight_is_that_of_scikit_learn(train, dimension, epochs, seed):
    data = labelled(
        333, dimension, 1.0
    )  # 666 rows: the last batch is smaller, and no multiple of a vector
    ours, other = train(data, seed, epochs), fitted(data, seed, epochs)
    assert ours.loss == pytest.approx(other.loss_, rel=1e-5)
    for layer, weight, bias in zip(ours.layers, other.coefs_, other.intercepts_, strict=True):
        np.testing.assert_allclose(layer[:, :-1].T, weight, atol=2e-5)
        np.testing.assert_allclose(layer[:, -1], bias, atol=2e-5)


def test_training_stops_where_scikit_learn_stops(train):
    data = labelled(250, 2, 3.0)
    ours, other = train(data, 1, 10_000), fitted(data, 1)
    assert ours.epochs == other.n_iter_ > 30
    assert ours.loss == pytest.approx(other.loss_, abs=1e-4)


def test_networks_that_stop_early_change_no_other():
    sets = [labelled(150, 1, shift) for shift in (6.0, 0.3, 3.0)]
    together = train_together(sets, 1, 10_000)
    assert len({one.epochs for one in together}) == 3
    for data, one in zip(sets, together, strict=True):
        alone = train_together([data], 1, 10_000)[0]
        assert (one.epochs, one.loss) == (alone.epochs, pytest.approx(alone.loss, rel=1e-3))


@pytest.mark.parametrize("size, folds", [(50, 5), (37, 4)])
def test_folds_are_those_of_scikit_learn(size, folds):
    reference, draws = normals(size, 1, 0.0)
    z = (np.concatenate([reference, draws]) - reference.mean()) / reference.std(ddof=1)
    expected = KFold(folds, shuffle=True, random_state=3).split(z)
    for (train, test), (of_train, of_test) in zip(
        _c2st.splits_of(reference, draws, 3, folds), expected, strict=True
    ):
        np.testing.assert_allclose(train.x, z[of_train], rtol=1e-6)
        np.testing.assert_array_equal(test.y, of_test >= size)


@lru_cache
def published(size, dimension, shift, seed):
    return theirs.c2st(*normals(size, dimension, shift), seed=seed)


@pytest.mark.parametrize("dimension, shift", [(1, 0.0), (2, 2.0)])
def test_small_samples_give_the_number_of_scikit_learn(trained_by, dimension, shift):
    found = c2st(*normals(150, dimension, shift), seed=2)
    assert found == pytest.approx(published(150, dimension, shift, 2), abs=0.02)  # 6 draws of 300


@pytest.mark.parametrize("dimension, shift", [(2, 0.0), (2, 1.0), (1, 2.0)])
def test_shifted_normals_are_told_apart_as_well_as_can_be(dimension, shift):
    found = c2st(*normals(3_000, dimension, shift))
    best = norm.cdf(shift / 2)
    assert best - 0.025 < found < best + 4 * 0.5 / np.sqrt(6_000)


def test_nothing_in_common_is_one():
    reference, draws = normals(300, 2, 20.0)
    assert c2st(reference, draws) == 1.0


def test_scale_and_units_of_columns_do_not_matter():
    reference, draws = normals(400, 2, 1.0)
    scale, offset = np.array([1e-3, 1e5]), np.array([7.0, -3e5])
    assert c2st(reference * scale + offset, draws * scale + offset) == pytest.approx(
        c2st(reference, draws), abs=0.01
    )


def test_swapping_and_turning_change_it_by_chance_alone():
    reference, draws = normals(2_000, 2, 1.0)
    turn = np.array([[2.0, 1.0], [-1.0, 3.0]])
    usual = c2st(reference, draws)
    assert c2st(draws, reference) == pytest.approx(usual, abs=0.02)
    assert c2st(reference @ turn, draws @ turn) == pytest.approx(usual, abs=0.02)


class Told:
    def __init__(self):
        self.advances = []

    def advance(self, n=1, **facts):
        self.advances.append(n)


def test_many_are_what_each_is_alone(trained_by):
    pairs = [
        normals(60, 1, 4.0),
        normals(50, 2, 6.0),
        normals(60, 1, 3.0, seed=5),
        normals(33, 1, 4.0),
    ]
    ticker = Told()
    found = c2st_many(pairs, seed=4, folds=2, ticker=ticker)
    assert found == pytest.approx([c2st(*pair, seed=4, folds=2) for pair in pairs], abs=0.02)
    assert ticker.advances == [1] * 4


def test_no_pairs_are_no_numbers():
    assert c2st_many([]).shape == (0,)


def test_without_a_compiler_it_is_torch(monkeypatch, tmp_path):
    monkeypatch.setenv("SBIWB_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(_perceptron, "train_one", lambda *_: pytest.fail("trained in C"))
    _compiled_perceptron._library.cache_clear()
    try:
        assert not _compiled_perceptron.available()
        assert c2st(*normals(100, 1, 6.0)) > 0.98
    finally:
        _compiled_perceptron._library.cache_clear()


@pytest.mark.parametrize(
    "reference, draws, message",
    [
        (np.zeros((10, 2)), np.zeros((9, 2)), "differ in size"),
        (np.zeros((10, 2)), np.zeros((10, 3)), "same D parameters"),
        (np.zeros(10), np.zeros(10), "in rows"),
        (np.zeros((1, 2)), np.zeros((1, 2)), "at least two draws"),
        (np.full((10, 2), np.nan), np.zeros((10, 2)), "10 draws are not finite"),
        (
            np.zeros((10, 2)) + np.arange(10)[:, None] * [1, 0],
            np.zeros((10, 2)),
            r"columns \[1\] of the reference are constant",
        ),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(reference, draws, message):
    with pytest.raises(ValueError, match=message):
        c2st(reference, draws)


@pytest.mark.parametrize("folds", [1, 41])
def test_folds_that_cannot_be_are_refused(folds):
    with pytest.raises(ValueError, match=f"{folds} folds of 40 draws"):
        c2st(*normals(20, 1, 0.0), folds=folds)


def assert_same(ours, other):
    """Of one size and equal within Monte-Carlo error: differences of both over pairs and seeds.

    Their error is known from few differences alone, so Student's quantile takes the place of the
    normal's 3.
    """
    differences = np.array(ours) - np.array(other)
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    allowed = t.ppf(norm.cdf(3), len(differences) - 1) * error
    assert abs(differences.mean()) < min(0.005, max(allowed, 1e-4)), differences


@pytest.mark.slow
@pytest.mark.parametrize("dimension, size, seeds", [(2, 1_000, 5), (5, 400, 4), (10, 200, 4)])
def test_campaign_against_scikit_learn(dimension, size, seeds):
    cases = [
        (normals(size, dimension, shift, seed), seed)
        for shift in (0.0, 0.7, 1.5)
        for seed in range(1, seeds + 1)
    ]
    ours = [c2st(*pair, seed=seed) for pair, seed in cases]
    assert_same(ours, [theirs.c2st(*pair, seed=seed) for pair, seed in cases])


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [2, 5])
def test_campaign_of_torch_against_c(dimension, monkeypatch):
    if not _compiled_perceptron.available():
        pytest.skip("no C compiler")
    pairs = [normals(400, dimension, shift, seed) for shift in (0.0, 0.7, 1.5) for seed in range(4)]
    ours = c2st_many(pairs)
    monkeypatch.setattr(_compiled_perceptron, "available", lambda: False)
    assert_same(ours, c2st_many(pairs))


@pytest.mark.slow
def test_benchmark_draws_against_scikit_learn():
    rng = np.random.default_rng(0)
    pairs = []
    with h5py.File(Path(__file__).parents[1] / "data" / "two_moons_reference.h5") as file:
        for number in (1, 2, 3):
            reference = file[f"observation_{number}/reference_posterior"][:].astype(np.float64)
            pairs.append(
                (
                    reference,
                    reference[rng.permutation(len(reference))]
                    + rng.normal(0, 0.02, reference.shape),
                )
            )
    ours, other = c2st_many(pairs), [theirs.c2st(*pair) for pair in pairs]
    np.testing.assert_allclose(ours, other, atol=0.02)  # rounding acts as another seed: sd 0.007
    assert abs(np.subtract(ours, other).mean()) < 3 * 0.007 / np.sqrt(len(pairs))
