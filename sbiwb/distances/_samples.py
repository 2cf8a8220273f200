"""Two samples, checked before they are compared."""

from __future__ import annotations

import numpy as np


def checked(
    reference: np.ndarray, draws: np.ndarray, *, where: str, equal: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 matrices.

    Args:
        reference: Draws, (S, D).
        draws: Draws, (S, D), or (T, D) where sizes need not be equal.
        where: Which distance asks, for the message.
        equal: Whether the sizes must be equal.

    Raises:
        ValueError: They are no matrices, have other columns or sizes, fewer than two rows, or
            values that are not finite.
    """
    reference, draws = (np.asarray(one, dtype=np.float64) for one in (reference, draws))
    shapes = f"{reference.shape} and {draws.shape}"
    if (
        reference.ndim != 2
        or draws.ndim != 2
        or reference.shape[1] != draws.shape[1]
        or not reference.shape[1]
    ):
        raise ValueError(
            f"{where}: samples of shapes {shapes} cannot be compared; give draws in rows, (S, D), "
            "of the same D parameters"
        )
    if equal and len(reference) != len(draws):
        raise ValueError(
            f"{where}: samples of shapes {shapes} differ in size; take as many rows of one as of "
            "the other"
        )
    if min(len(reference), len(draws)) < 2:
        raise ValueError(
            f"{where}: samples of shapes {shapes} are too small; give at least two draws each"
        )
    bad = sum(int((~np.isfinite(one).all(1)).sum()) for one in (reference, draws))
    if bad:
        raise ValueError(
            f"{where}: {bad} draws are not finite; remove them, or find where they come from"
        )
    return reference, draws
