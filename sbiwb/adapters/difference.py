"""Changes from step to step of a series.

A missing step is passed over, so that the next change is that since the last one seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from sbiwb.adapters._transform import SeriesConfig
from sbiwb.contracts import Measured, SeriesTransform


@dataclass(frozen=True)
class Difference(SeriesTransform):
    """x_t to x_t - x_s, s the last step before t that was observed.

    Args:
        keep: Whether the first value of a series stays as it is; it becomes 0 otherwise, and
            `inverse` begins at 0.
    """

    keep: bool

    def forward(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        before = _before(values, lengths)
        start = np.zeros_like(values)
        if not self.keep:
            start = values
        return values - np.where(np.isnan(before), start, before)

    def inverse(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        series = np.split(np.nan_to_num(values), np.cumsum(lengths)[:-1])
        sums = np.concatenate([np.cumsum(changes, axis=0) for changes in series])
        return np.where(np.isnan(values), np.nan, sums)


def _before(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The last observed value before each one, in its series, (rows, C).

    NaN where there is none.
    """
    rows = np.arange(len(values))
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    latest = np.maximum.accumulate(
        np.where(np.isnan(values), first[:, None], rows[:, None]), axis=0
    )
    last = np.take_along_axis(values, latest, axis=0)
    return np.where((rows > first)[:, None], np.roll(last, 1, axis=0), np.nan)


class Config(SeriesConfig):
    """What becomes of the first value."""

    first: Literal["keep", "zero"] = Field(
        "keep", description="First value of each series: kept as it is, or 0 to hide the level."
    )

    def build(self, measured: Measured) -> Difference:
        return Difference(self.first == "keep")
