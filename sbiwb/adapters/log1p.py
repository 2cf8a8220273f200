"""log(1 + x): for counts, where zeros occur."""

from __future__ import annotations

import numpy as np

from sbiwb.adapters._transform import refuse
from sbiwb.contracts import Measured, TransformPart


class Log1p:
    """x to log(1 + x)."""

    def forward(self, values: np.ndarray) -> np.ndarray:
        refuse(
            values,
            values <= -1,
            what="log1p of",
            todo="log1p is for counts and other values above -1; leave it out.",
        )
        return np.log1p(values)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return np.expm1(values)


class Config(TransformPart):
    """No options."""

    def build(self, measured: Measured) -> Log1p:
        return Log1p()
