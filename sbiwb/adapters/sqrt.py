"""Square root: evens out the variance of counts."""

from __future__ import annotations

import numpy as np

from sbiwb.adapters._transform import refuse
from sbiwb.contracts import Measured, TransformPart


class Sqrt:
    """x to sqrt(x)."""

    def forward(self, values: np.ndarray) -> np.ndarray:
        refuse(
            values,
            values < 0,
            what="the square root of",
            todo="The root is for values of 0 or more; leave it out.",
        )
        return np.sqrt(values)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return np.square(values)


class Config(TransformPart):
    """No options."""

    def build(self, measured: Measured) -> Sqrt:
        return Sqrt()
