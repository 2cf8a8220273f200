"""log of the odds, log((x - low) / (high - x)): for shares, and other values between two bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from sbiwb.adapters._transform import refuse
from sbiwb.contracts import Measured, TransformPart
from sbiwb.families import check_ordered


@dataclass(frozen=True)
class Logit:
    """x in (low, high) to log((x - low) / (high - x))."""

    low: float
    high: float

    def forward(self, values: np.ndarray) -> np.ndarray:
        bad = (values <= self.low) | (values >= self.high)
        todo = (
            f"The logit is for values between {self.low:g} and {self.high:g}: set 'low' and "
            "'high', or put clip in front of it."
        )
        refuse(values, bad, what="the logit of", todo=todo)
        return np.log(values - self.low) - np.log(self.high - values)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        return self.low + (self.high - self.low) * expit(values)


class Config(TransformPart):
    """The two bounds."""

    low: float = Field(0.0, description="All values are larger than this.")
    high: float = Field(1.0, description="All values are smaller than this.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_ordered(self.low, self.high)
        return self

    def build(self, measured: Measured) -> Logit:
        return Logit(self.low, self.high)
