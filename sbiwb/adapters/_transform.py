"""What every transform shares: how its statistics are learned, and how it refuses values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from sbiwb.contracts import SeriesTransform, Transform
from sbiwb.errors import DataError
from sbiwb.families import Part

Measured = dict[str, list]


class TransformConfig(Part, ABC):
    """Options of one transform.

    Rows are data sets (vector), or members, steps or cells of all data sets (set, series, grid).
    Missing values are NaN and come only where a transform that `fills` them follows: learn from the
    others, and pass them on.

    Attributes:
        fills: Whether missing values end here: NaN may come in, and none goes out.
    """

    fills: ClassVar[bool] = False

    def measure(self, values: np.ndarray) -> Measured:
        """Statistics of training values (rows, C), as lists of plain numbers.

        None unless a transform learns some.
        """
        return {}

    @abstractmethod
    def build(self, measured: Measured) -> Transform | SeriesTransform:
        """The transform with its learned statistics."""


class SeriesConfig(TransformConfig, ABC):
    """Options of a transform along each series; it builds a `SeriesTransform`."""

    def measure_series(self, values: np.ndarray, lengths: np.ndarray) -> Measured:
        """The same of training series end to end, (rows, C), of `lengths` (N,) rows each."""
        return {}


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
        raise DataError(
            f"cannot take {what} {float(values[bad][0]):g} ({int(bad.sum())} of {bad.size} values)",
            todo=todo,
        )
