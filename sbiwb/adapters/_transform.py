"""What every transform shares: how its statistics are learned, and how it refuses values."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from sbiwb.contracts import Transform
from sbiwb.errors import DataError
from sbiwb.families import Part

Measured = dict[str, list]


class TransformConfig(Part, ABC):
    """Options of one transform. Rows are data sets (vector) or members and time steps of all data sets (set, series)."""

    def measure(self, values: np.ndarray) -> Measured:
        """Statistics of training values (rows, C), as lists of plain numbers; none unless a transform learns some."""
        return {}

    @abstractmethod
    def build(self, measured: Measured) -> Transform:
        """The transform with its learned statistics."""


def refuse(values: np.ndarray, bad: np.ndarray, *, what: str, todo: str) -> None:
    """Raises if any entry is bad, naming the first one and how many there are.

    Args:
        values: (rows, C).
        bad: Which entries cannot be transformed, (rows, C).
        what: What was attempted, such as "log of".
        todo: What to do about it.

    Raises:
        DataError: If any entry is bad; whoever knows the variable's name adds where.
    """
    if bad.any():
        raise DataError(f"cannot take {what} {float(values[bad][0]):g} ({int(bad.sum())} of {bad.size} values)", todo=todo)
