"""asinh(x / scale): like a logarithm far from 0 on either side, and linear near it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sbiwb.adapters._transform import learned
from sbiwb.contracts import Measured, TransformPart

Scale = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Asinh:
    """x to asinh(x / scale), scale (C,)."""

    scale: np.ndarray

    def forward(self, values: np.ndarray) -> np.ndarray:
        return np.arcsinh(values / self.scale)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return np.sinh(values) * self.scale


class Config(TransformPart):
    """Where linear turns into logarithmic."""

    scale: Scale | None = Field(
        None,
        description="Size of a value at which linear turns into logarithmic; null: by channel, "
        "the median size of the values not 0.",
    )

    def measure(self, values: np.ndarray) -> Measured:
        return {"scale": [self._scale(column) for column in np.abs(values).T]}

    def _scale(self, sizes: np.ndarray) -> float:
        positive = sizes[sizes > 0]
        if self.scale is not None:
            return self.scale
        if not len(positive):
            return 1.0
        return float(np.median(positive))

    def build(self, measured: Measured) -> Asinh:
        return Asinh(learned(measured, "scale"))
