"""Beside each value the logarithm of its size, in channels where sizes span decades or pass zero.

    x to (x, log max(|x|, floor))

A scale that is a power of a parameter, such as sd = theta**2, shrinks without end where the
parameter passes zero; of x itself a network learns that badly, of log |x| it is a straight line. A
channel gets one where the 1 % quantile of |x| is less than `ratio` times the 99 % quantile; its
floor is the smallest |x| but for one in a thousand of the training data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.adapters._transform import learned
from sbiwb.contracts import Measured, TransformPart

SMALL, LARGE, LEAST = 0.01, 0.99, 0.001  # quantiles of |x|


@dataclass(frozen=True)
class WithLog:
    """(rows, C) to (rows, C + C'), C' the channels with a floor.

    Args:
        floor: Size that smaller ones are taken for, (C,); NaN of a channel that gets no logarithm.
    """

    floor: np.ndarray

    def forward(self, values: np.ndarray) -> np.ndarray:
        chosen = ~np.isnan(self.floor)
        sizes = np.maximum(np.abs(values[:, chosen]), self.floor[chosen])
        return np.concatenate([values, np.log(sizes)], axis=1)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return values[:, : len(self.floor)]


class Config(TransformPart):
    """Which channels get a logarithm."""

    ratio: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Of the 1 % to the 99 % quantile of |x|, below which sizes span decades.",
    )

    def measure(self, values: np.ndarray) -> Measured:
        return {"floor": [self._floor(np.abs(column)) for column in values.T]}

    def _floor(self, sizes: np.ndarray) -> float | None:
        """None of a channel whose sizes are much alike."""
        small, large, least = np.nanquantile(sizes, [SMALL, LARGE, LEAST])
        if not small < self.ratio * large:
            return None
        return float(max(least, 1e-9 * large))

    def build(self, measured: Measured) -> WithLog:
        return WithLog(learned(measured, "floor"))
