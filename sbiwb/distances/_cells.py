"""PQMass: the p-value of a chi-squared test on how many draws of either sample fall into the cells
around random draws of both.
"""

from __future__ import annotations

import numpy as np

from sbiwb.distances._samples import checked

DRAWS_A_CELL = 20  # of both samples, on average at least


def pqmass(reference: np.ndarray, draws: np.ndarray, *, seed: int = 1, cells: int = 100) -> float:
    """p-value that two samples are of one distribution: uniform on [0, 1] if they are.

    Points drawn without replacement from both samples part the space into the cells nearest to each
    (Voronoi); of the remaining draws, n_k of one sample and m_k of the other in cell k, the
    statistic is the chi-squared of the table of counts, with a degree of freedom fewer than there
    are cells. Columns are z-scored by both samples together, which treats them alike. The cells are
    one random choice: another seed gives another p, and a small one says that the samples differ,
    not by how much. Draws must be independent: duplicates or a chain's draws make p too small.

    Args:
        reference: Draws of the reference posterior, (S, D).
        draws: Draws of the posterior that is judged, (T, D).
        seed: Of the points.
        cells: At most; fewer where fewer than 20 draws would be in each on average.

    Returns:
        The p-value.

    Raises:
        ValueError: The columns differ, there are fewer than 20 draws in each sample, a value is not
            finite, or there are fewer than two cells.

    References:
        Lemos et al. (2024), https://arxiv.org/abs/2402.04355

    Example:
        >>> rng = np.random.default_rng(0)
        >>> pqmass(rng.normal(size=(500, 2)), rng.normal(1.0, 1.0, (500, 2))) < 1e-6
        True
    """
    reference, draws = checked(reference, draws, where="PQMass")
    both = _z_scored(np.concatenate([reference, draws]))
    count = min(cells, len(both) // DRAWS_A_CELL)
    if count < 2 or min(len(reference), len(draws)) < DRAWS_A_CELL:
        raise ValueError(
            f"PQMass: {len(reference)} and {len(draws)} draws in {cells} cells; "
            f"take at least 2 cells, and at least {DRAWS_A_CELL} draws of each sample"
        )
    order = np.random.default_rng(seed).permutation(len(both))
    centres, counted = order[:count], order[count:]
    cell = _nearest(both[counted], both[centres])
    return _p_value(cell, counted >= len(reference), count)


def _z_scored(both: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and sd 1; a constant one is 0."""
    spread = both.std(0)
    return (both - both.mean(0)) / np.where(spread > 0, spread, 1)


def _nearest(draws: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The place of the nearest centre for each draw, (n,)."""
    from scipy.spatial import KDTree

    return np.asarray(KDTree(centres).query(draws)[1])


def _p_value(cell: np.ndarray, is_draw: np.ndarray, count: int) -> float:
    """Of the counts of both samples by cell; cells without a draw are passed over."""
    from scipy.stats import chi2

    table = np.stack([np.bincount(cell[mask], minlength=count) for mask in (~is_draw, is_draw)])
    table = table[:, table.sum(0) > 0].astype(float)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    statistic = ((table - expected) ** 2 / expected).sum()
    return float(chi2.sf(statistic, table.shape[1] - 1))
