"""Leaves out the channels that never change in the training data: they tell nothing of theta.

Where all channels are constant the first stays, for an input needs one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbiwb.adapters._transform import learned
from sbiwb.contracts import Measured, TransformPart


@dataclass(frozen=True)
class DropConstant:
    """Rows of C channels to those of the channels that vary.

    Args:
        varies: Which channels are kept, (C,).
        values: What each channel is where it is constant, (C,).
    """

    varies: np.ndarray
    values: np.ndarray

    def forward(self, values: np.ndarray) -> np.ndarray:
        return values[:, self.varies]

    def inverse(self, values: np.ndarray) -> np.ndarray:
        complete = np.tile(self.values, (len(values), 1))
        complete[:, self.varies] = values
        return complete


class Config(TransformPart):
    """No options."""

    def measure(self, values: np.ndarray) -> Measured:
        low, high = np.nanmin(values, 0), np.nanmax(values, 0)
        varies = low < high
        varies[0] |= not varies.any()
        return {"varies": varies.astype(int).tolist(), "values": low.tolist()}

    def build(self, measured: Measured) -> DropConstant:
        return DropConstant(learned(measured, "varies") > 0, learned(measured, "values"))
