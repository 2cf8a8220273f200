"""Missing values (NaN) become 0, and a further channel says which values were observed.

Each channel gets one more: 1 where its value was observed, 0 where it is missing.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sbiwb.contracts import Measured, TransformPart


class NanToMask:
    """(rows, C) to (rows, 2 C): the values, then whether each was observed."""

    def forward(self, values: np.ndarray) -> np.ndarray:
        missing = np.isnan(values)
        return np.concatenate([np.where(missing, 0.0, values), ~missing], axis=1)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        filled, observed = np.split(values, 2, axis=1)
        return np.where(observed == 1, filled, np.nan)


class Config(TransformPart):
    """No options."""

    fills: ClassVar[bool] = True

    def build(self, measured: Measured) -> NanToMask:
        return NanToMask()
