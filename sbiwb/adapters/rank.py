"""Ranks among the training values as normal scores.

Any continuous variable becomes a standard normal one, outliers included.

The empirical distribution function F of the training values, at some of them evenly spaced in z,
with ties at the middle of their step: z = Phi^-1((F(x-) + F(x)) / 2). Between them z is linear in
x, so the map is strictly increasing and has an inverse. Beyond the smallest and the largest it
grows like a logarithm and with the slope it had there: an outlier a million times too large stays
near.

References:
    van der Waerden 1952, Order tests for the two-sample problem and their power,
    https://doi.org/10.1016/S1385-7258(52)50063-5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.adapters._transform import by_channel
from sbiwb.contracts import Measured, TransformPart
from sbiwb.families import Count

SMALLEST = float(np.finfo(float).tiny ** 0.5)  # change of x that a quotient can bear


@dataclass(frozen=True)
class _Curve:
    """One channel: K training values, strictly increasing, and their scores, both (K,)."""

    values: np.ndarray
    scores: np.ndarray

    @property
    def _ends(self) -> tuple[float, float]:
        """Change of x for a unit of z at the smallest and at the largest value.

        1 where there is one value only.
        """
        if len(self.values) == 1:
            return 1.0, 1.0
        slopes = np.diff(self.values) / np.diff(self.scores)
        return max(float(slopes[0]), SMALLEST), max(float(slopes[-1]), SMALLEST)

    def forward(self, x: np.ndarray) -> np.ndarray:
        low, high = self._ends
        below = np.log1p(np.maximum(self.values[0] - x, 0.0) / low)
        above = np.log1p(np.maximum(x - self.values[-1], 0.0) / high)
        return np.interp(x, self.values, self.scores) + above - below

    def inverse(self, z: np.ndarray) -> np.ndarray:
        low, high = self._ends
        below = low * np.expm1(np.maximum(self.scores[0] - z, 0.0))
        above = high * np.expm1(np.maximum(z - self.scores[-1], 0.0))
        return np.interp(z, self.scores, self.values) + above - below


@dataclass(frozen=True)
class Rank:
    """x to its normal score, channel by channel."""

    curves: tuple[_Curve, ...]

    def forward(self, values: np.ndarray) -> np.ndarray:
        return by_channel(_Curve.forward, self.curves, values)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return by_channel(_Curve.inverse, self.curves, values)


class Config(TransformPart):
    """How finely the distribution is kept."""

    points: Count = Field(
        257,
        ge=2,
        le=10_000,
        description="Training values that are kept, evenly spaced in normal scores.",
    )

    def measure(self, values: np.ndarray) -> Measured:
        measured: Measured = {"values": [], "scores": []}
        for column in values.T:
            curve = self._curve(np.sort(column[~np.isnan(column)]))
            measured["values"].append(curve.values.tolist())
            measured["scores"].append(curve.scores.tolist())
        return measured

    def _curve(self, ordered: np.ndarray) -> _Curve:
        from scipy.special import ndtr, ndtri

        n = len(ordered)
        edge = ndtri(1 - 0.5 / n)
        at = np.minimum((ndtr(np.linspace(-edge, edge, self.points)) * n).astype(int), n - 1)
        kept = np.unique(ordered[at])
        middle = np.searchsorted(ordered, kept, "left") + np.searchsorted(ordered, kept, "right")
        return _Curve(kept, ndtri(middle / (2 * n)))

    def build(self, measured: Measured) -> Rank:
        curves = []
        for values, scores in zip(measured["values"], measured["scores"], strict=True):
            curves.append(_Curve(np.asarray(values, float), np.asarray(scores, float)))
        return Rank(tuple(curves))
