"""Box-Cox power of channels that are positive and skewed; others stay as they are.

For counts of animals or waiting times:

    x to (x^lambda - 1) / lambda, or log x for lambda = 0, with lambda of the largest likelihood of
    a normal distribution

A channel of the training data is transformed where all its values are positive and its skewness
exceeds `skewness`; lambda is at most 1 and log is the least. What comes later and is not positive
is taken for the smallest value that training had. With `zeros`, a channel of which at most a fifth
are zeros is transformed too: half its smallest positive value is added, .5 for counts, but no less
than 1e-4 of the median of the positive ones.

References:
    Box & Cox (1964), An Analysis of Transformations,
    https://doi.org/10.1111/j.2517-6161.1964.tb00553.x
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.adapters._transform import learned
from sbiwb.contracts import Measured, TransformPart

LINEAR = 1.0
MAX_ZEROS = 0.2  # of a channel; with more of them a power would tell of the zeros alone
SMALLEST_SHARE = 1e-4  # of the median of the positive values, that is added to zeros at least
LOGARITHMIC = 1e-3  # a power below is taken for the logarithm


@dataclass(frozen=True)
class BoxCox:
    """x to its power, channel by channel.

    Args:
        powers: lambda, (C,); NaN of a channel that stays as it is.
        smallest: Training value that smaller ones are taken for, (C,).
        added: What is added to the values of each channel first, (C,).
    """

    powers: np.ndarray
    smallest: np.ndarray
    added: np.ndarray

    def forward(self, values: np.ndarray) -> np.ndarray:
        from scipy.special import boxcox

        powered = ~np.isnan(self.powers)
        changed = values.astype(np.float64, copy=True)
        positive = np.maximum(values, self.smallest) + self.added
        changed[:, powered] = boxcox(positive[:, powered], self.powers[powered])
        return changed

    def inverse(self, values: np.ndarray) -> np.ndarray:
        from scipy.special import inv_boxcox

        powered = ~np.isnan(self.powers)
        changed = values.astype(np.float64, copy=True)
        positive = inv_boxcox(values[:, powered], self.powers[powered])
        changed[:, powered] = positive - self.added[powered]
        return changed


class Config(TransformPart):
    """Which channels are transformed."""

    skewness: float = Field(
        1.0,
        ge=0,
        description="Skewness of the training values above which a positive channel is "
        "transformed.",
    )
    zeros: bool = Field(
        False, description="Whether channels with zeros are transformed too, after an addition."
    )

    def measure(self, values: np.ndarray) -> Measured:
        columns = [column[~np.isnan(column)] for column in values.T]
        measured: Measured = {"smallest": list(map(_smallest, columns))}
        added = [0.0] * len(columns)
        if self.zeros:
            added = list(map(_addition, columns))
            measured["added"] = added
        shifted = [column + shift for column, shift in zip(columns, added, strict=True)]
        measured["powers"] = list(map(self._power, shifted))
        return measured

    def _power(self, column: np.ndarray) -> float | None:
        """lambda between 0 and 1 that makes the channel most normal.

        None where it stays as it is.
        """
        if (
            len(column) < 3
            or column.min() <= 0
            or np.ptp(column) <= 1e-12 * abs(column).max()
            or _skewness(column) <= self.skewness
        ):
            return None
        from scipy.optimize import minimize_scalar  # here, for it takes a second to load
        from scipy.stats import boxcox_llf

        # lambda is the same, and no power overflows
        scaled = column / np.exp(np.log(column).mean())
        best = minimize_scalar(
            lambda power: -boxcox_llf(power, scaled), bounds=(0.0, LINEAR), method="bounded"
        )
        if best.x <= LOGARITHMIC:
            return 0.0
        return float(best.x)

    def build(self, measured: Measured) -> BoxCox:
        smallest = learned(measured, "smallest")
        added = np.zeros(len(smallest))
        if self.zeros:
            added = learned(measured, "added")
        return BoxCox(learned(measured, "powers"), smallest, added)


def _skewness(column: np.ndarray) -> float:
    """Third standardized moment."""
    centred = column - column.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


def _smallest(column: np.ndarray) -> float:
    if not len(column):
        return 0.0
    return float(column.min())


def _addition(column: np.ndarray) -> float:
    """What makes a column with few zeros positive; 0 of any other."""
    positive = column[column > 0]
    if not len(positive) or column.min() != 0 or (column == 0).mean() > MAX_ZEROS:
        return 0.0
    return max(float(positive.min()) / 2, SMALLEST_SHARE * float(np.median(positive)))
