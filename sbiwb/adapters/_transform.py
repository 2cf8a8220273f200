"""What every transform shares: how its statistics are learned, and how it refuses values."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from sbiwb.contracts import Measured, TransformPart
from sbiwb.errors import DataError

ChannelPart = TypeVar("ChannelPart")


class SeriesConfig(TransformPart, ABC):
    """Options of a transform along each series; it builds a `SeriesTransform`."""

    def measure_series(self, values: np.ndarray, lengths: np.ndarray) -> Measured:
        """The same of training series end to end, (rows, C), of `lengths` (N,) rows each."""
        return {}


def learned(measured: Measured, name: str) -> np.ndarray:
    """A statistic of each channel as it was learned, (C,) float64; NaN for None."""
    return np.asarray(measured[name], np.float64)


def by_channel(
    change: Callable[[ChannelPart, np.ndarray], np.ndarray],
    parts: Sequence[ChannelPart],
    values: np.ndarray,
) -> np.ndarray:
    """Each channel of values (rows, C) changed by its own part, (rows, C)."""
    columns = zip(parts, values.T, strict=True)
    return np.stack([change(part, column) for part, column in columns], axis=1)


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
