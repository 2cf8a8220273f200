"""Zero mean and unit standard deviation, channel by channel, as measured on the training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbiwb.adapters._precision import standardizer
from sbiwb.adapters._transform import learned
from sbiwb.contracts import Measured, TransformPart


@dataclass(frozen=True)
class Standardize:
    """x to (x - mean) / sd, each (C,)."""

    mean: np.ndarray
    sd: np.ndarray

    def forward(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.sd

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return values * self.sd + self.mean


class Config(TransformPart):
    """No options."""

    def measure(self, values: np.ndarray) -> Measured:
        mean, sd = np.nanmean(values, 0), np.nanstd(values, 0)
        mean, sd = standardizer(values, mean, sd)
        return {"mean": mean.tolist(), "sd": sd.tolist()}

    def build(self, measured: Measured) -> Standardize:
        return Standardize(learned(measured, "mean"), learned(measured, "sd"))
