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
    reference = np.asarray(reference, dtype=np.float64)
    draws = np.asarray(draws, dtype=np.float64)
    problem = _shape_problem(reference, draws, equal)
    if problem:
        raise ValueError(
            f"{where}: samples of shapes {reference.shape} and {draws.shape} {problem}"
        )
    bad = _not_finite(reference) + _not_finite(draws)
    if bad:
        todo = "remove them, or find where they come from"
        raise ValueError(f"{where}: {bad} draws are not finite; {todo}")
    return reference, draws


def _shape_problem(reference: np.ndarray, draws: np.ndarray, equal: bool) -> str | None:
    """Why samples of these shapes are not compared, with what to do."""
    matrices = reference.ndim == draws.ndim == 2
    if not matrices or reference.shape[1] != draws.shape[1] or reference.shape[1] == 0:
        return "cannot be compared; give draws in rows, (S, D), of the same D parameters"
    if equal and len(reference) != len(draws):
        return "differ in size; take as many rows of one as of the other"
    if min(len(reference), len(draws)) < 2:
        return "are too small; give at least two draws each"
    return None


def _not_finite(draws: np.ndarray) -> int:
    """Rows with a value that is NaN or infinite."""
    return int((~np.isfinite(draws).all(1)).sum())
