r"""Conformal intervals: they hold the truth as often as they say, whatever the network is worth.

Pairs that no training saw say how far a posterior's own intervals miss. With the draws' quantiles
q_a of a column, and its true value t, the score of a pair is

    s = max[ (q_05 - t) / (q_50 - q_05),  (t - q_95) / (q_95 - q_50) ],

0 at the edge of the central 90 % interval, 1 as far outside as its half-width, -1 at the median.
With the ceil(0.9 (n + 1))-th smallest score s' of n calibration pairs, the interval of a data set

    [ q_05 - s' (q_50 - q_05),  q_95 + s' (q_95 - q_50) ]

holds the truth with a probability of 0.90 to 0.90 + 1 / (n + 1), over data sets that come out of
the prior and the simulator, and over calibration pairs. The region of highest density does with the
score log q at draws (their mean) less log q at the truth: it is where log q is at most s' below the
mean of the draws.

So that they also hold where the network is worse than elsewhere, pairs are parted into groups, and
each data set is judged by those of its own [Masserano et al. 2023; Cabezas et al. 2025]. A ridge
regression of the score on what the posterior itself looks like (centre and width of each column,
and their squares) says where it misses most; its predictions, cut at equal numbers, are the groups.
It is fitted to other pairs than those that calibrate, so the guarantee holds in every group.

Warning: nothing is promised for data that the simulator does not make.

Shapes: N pairs, D columns, S draws.

References:
    Sesia & Candès (2020), A comparison of some conformal quantile regression methods,
        https://arxiv.org/abs/1909.05433
    Masserano, Dorigo, Izbicki, Kuusela & Lee (2023), Simulator-Based Inference with WALDO,
        https://arxiv.org/abs/2205.15680
    Cabezas, Soares, Ramos, Stern & Izbicki (2025), CP4SBI: Local Conformal Calibration of Credible
        Sets in Simulation-Based Inference, https://arxiv.org/abs/2508.17077
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LEVEL = 0.9
SHOWN = np.array([0.05, 0.5, 0.95])  # quantiles that the scores are made of
GROUP = 250  # calibration pairs of a group
MAX_GROUPS = 8
MAX_SCORE = 5.0  # beyond, a miss counts as this one where groups are found
RIDGE = 1e-2  # in units of the descriptors' variance


@dataclass(frozen=True)
class Shown:
    """What posteriors look like, of N data sets.

    Args:
        quantiles: 5, 50 and 95 % of the draws, (N, 3, D).
        log_q: Mean log q over the draws, (N,); NaN where there is no density.
    """

    quantiles: np.ndarray
    log_q: np.ndarray

    @classmethod
    def of(cls, draws: np.ndarray, log_q_draws: np.ndarray) -> Shown:
        """Of draws (N, S, D), and log q at some of them (N, R)."""
        return cls(np.quantile(draws, SHOWN, axis=1).swapaxes(0, 1), log_q_draws.mean(1))

    @property
    def below(self) -> np.ndarray:
        """Half-widths of the intervals below the median, (N, D)."""
        return _positive(self.quantiles[:, 1] - self.quantiles[:, 0])

    @property
    def above(self) -> np.ndarray:
        return _positive(self.quantiles[:, 2] - self.quantiles[:, 1])

    @cached_property
    def descriptors(self) -> np.ndarray:
        """Centre and log-width of each column, (N, 2D)."""
        widths = np.log(self.below + self.above)
        return np.concatenate([self.quantiles[:, 1], widths], axis=1)

    def scores(self, theta: np.ndarray, log_q_theta: np.ndarray) -> np.ndarray:
        """Of each column and, last, of the density, (N, D + 1).

        Args:
            theta: The truth, (N, D).
            log_q_theta: log q there, (N,).
        """
        low, high = self.quantiles[:, 0], self.quantiles[:, 2]
        of_columns = np.maximum((low - theta) / self.below, (theta - high) / self.above)
        with np.errstate(invalid="ignore"):
            of_density = np.nan_to_num(self.log_q - log_q_theta, nan=np.inf, posinf=np.inf)
        return np.column_stack([of_columns, of_density])


def _positive(widths: np.ndarray) -> np.ndarray:
    """A column whose draws are all the same has a width that divides nothing by 0."""
    return np.maximum(widths, np.finfo(float).tiny ** 0.5)


@dataclass(frozen=True)
class Groups:
    """Data sets parted by how far the posterior is expected to miss.

    Args:
        centre: Of the descriptors, (K,).
        scale: Of the descriptors, (K,).
        weights: Of the descriptors, their squares and 1, (2K + 1,).
        edges: Of the predictions, rising; one less than there are groups.
    """

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    edges: np.ndarray

    @classmethod
    def fitted(cls, descriptors: np.ndarray, scores: np.ndarray, count: int) -> Groups:
        """As many groups of about equal size.

        Args:
            descriptors: (N, K).
            scores: Of one kind, (N,).
            count: Groups.
        """
        centre, scale = descriptors.mean(0), descriptors.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        design = _design((descriptors - centre) / scale)
        penalty = RIDGE * len(design) * np.eye(design.shape[1])
        penalty[-1, -1] = 0.0
        tamed = np.minimum(scores, MAX_SCORE)
        weights = np.linalg.solve(design.T @ design + penalty, design.T @ tamed)
        levels = np.arange(1, count) / count
        return cls(centre, scale, weights, np.quantile(design @ weights, levels))

    def __call__(self, descriptors: np.ndarray) -> np.ndarray:
        """The group of each data set, (N,)."""
        predicted = _design((descriptors - self.centre) / self.scale) @ self.weights
        return np.searchsorted(self.edges, predicted, side="right")


def _design(standardized: np.ndarray) -> np.ndarray:
    bounded = np.clip(standardized, -MAX_SCORE, MAX_SCORE)
    return np.column_stack([bounded, bounded**2, np.ones(len(bounded))])


@dataclass(frozen=True)
class Calibrated:
    """Limits of the scores, by group.

    Args:
        groups: Of each kind of score, D + 1.
        limits: s' of each kind and group, (D + 1, G).
    """

    groups: tuple[Groups, ...]
    limits: np.ndarray

    @classmethod
    def of(
        cls, grouping: tuple[Shown, np.ndarray], calibration: tuple[Shown, np.ndarray]
    ) -> Calibrated:
        """From pairs that no training saw.

        Args:
            grouping: Posteriors and scores (N, D + 1) of the pairs that groups are found by.
            calibration: Of the pairs that calibrate, others.
        """
        shown, scores = calibration
        count = max(1, min(MAX_GROUPS, len(scores) // GROUP))
        groups, limits = [], np.empty((scores.shape[1], count))
        for kind in range(scores.shape[1]):
            fitted = Groups.fitted(grouping[0].descriptors, grouping[1][:, kind], count)
            own = fitted(shown.descriptors)
            limits[kind] = [limit(scores[own == group, kind]) for group in range(count)]
            groups.append(fitted)
        return cls(tuple(groups), limits)

    def limits_of(self, shown: Shown) -> np.ndarray:
        """s' of each data set, (N, D + 1)."""
        columns = []
        for kind, groups in enumerate(self.groups):
            columns.append(self.limits[kind][groups(shown.descriptors)])
        return np.stack(columns, axis=1)

    def intervals(self, shown: Shown) -> np.ndarray:
        """Of each column, (N, D, 2); infinite where there are too few calibration pairs."""
        by = self.limits_of(shown)[:, :-1]
        low = shown.quantiles[:, 0] - by * shown.below
        high = shown.quantiles[:, 2] + by * shown.above
        return np.stack([low, high], axis=-1)

    def densities(self, shown: Shown) -> np.ndarray:
        """The least log q inside the region of highest density of each data set, (N,)."""
        return shown.log_q - self.limits_of(shown)[:, -1]


def limit(scores: np.ndarray, level: float = LEVEL) -> float:
    """The score below which one more lies with this probability at least; infinite where there are
    too few.

    Example:
        >>> limit(np.arange(1.0, 20.0), 0.9), limit(np.arange(5.0), 0.9)
        (18.0, inf)
    """
    place = math.ceil(level * (len(scores) + 1))
    if place > len(scores):
        return math.inf
    return float(np.sort(scores)[place - 1])
