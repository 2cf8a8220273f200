"""MMD: the squared maximum mean discrepancy between two samples, 0 for equal distributions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sbiwb.distances._samples import checked

BLOCK = 1 << 22  # squared distances in memory at once


def mmd2(reference: np.ndarray, draws: np.ndarray, *, bandwidth: float | None = None) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy with a Gaussian kernel.

    E k(x, x') + E k(y, y') - 2 E k(x, y) with k(a, b) = exp(-|a - b|² / (2 bandwidth²)); without
    bias, hence at times below zero. Columns are taken as they are: scale them first where their
    units differ.

    Args:
        reference: Draws of the reference posterior, (S, D).
        draws: Draws of the posterior that is judged, (T, D).
        bandwidth: Of the kernel; the median distance between reference draws if not given, as in
            the published table. That takes 2 S² bytes.

    Returns:
        The estimate.

    Raises:
        ValueError: The columns differ, there are fewer than two draws, a value is not finite, or
            the bandwidth is not positive.

    References:
        Gretton et al. (2012), https://jmlr.org/papers/v13/gretton12a.html
        Lueckmann et al. (2021), https://arxiv.org/abs/2101.04653

    Example:
        >>> rng = np.random.default_rng(0)
        >>> mmd2(rng.normal(size=(500, 2)), rng.normal(4.0, 1.0, (500, 2))) > 0.5
        True
    """
    reference, draws = checked(reference, draws, where="MMD")
    width = _median_distance(reference) if bandwidth is None else bandwidth
    if not width > 0:
        raise ValueError(
            f"MMD: a bandwidth of {width} is not positive; give one, or a reference whose draws "
            "are not mostly the same"
        )
    reference, draws = reference / width, draws / width
    within = _mean_within(reference) + _mean_within(draws)
    return within - 2 * _mean_across(reference, draws)


def _distances(x: np.ndarray) -> Iterator[np.ndarray]:
    """Those of all pairs of rows, part by part."""
    from scipy.spatial.distance import pdist

    rows = max(1, BLOCK // len(x))
    for start in range(0, len(x), rows):
        block, later = x[start : start + rows], x[start + rows :]
        yield pdist(block)
        yield _squares(block, later).ravel() ** 0.5


def _median_distance(x: np.ndarray) -> float:
    """The median distance between two rows."""
    distances = np.empty(len(x) * (len(x) - 1) // 2, dtype=np.float32)
    filled = 0
    for part in _distances(x):
        distances[filled : filled + len(part)] = part
        filled += len(part)
    middle = (len(distances) - 1) // 2
    distances.partition(middle)
    return float(distances[middle])


def _mean_within(x: np.ndarray) -> float:
    """Mean kernel between different rows."""
    return (_sum(x, x) - len(x)) / (len(x) * (len(x) - 1))


def _mean_across(x: np.ndarray, y: np.ndarray) -> float:
    """Mean kernel between the rows of one and of the other."""
    return _sum(x, y) / (len(x) * len(y))


def _sum(x: np.ndarray, y: np.ndarray) -> float:
    """The kernel summed over all pairs of rows, block by block."""
    rows = max(1, BLOCK // len(y))
    total = 0.0
    for start in range(0, len(x), rows):
        total += float(np.exp(-0.5 * _squares(x[start : start + rows], y)).sum())
    return total


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances (S, T)."""
    from scipy.spatial.distance import cdist

    return cdist(x, y, "sqeuclidean")
