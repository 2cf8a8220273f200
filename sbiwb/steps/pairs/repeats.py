"""Data sets simulated again and again at the same theta and context, as arrays of one size.

Shapes: N data sets, K theta, R repeats at each, M members, C columns, F features of a member.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from sbiwb.project.member_rows import MemberRows

MIN_REPEATS = 8  # of a theta that says something
SHORT = 0.2  # share of data sets that may have fewer members than are looked at
MAX_PLACES, RUN = 32, 8  # members that are looked at, in runs of neighbours
MAX_COLUMNS = 8


def repeated(
    entries: Sequence[MemberRows], theta: np.ndarray, *, least: int = 1
) -> list[np.ndarray] | None:
    """The first members of each entry in data sets that all have them, each (K, R, M, C).

    Data sets with fewer members, and theta with few repeats left, are passed over.

    Args:
        entries: Members of the same N data sets.
        theta: Which theta each data set is of, (N,).
        least: Members that are needed.

    Returns:
        None where nothing is left.
    """
    lengths = [rows.lengths for rows in entries]
    sizes = [max(least, int(np.quantile(own, SHORT, method="lower"))) for own in lengths]
    is_long = np.all([own >= size for own, size in zip(lengths, sizes, strict=True)], axis=0)
    counts = np.bincount(theta[is_long], minlength=1)
    kept = np.flatnonzero(counts >= max(MIN_REPEATS, counts.max() / 2))
    if not len(kept):
        return None
    count = counts[kept].min()
    chosen = np.stack([np.flatnonzero(is_long & (theta == one))[:count] for one in kept])
    return [_members(rows, chosen, size) for rows, size in zip(entries, sizes, strict=True)]


def _members(rows: MemberRows, chosen: np.ndarray, size: int) -> np.ndarray:
    """The first members of the chosen data sets (K, R)."""
    starts = np.cumsum(rows.lengths) - rows.lengths
    return rows.values[starts[chosen][..., None] + np.arange(size)]


def part_of(members: np.ndarray) -> np.ndarray:
    """Members (K, R, M, C) of which there are not too many: runs of neighbours, evenly spread; and
    some of their columns."""
    _, _, count, columns = members.shape
    if columns > MAX_COLUMNS:
        members = members[..., np.linspace(0, columns - 1, MAX_COLUMNS).astype(int)]
    if count <= MAX_PLACES:
        return members
    starts = np.linspace(0, count - RUN, MAX_PLACES // RUN).astype(int)
    return members[:, :, (starts[:, None] + np.arange(RUN)).ravel()]


def features_by_place(members: np.ndarray) -> np.ndarray:
    """Features of members (K, R, M, C), each place by itself."""
    return _features(members, (1,))


def features_of_all(members: np.ndarray) -> np.ndarray:
    """Features of members (K, R, M, C), all places alike."""
    return _features(members, (1, 2))


def _features(members: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Location and scale of each column, (K, R, M, 2 C): normal scores and their squares.

    Scores are by the rank among the repeats at the same theta; so no outlier decides, and what
    members share with each other at one theta is not taken out of them.
    """
    scores = normal_scores(members, axes)
    return np.concatenate([scores, standardized(scores**2, axes)], axis=-1)


def normal_scores(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Φ⁻¹((rank - 1/2) / n) over axes from the second on, standardized; 0 where missing."""
    joined = values.reshape(len(values), -1, *values.shape[1 + len(axes) :])
    is_missing = np.isnan(values)
    policy = "omit" if is_missing.any() else "propagate"  # the latter is quick
    ranks = rankdata(joined, axis=1, nan_policy=policy).reshape(values.shape)
    count = np.maximum(1, np.sum(~is_missing, axis=axes, keepdims=True))
    return standardized(ndtri((ranks - 0.5) / count), axes)


def standardized(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Mean 0 and sd 1 over these axes; 0 where missing, and where all are the same."""
    there = ~np.isnan(values)
    count = np.maximum(1, there.sum(axes, keepdims=True))
    filled = np.where(there, values, 0.0)
    centred = np.where(there, filled - filled.sum(axes, keepdims=True) / count, 0.0)
    sd = np.sqrt((centred**2).sum(axes, keepdims=True) / count)
    return np.divide(centred, sd, out=np.zeros_like(centred), where=sd > 1e-9)
