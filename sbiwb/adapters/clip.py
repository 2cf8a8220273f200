"""Limits values to a range, so that rare extremes do not dominate; not invertible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sbiwb.contracts import Measured, TransformPart
from sbiwb.families import check_ordered


@dataclass(frozen=True)
class Clip:
    """x to min(max(x, low), high)."""

    low: float | None
    high: float | None

    def forward(self, values: np.ndarray) -> np.ndarray:
        return np.clip(values, self.low, self.high)


class Config(TransformPart):
    """At least one bound."""

    low: float | None = Field(
        None, description="Smaller values become this one; null for no lower bound."
    )
    high: float | None = Field(
        None, description="Larger values become this one; null for no upper bound."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is None and self.high is None:
            raise PydanticCustomError("bounds", "clip needs 'low', 'high' or both")
        check_ordered(self.low, self.high)
        return self

    def build(self, measured: Measured) -> Clip:
        return Clip(self.low, self.high)
