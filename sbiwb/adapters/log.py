"""Natural logarithm of positive values."""

from __future__ import annotations

import numpy as np

from sbiwb.adapters._transform import refuse
from sbiwb.contracts import Measured, TransformPart


class Log:
    """x to log(x)."""

    def forward(self, values: np.ndarray) -> np.ndarray:
        refuse(
            values,
            values <= 0,
            what="the log of",
            todo="Use log1p for counts with zeros, or leave the log out.",
        )
        return np.log(values)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return np.exp(values)


class Config(TransformPart):
    """No options."""

    def build(self, measured: Measured) -> Log:
        return Log()
