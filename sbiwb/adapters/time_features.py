"""Further channels for the position in a series, from 0 to 1 and as waves of given periods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sbiwb.adapters._transform import SeriesConfig
from sbiwb.contracts import Measured, SeriesTransform

Period = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class TimeFeatures(SeriesTransform):
    """(rows, C) to (rows, C + 1 + 2 P), with the position t = 0, 1, ... in its series.

    Added are t / last, and sin and cos of 2 pi t / period for each of P periods.

    Args:
        channels: C.
        last: Last position of the longest training series.
        periods: P periods, in steps.
    """

    channels: int
    last: int
    periods: tuple[float, ...]

    def forward(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        t = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        waves = []
        for period in self.periods:
            turn = 2 * np.pi * t / period
            waves += [np.sin(turn), np.cos(turn)]
        return np.column_stack([values, t / max(1, self.last), *waves])

    def inverse(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return values[:, : self.channels]


class Config(SeriesConfig):
    """Which channels are added."""

    periods: list[Period] = Field(
        [],
        description="Periods, in steps, of which sine and cosine are added, such as 7 for days of "
        "a week.",
    )

    def measure_series(self, values: np.ndarray, lengths: np.ndarray) -> Measured:
        return {"channels": [values.shape[1]], "last": [int(lengths.max()) - 1]}

    def build(self, measured: Measured) -> TimeFeatures:
        return TimeFeatures(measured["channels"][0], measured["last"][0], tuple(self.periods))
