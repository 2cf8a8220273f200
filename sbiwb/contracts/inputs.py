"""Inputs of the network: their shapes, and the steps that make them.

Shapes: B batch, M members or steps, C channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class InputShape:
    """What one input of the network looks like.

    Args:
        kind: `vector` (B, C), `set` or `series` (B, M, C), `grid` (B, *grid, C).
        channels: C.
        length: Longest M of the training data; None for a vector and a grid.
        varies: Whether M varies, so that a mask comes along.
        grid: Sizes of a grid's one or two axes, the same for all data sets; empty for the others.
    """

    kind: str
    channels: int
    length: int | None = None
    varies: bool = False
    grid: tuple[int, ...] = ()


class Transform(Protocol):
    """One step of an input's chain, on float64 arrays (rows, C) to (rows, C'), row by row;
    `inverse`, where there is one, goes back.

    Rows are data sets (vector), or the members, steps or cells of all data sets end to end. NaN is
    a missing value: it stays NaN.
    """

    def forward(self, values: np.ndarray) -> np.ndarray: ...


class SeriesTransform(ABC):
    """A step that looks along each series; like `Transform` otherwise."""

    @abstractmethod
    def forward(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """values (rows, C) of N series end to end, `lengths` (N,) rows each, to (rows, C')."""
