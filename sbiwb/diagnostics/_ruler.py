"""What training simulations say of distance: columns on one scale, Mahalanobis and a kernel.

The columns are brought to one scale: log(1 + x/c) where a column is never negative,
asinh((x - median)/spread) elsewhere; counts over several orders of magnitude would drown in their
own tail otherwise.

References:
    Ledoit, Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices,
    https://doi.org/10.1016/S0047-259X(03)00096-4.
    Gretton, Borgwardt, Rasch, Schölkopf, Smola 2012, A kernel two-sample test,
    https://jmlr.org/papers/v13/gretton12a.html.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_REFERENCES = 4_000  # training simulations that the kernel looks at
MAX_NEIGHBOURS = 500  # simulations whose nearest neighbour is sought
SAME_DISTANCE = 1e-12  # squared distance of the same data set, rounding aside
MIN_SCALE = 1e-4  # of a column's largest number: below it, differences are rounding
MIN_EIGENVALUE = 1e-4  # of the mean eigenvalue of the covariance
MAX_UNIT = 1e300
BLOCK_ROWS = 1_000
NORMAL_QUARTERS = 1.349  # distance of the quartiles of a normal, in sds


@dataclass(frozen=True)
class ColumnScale:
    """Columns to one scale: log(1 + x/c) or asinh((x - median)/spread).

    Args:
        positive: Which columns take the logarithm, (K,).
        centre: (K,).
        spread: c is the 5 % quantile of the positive values, (K,).
    """

    positive: np.ndarray
    centre: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, train: np.ndarray) -> ColumnScale:
        """The scale of columns (T, K)."""
        largest = np.abs(train).max(axis=0)
        positive = (train.min(axis=0) >= 0) & (largest > 0)
        centre = np.where(positive, 0.0, np.median(train, axis=0))
        floor = np.maximum(MIN_SCALE * largest, np.finfo(float).tiny ** 0.5)
        spread = _robust_spread(train, largest, floor)
        for k in np.flatnonzero(positive):
            column = train[:, k]
            spread[k] = np.quantile(column[column > 0], 0.05)
        return cls(positive, centre, np.maximum(spread, floor))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            unit = np.clip((values - self.centre) / self.spread, -MAX_UNIT, MAX_UNIT)
        logarithm = np.log1p(np.maximum(unit, 0.0))
        return np.where(self.positive & (unit > 0), logarithm, np.arcsinh(unit))


def _robust_spread(train: np.ndarray, largest: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """The sd by the quartiles, or plain where these lie too near together, (K,)."""
    low, high = np.quantile(train, [0.25, 0.75], axis=0)
    unit = np.where(largest > 0, largest, 1.0)
    spread = (high - low) / NORMAL_QUARTERS
    return np.where(spread > floor, spread, unit * (train / unit).std(axis=0))


@dataclass(frozen=True)
class Ruler:
    """What the training simulations say of distance.

    Args:
        scale: Of the columns.
        mean: Of the scaled columns, (K,).
        spread: Their sd, (K,).
        whiten: Standardised columns to uncorrelated ones, (K, K).
        references: Simulations that the kernel looks at, standardised, (R, K).
        narrow: Bandwidth for one data set.
        wide: Bandwidth for sets.
    """

    scale: ColumnScale
    mean: np.ndarray
    spread: np.ndarray
    whiten: np.ndarray
    references: np.ndarray
    narrow: float
    wide: float

    @classmethod
    def of(cls, train: np.ndarray) -> Ruler:
        """From training simulations (T, K)."""
        scale = ColumnScale.of(train)
        rows = scale(train)
        mean = rows.mean(axis=0)
        spread = np.maximum(rows.std(axis=0), MIN_SCALE)
        unit = (rows - mean) / spread
        references = unit[spread_out(len(unit), MAX_REFERENCES)]
        return cls(scale, mean, spread, _whitening(unit), references, *_bandwidths(references))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Standardised columns."""
        return (self.scale(values) - self.mean) / self.spread

    def mahalanobis(self, unit: np.ndarray) -> np.ndarray:
        """Distance of standardised rows (n, K) from the mean, (n,)."""
        return np.sqrt(((unit @ self.whiten) ** 2).sum(axis=1))

    def mean_kernel(self, unit: np.ndarray, bandwidth: float) -> np.ndarray:
        """Mean kernel of rows (n, K) with the references, (n,)."""
        means = np.zeros(len(unit))
        for start in range(0, len(unit), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            means[rows] = gaussian_kernel(unit[rows], self.references, bandwidth).mean(axis=1)
        return means

    def mean_kernel_inside(self, bandwidth: float) -> float:
        """Mean kernel among the references."""
        return float(self.mean_kernel(self.references, bandwidth).mean())


def _whitening(unit: np.ndarray) -> np.ndarray:
    """Standardised columns to uncorrelated ones, (K, K)."""
    eigenvalues, vectors = np.linalg.eigh(ledoit_wolf(unit))
    floor = MIN_EIGENVALUE * max(eigenvalues.mean(), 1e-3)
    return vectors / np.sqrt(np.maximum(eigenvalues, floor))


def ledoit_wolf(rows: np.ndarray) -> np.ndarray:
    """Covariance of rows (n, K), shrunk toward a multiple of the identity, (K, K).

    The amount of shrinkage is the one that is best in expectation.
    """
    n, k = rows.shape
    centred = rows - rows.mean(axis=0)
    sample = centred.T @ centred / n
    target = np.trace(sample) / k * np.eye(k)
    distance = ((sample - target) ** 2).sum()
    # mean squared distance of x x' from the sample covariance
    noise = ((centred**2).sum(axis=1) ** 2).mean() - (sample**2).sum()
    if distance <= 0:
        return target
    share = min(1.0, noise / n / distance)
    return share * target + (1 - share) * sample


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of rows a (n, K) and b (m, K), (n, m)."""
    return np.maximum(0.0, (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T)


def gaussian_kernel(a: np.ndarray, b: np.ndarray, bandwidth: float) -> np.ndarray:
    """Of rows a (n, K) and b (m, K), (n, m)."""
    return np.exp(-squared_distances(a, b) / (2 * bandwidth**2))


def _bandwidths(references: np.ndarray) -> tuple[float, float]:
    """Median distance to the nearest reference that is not the same, and to all that are not.

    1, the columns' scale, where all are the same.
    """
    some = references[spread_out(len(references), MAX_NEIGHBOURS)]
    squared = squared_distances(some, references)
    other = np.where(squared > SAME_DISTANCE, squared, np.inf)
    nearest = other.min(axis=1)
    if not np.isfinite(nearest).any():
        return 1.0, 1.0
    return _median_distance(nearest), _median_distance(other)


def _median_distance(squared: np.ndarray) -> float:
    return float(np.sqrt(np.median(squared[np.isfinite(squared)])))


def spread_out(n: int, most: int) -> np.ndarray:
    """At most `most` of n rows, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))
