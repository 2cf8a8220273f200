"""C2ST: how well a classifier tells two samples apart; 0.5 is indistinguishable. For tests only:
needs scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np


def c2st(reference: np.ndarray, draws: np.ndarray, *, seed: int = 1, folds: int = 5) -> float:
    """Cross-validated accuracy of a classifier between two samples of equal size.

    A perceptron with two hidden layers of 10 D units (relu, Adam) on data z-scored by the reference
    sample's mean and sd, as in the published table, which has 10,000 draws on each side.

    Args:
        reference: Draws of the reference posterior, (S, D).
        draws: Draws of the posterior that is judged, (S, D).
        seed: Of the folds and of the classifier.
        folds: Of the cross-validation.

    Returns:
        Mean accuracy over the folds: 0.5 to 1, up to chance.

    References:
        Lopez-Paz & Oquab (2017), https://arxiv.org/abs/1610.06545
        Lueckmann et al. (2021), https://arxiv.org/abs/2101.04653

    Example:
        >>> rng = np.random.default_rng(0)
        >>> c2st(rng.normal(size=(500, 2)), rng.normal(4.0, 1.0, (500, 2))) > 0.95
        True
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier

    if reference.shape != draws.shape:
        raise ValueError(
            f"C2ST compares samples of one size, not {reference.shape} with {draws.shape}"
        )
    d = reference.shape[1]
    both = (np.concatenate([reference, draws]) - reference.mean(0)) / reference.std(0, ddof=1)
    labels = np.repeat([0, 1], len(reference))
    classifier = MLPClassifier(
        activation="relu",
        hidden_layer_sizes=(10 * d, 10 * d),
        max_iter=10_000,
        solver="adam",
        random_state=seed,
    )
    splits = KFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(
            cross_val_score(classifier, both, labels, cv=splits, scoring="accuracy").mean()
        )
