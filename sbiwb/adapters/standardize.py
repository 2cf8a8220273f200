"""Zero mean and unit standard deviation, channel by channel, as measured on the training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbiwb.adapters._transform import Measured, TransformConfig


@dataclass(frozen=True)
class Standardize:
    """x to (x - mean) / sd, each (C,)."""

    mean: np.ndarray
    sd: np.ndarray

    def forward(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.sd

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return values * self.sd + self.mean


class Config(TransformConfig):
    """No options."""

    def measure(self, values: np.ndarray) -> Measured:
        mean, sd = np.nanmean(values, 0), np.nanstd(values, 0)
        constant = sd <= 1e-12 * np.abs(
            mean
        )  # rounding gives a constant channel an sd of 1e-16 rather than 0
        return {"mean": mean.tolist(), "sd": np.where(constant, 1.0, sd).tolist()}

    def build(self, measured: Measured) -> Standardize:
        return Standardize(
            np.asarray(measured["mean"], np.float64), np.asarray(measured["sd"], np.float64)
        )
