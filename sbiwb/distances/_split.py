"""Where two samples differ: in each column alone, or in how the columns depend on each other."""

from __future__ import annotations

import zlib

import numpy as np

from sbiwb.distances._c2st import c2st_many
from sbiwb.distances._samples import checked

NO_DIFFERENCE = 0.5


def c2st_marginals(
    reference: np.ndarray, draws: np.ndarray, *, seed: int = 1, folds: int = 5
) -> float:
    """Accuracy between two samples by one column alone, mean over the columns.

    The classifier of a column is a histogram: bins that hold equally many of all draws, each of the
    sample that more of its training draws are of. It comes near the best there is, 1/2 + TV / 2
    with the total variation TV of the column's two distributions: Phi(d / 2) for normals that are d
    sds apart. Scales and units of columns do not matter.

    Args:
        reference: Draws of the reference posterior, (S, D).
        draws: Draws of the posterior that is judged, (S, D).
        seed: Of the folds.
        folds: Of the cross-validation.

    Returns:
        0.5 to 1, up to chance; the largest column may be far above the mean.

    Raises:
        ValueError: The shapes differ, there are fewer draws than folds, or a value is not finite.

    References:
        Lopez-Paz & Oquab (2017), https://arxiv.org/abs/1610.06545

    Example:
        >>> rng = np.random.default_rng(0)
        >>> c2st_marginals(rng.normal(size=(500, 1)), rng.normal(8.0, 1.0, (500, 1))) > 0.95
        True
    """
    reference, draws = checked(reference, draws, where="C2ST", equal=True)
    both = np.concatenate([reference, draws])
    fold = np.random.default_rng(seed).permutation(len(both)) % folds
    sign = np.repeat([1, -1], len(reference))
    return float(np.mean([_histogram_accuracy(column, sign, fold) for column in both.T]))


def _histogram_accuracy(column: np.ndarray, sign: np.ndarray, fold: np.ndarray) -> float:
    """Share of values whose sample the bin's other folds say; a tie counts half.

    Args:
        column: Values of both samples, (2 S,).
        sign: 1 or -1 by sample.
        fold: From 0, of each value.
    """
    bins = round(len(column) ** (1 / 3))
    edges = np.unique(np.quantile(column, np.arange(1, bins) / bins))
    place = np.searchsorted(edges, column, side="right")
    votes = np.zeros((fold.max() + 1, len(edges) + 1))
    np.add.at(votes, (fold, place), sign)
    others = votes.sum(0) - votes  # of the folds that the bin is trained on
    said = np.sign(others[fold, place])
    return float((1 + said * sign).mean() / 2)


def c2st_dependence(
    reference: np.ndarray, draws: np.ndarray, *, seed: int = 1, cores: int | None = None
) -> float:
    """`c2st` of two samples' copulas: of how their columns depend on each other.

    Values of a column are replaced, in each sample, by as many standard normal numbers in the same
    order (random normal scores), so that every column is standard normal in both samples. They are
    not the quantiles of the ranks: those are the same numbers in both samples, so that a value seen
    in one is more often of the other (0.465 for two equal normals in the plane with 500 draws
    each). Nor are they the same for every pair: their own chance differences would move the score
    of all pairs of a size alike (by 0.02 with 300 draws), which no mean takes out; they follow from
    the ranks and the seed. Equal values come in random order.

    Args:
        reference: Draws of the reference posterior, (S, D).
        draws: Draws of the posterior that is judged, (S, D).
        seed: Of the scores, the folds and the classifier.
        cores: To train on; all that this process may use if not given.

    Returns:
        0.5 to 1, up to chance; 0.5 of one column, which depends on nothing.

    Raises:
        ValueError: As `c2st`.

    References:
        Bell & Doksum (1965), https://doi.org/10.1214/aoms/1177700284
        Lopez-Paz & Oquab (2017), https://arxiv.org/abs/1610.06545
    """
    reference, draws = checked(reference, draws, where="C2ST", equal=True)
    if reference.shape[1] == 1:
        return NO_DIFFERENCE
    ties = np.random.default_rng(seed)
    ranks = (_ranks(reference, ties), _ranks(draws, ties))
    rng = np.random.default_rng([seed, *(zlib.crc32(ranked.tobytes()) for ranked in ranks)])
    pair = (_normal_scores(ranks[0], rng), _normal_scores(ranks[1], rng))
    return float(c2st_many([pair], seed=seed, cores=cores)[0])


def _ranks(draws: np.ndarray, ties: np.random.Generator) -> np.ndarray:
    """From 0, of each column's values, (S, D)."""
    return np.argsort(np.lexsort((ties.random(draws.shape), draws), axis=0), axis=0)


def _normal_scores(ranks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers in the order of each column's ranks, (S, D)."""
    scores = np.sort(rng.standard_normal(ranks.shape), axis=0)
    return np.take_along_axis(scores, ranks, axis=0)
