"""Discrete parameters: how well the posterior tells their levels apart, and means what it says.

For a parameter with K levels the posterior of test pair n gives level k the probability p_nk, the
share of its S draws there. Against the true levels k_n stand

    accuracy     share of pairs whose most probable level is the true one
    log score    -mean log p_n,k_n, in nats, with p = (draws at the level + 1/K) / (S + 1), so that
                 a level without a draw is not impossible
    Brier score  mean over pairs of Σ_k (p_nk - 1[k = k_n])²
    level error  of one level: Σ_b n_b/N |mean p - frequency| over ten bins of about equally many
                 pairs by p (expected calibration error): 0 where of all pairs that give the level
                 70 % it is the truth in 70 %

and the confusion matrix: for each true level, the mean probability of every level.

Warning: accuracy and scores compare with knowing the frequencies of the levels alone, which the
reasons tell; a level error is not 0 by chance, so it warns only where it is larger than 0.05 and
than that of 1,000 sets of truths drawn from the very probabilities.

References:
    Brier 1950, Verification of forecasts expressed in terms of probability,
    https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    Gneiting, Raftery 2007, Strictly proper scoring rules, prediction, and estimation,
    https://doi.org/10.1198/016214506000001437.
    Naeini, Cooper, Hauskrecht 2015, Obtaining well calibrated probabilities using Bayesian binning,
    https://doi.org/10.1609/aaai.v29i1.9602.
    Schmitt, Radev, Bürkner 2023, Meta-uncertainty in Bayesian model comparison,
    https://arxiv.org/abs/2210.07278 (calibrated model probabilities).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sbiwb.diagnostics import _inputs
from sbiwb.evidence import Rule, Value
from sbiwb.row_arrays import RowArray
from sbiwb.seeds import generator

MAX_LEVELS = 12  # of a column that is judged by its levels; with more it is taken as a number
ACCURACY, LOG_SCORE, BRIER = "recovery_accuracy", "recovery_log_score", "recovery_brier"
LEVEL_ERROR = "recovery_level_error"
MAX_BINS = 10
MIN_BIN_PAIRS = 10
NULL_SETS = 1_000
NULL_SEED = 0  # what chance does follows from the probabilities alone
WARN_ABOVE = 0.05
DEFINITIONS = {
    ACCURACY: "share of test pairs whose most probable level is the true one",
    LOG_SCORE: (
        "-mean log p(true level | x) over test pairs, in nats, p = (draws there + 1/K) / (S + 1) "
        "[Gneiting, Raftery 2007]"
    ),
    BRIER: (
        "mean over test pairs of the sum over levels of (p(level | x) - 1 where it is the truth)^2 "
        "[Brier 1950]"
    ),
    LEVEL_ERROR: (
        "expected calibration error of one level: weighted mean over bins of |mean p(level | x) - "
        "frequency of the level| [Naeini et al. 2015]"
    ),
}


@dataclass(frozen=True)
class LevelPosterior:
    """What the posterior says of a discrete parameter with K levels.

    Args:
        name: The column.
        levels: Its values, rising, (K,).
        truth: Place of the true level of each test pair, (N,).
        counts: Draws at each level, (N, K).
        s: Draws of each test pair.
    """

    name: str
    levels: np.ndarray
    truth: np.ndarray
    counts: np.ndarray
    s: int

    @property
    def probability(self) -> np.ndarray:
        """(N, K)."""
        return self.counts / self.s

    @property
    def is_truth(self) -> np.ndarray:
        """Whether each level is the true one, (N, K)."""
        return self.truth[:, None] == np.arange(len(self.levels))

    @property
    def frequency(self) -> np.ndarray:
        """Share of test pairs of each true level, (K,)."""
        return self.is_truth.mean(axis=0)

    def label(self, k: int) -> str:
        """A level in words, such as `k = 2`."""
        return f"{self.name} = {self.levels[k]:g}"

    def confusion(self) -> np.ndarray:
        """Mean probability of each level for every true level, (K, K); NaN where none is true.

        Example:
            >>> counts = np.array([[9, 1], [2, 8], [4, 6]])
            >>> two = LevelPosterior("k", np.array([0.0, 1.0]), np.array([0, 1, 1]), counts, 10)
            >>> two.confusion().round(9).tolist()
            [[0.9, 0.1], [0.3, 0.7]]
        """
        with np.errstate(invalid="ignore"):
            return self.is_truth.T @ self.probability / self.is_truth.sum(axis=0)[:, None]


def level_posterior(
    name: str, levels: np.ndarray, theta: np.ndarray, draws: RowArray, column: int
) -> LevelPosterior:
    """Counts the draws at each level.

    Args:
        name: Of the column.
        levels: Its K values, rising.
        theta: True values, (N,).
        draws: (N, S, D).
        column: Which of the D columns.
    """
    counts = np.zeros((len(theta), len(levels)), np.int64)
    for rows, piece in _inputs.pieces(draws):
        counts[rows] = (piece[:, :, column, None] == levels).sum(axis=1)
    truth = np.minimum(np.searchsorted(levels, theta), len(levels) - 1)
    return LevelPosterior(name, levels, truth, counts, draws.shape[1])


def level_values(posterior: LevelPosterior) -> Iterator[Value]:
    """Accuracy, scores, and the calibration of each level."""
    yield _accuracy(posterior)
    yield _log_score(posterior)
    yield _brier(posterior)
    for k in range(len(posterior.levels)):
        yield _level_error(posterior, k)


def missing_values(name: str, trouble: str) -> list[Value]:
    """The same where they cannot be had."""
    return [Value(label, name, None, reason=trouble) for label in (ACCURACY, LOG_SCORE, BRIER)]


def _accuracy(posterior: LevelPosterior) -> Value:
    accuracy = float((posterior.counts.argmax(axis=1) == posterior.truth).mean())
    usual = posterior.frequency.max()
    reason = f"naming the commonest level always would be right in {usual:.1%}"
    return Value(ACCURACY, posterior.name, accuracy, reason=reason)


def _log_score(posterior: LevelPosterior) -> Value:
    n, k = posterior.counts.shape
    smoothed = (posterior.counts + 1 / k) / (posterior.s + 1)
    score = -float(np.log(smoothed[np.arange(n), posterior.truth]).mean())
    frequency = posterior.frequency[posterior.frequency > 0]
    entropy = -float((frequency * np.log(frequency)).sum())
    reason = f"the frequencies of the levels alone have {entropy:.3g} nats"
    return Value(LOG_SCORE, posterior.name, score, reason=reason)


def _brier(posterior: LevelPosterior) -> Value:
    squares = (posterior.probability - posterior.is_truth) ** 2
    usual = 1 - float((posterior.frequency**2).sum())
    reason = f"the frequencies of the levels alone have {usual:.3g}"
    return Value(BRIER, posterior.name, float(squares.sum(axis=1).mean()), reason=reason)


def _level_error(posterior: LevelPosterior, k: int) -> Value:
    p, is_level = posterior.probability[:, k], posterior.is_truth[:, k]
    error = calibration_error(p, is_level[None])[0]
    label = posterior.label(k)
    reason = f"it has {p.mean():.1%} on average, and is the truth in {is_level.mean():.1%}"
    if error > max(WARN_ABOVE, chance(p)):
        reason += f"; at a typical probability off by {100 * error:.2g} percentage points"
        return Value(LEVEL_ERROR, label, float(error), warning=Rule.MISJUDGED_LEVELS, reason=reason)
    return Value(LEVEL_ERROR, label, float(error), reason=reason)


def bins(p: np.ndarray) -> list[np.ndarray]:
    """Rows of probabilities (N,) in bins of about equally many, the lowest first."""
    count = min(MAX_BINS, max(1, len(p) // MIN_BIN_PAIRS))
    return np.array_split(np.argsort(p, kind="stable"), count)


def calibration_error(p: np.ndarray, is_level: np.ndarray) -> np.ndarray:
    """Expected calibration error of probabilities (N,) against sets of truths (R, N), (R,).

    Example:
        >>> p = np.repeat([0.2, 0.8], 100)
        >>> calibration_error(p, (p > 0.5)[None]).round(9).tolist()
        [0.2]
    """
    gaps = np.zeros(len(is_level))
    for rows in bins(p):
        gaps += np.abs(is_level[:, rows].sum(axis=1) - p[rows].sum())
    return gaps / len(p)


def chance(p: np.ndarray) -> float:
    """The largest error among sets of truths that follow the probabilities (N,) themselves."""
    rng = generator(NULL_SEED, "bands", len(p))
    return float(calibration_error(p, rng.random((NULL_SETS, len(p))) < p).max())
