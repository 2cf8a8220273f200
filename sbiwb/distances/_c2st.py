"""C2ST: the cross-validated accuracy of a classifier between two samples.

0.5 is indistinguishable, 1 is nothing in common. The classifier and its training are those of the
published table (see `_perceptron`), so that numbers may be compared with it. All folds of all pairs
are trained side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sbiwb.contracts import Ticker
from sbiwb.distances._classifier import Labelled
from sbiwb.distances._perceptron import train_all
from sbiwb.distances._samples import checked


def c2st(reference: np.ndarray, draws: np.ndarray, *, seed: int = 1, folds: int = 5) -> float:
    """Accuracy of a classifier between two samples, on draws that it was not trained on.

    The published table has 10,000 draws on each side; with fewer, the classifier sees less, and
    with duplicated rows it sees the duplicates. Not symmetric to the last digit: columns are
    z-scored by the reference.

    Args:
        reference: Draws of the reference posterior, (S, D).
        draws: Draws of the posterior that is judged, (S, D).
        seed: Of the folds and of the classifier, as scikit-learn's `random_state`.
        folds: Of the cross-validation.

    Returns:
        Mean accuracy over the folds: 0.5 to 1, up to chance.

    Raises:
        ValueError: The shapes differ, there are fewer draws than folds, a value is not finite, or a
            column of the reference is constant.

    References:
        Lopez-Paz & Oquab (2017), https://arxiv.org/abs/1610.06545
        Lueckmann et al. (2021), https://arxiv.org/abs/2101.04653

    Example:
        >>> rng = np.random.default_rng(0)
        >>> c2st(rng.normal(size=(500, 2)), rng.normal(4.0, 1.0, (500, 2))) > 0.95
        True
    """
    return float(c2st_many([(reference, draws)], seed=seed, folds=folds)[0])


def c2st_many(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int = 1,
    folds: int = 5,
    cores: int | None = None,
    ticker: Ticker | None = None,
) -> np.ndarray:
    """`c2st` of many pairs, which may differ in size and dimension, all trainings side by side.

    Args:
        pairs: Of a reference (S, D) and draws (S, D).
        seed: Of every pair's folds and classifier.
        folds: Of the cross-validation.
        cores: To train on; all that this process may use if not given.
        ticker: Told of each pair that is done.

    Returns:
        Mean accuracies, (number of pairs,).

    Raises:
        ValueError: As `c2st`.
    """
    splits: list[Split] = []
    for reference, draws in pairs:
        splits += splits_of(reference, draws, seed, folds)
    trainings = train_all([split.train for split in splits], seed=seed, cores=cores)
    accuracies = np.empty(len(splits))
    for done, (network, split) in enumerate(zip(trainings, splits, strict=True)):
        accuracies[done] = network.accuracy(split.test)
        if ticker and done % folds == folds - 1:
            ticker.advance(1)
    return accuracies.reshape(-1, folds).mean(1)


class Split(NamedTuple):
    """What is trained on and what is tested on in one fold."""

    train: Labelled
    test: Labelled


def splits_of(reference: np.ndarray, draws: np.ndarray, seed: int, folds: int) -> list[Split]:
    """The folds of scikit-learn's `KFold` with this seed, on z-scores."""
    both = _labelled(*checked(reference, draws, where="C2ST", equal=True))
    rows = np.arange(len(both.x))
    if not 2 <= folds <= len(rows):
        todo = "take at least 2 folds, and at most one a draw"
        raise ValueError(f"C2ST: {folds} folds of {len(rows)} draws; {todo}")
    order = rows.copy()
    np.random.RandomState(seed).shuffle(order)
    splits = []
    for part in np.array_split(order, folds):
        tested = np.isin(rows, part)
        splits.append(Split(both.where(~tested), both.where(tested)))
    return splits


def _labelled(reference: np.ndarray, draws: np.ndarray) -> Labelled:
    """Both samples z-scored by the reference, labelled 0 and 1."""
    spread = reference.std(0, ddof=1)
    constant = np.flatnonzero(~(spread > 0))
    if len(constant):
        raise ValueError(
            f"C2ST: columns {constant.tolist()} of the reference are constant; "
            "drop them from both samples"
        )
    x = ((np.concatenate([reference, draws]) - reference.mean(0)) / spread).astype(np.float32)
    return Labelled(x, np.repeat(np.array([0, 1], np.float32), len(reference)))
