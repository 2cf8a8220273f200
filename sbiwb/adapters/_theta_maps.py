r"""Maps of one parameter's columns to unconstrained z and back, each with its log-determinant.

Float64 throughout.

All take theta (N, K) to z (N, K), with NaN outside the support, where the log-determinant is -inf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import expit

from sbiwb.contracts import Distribution

TINY = 1e-300
LOG_2PI = float(np.log(2 * np.pi))
MAX_LOG = (-690.0, 700.0)  # what exp bears


class ColumnMap(Protocol):
    """Columns of one parameter (N, K) to z (N, K) and back."""

    def forward(self, theta: np.ndarray) -> np.ndarray: ...

    def inverse(self, z: np.ndarray) -> np.ndarray: ...

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class ThroughPrior:
    """Through the prior's own distribution function."""

    distribution: Distribution

    def forward(self, theta: np.ndarray) -> np.ndarray:
        return self.distribution.to_normal(theta)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        return self.distribution.from_normal(z)

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        log_prob = self.distribution.log_prob(theta)
        inside = (log_prob > -np.inf)[:, None]
        median = self.inverse(np.zeros_like(theta))
        z = self.forward(np.where(inside, theta, median))
        return log_prob + 0.5 * (z**2 + LOG_2PI).sum(1)


@dataclass(frozen=True)
class Untransformed:
    """g(theta) = theta; draws can leave the support."""

    low: float | None
    high: float | None

    def forward(self, theta: np.ndarray) -> np.ndarray:
        return theta

    def inverse(self, g: np.ndarray) -> np.ndarray:
        return g

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        return np.zeros(len(theta))


@dataclass(frozen=True)
class LogAbove:
    """g(theta) = log(theta - low)."""

    low: float
    high: float | None

    def forward(self, theta: np.ndarray) -> np.ndarray:
        return np.where(theta >= self.low, np.log(np.maximum(theta - self.low, TINY)), np.nan)

    def inverse(self, g: np.ndarray) -> np.ndarray:
        theta = self.low + np.exp(np.clip(g, *MAX_LOG))
        return np.maximum(theta, np.nextafter(self.low, np.inf))

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        return np.where((theta > self.low).all(1), -self.forward(theta).sum(1), -np.inf)


@dataclass(frozen=True)
class LogitBetween:
    """g(theta) = log(theta - low) - log(high - theta)."""

    low: float
    high: float

    def forward(self, theta: np.ndarray) -> np.ndarray:
        below, above = self._logs(theta)
        return np.where(is_between(theta, self.low, self.high), below - above, np.nan)

    def inverse(self, g: np.ndarray) -> np.ndarray:
        width = self.high - self.low
        theta = np.where(g < 0, self.low + width * expit(g), self.high - width * expit(-g))
        return strictly_between(theta, self.low, self.high)

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        below, above = self._logs(theta)
        inside = ((theta > self.low) & (theta < self.high)).all(1)
        return np.where(inside, (np.log(self.high - self.low) - below - above).sum(1), -np.inf)

    def _logs(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log(theta - low) and log(high - theta)."""
        floor = 1e-16 * (self.high - self.low)
        below = np.log(np.maximum(theta - self.low, floor))
        above = np.log(np.maximum(self.high - theta, floor))
        return below, above


Unbounding = Untransformed | LogAbove | LogitBetween


@dataclass(frozen=True)
class Standardized:
    """z = (g(theta) - mean) / sd, with mean and sd of the training data; one column."""

    g: Unbounding
    mean: float
    sd: float

    def forward(self, theta: np.ndarray) -> np.ndarray:
        return (self.g.forward(theta) - self.mean) / self.sd

    def inverse(self, z: np.ndarray) -> np.ndarray:
        return self.g.inverse(z * self.sd + self.mean)

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        return self.g.log_abs_det(theta) - np.log(self.sd)


@dataclass(frozen=True)
class Circle:
    """An angle in [-pi, pi); the upper bound is the lower one."""

    low: float
    high: float

    def forward(self, theta: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * ((theta - self.low) / (self.high - self.low)) - np.pi
        inside = is_between(theta, self.low, self.high)
        return np.where(inside, np.where(angle < np.pi, angle, -np.pi), np.nan)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        turn = np.mod((z + np.pi) / (2 * np.pi), 1.0)
        return strictly_between(self.low + (self.high - self.low) * turn, self.low, self.high)

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        slope = np.log(2 * np.pi / (self.high - self.low))
        return np.where(is_between(theta, self.low, self.high).all(1), slope, -np.inf)


@dataclass(frozen=True)
class Levels:
    """The place of a value among K levels, which rise."""

    levels: np.ndarray

    def forward(self, theta: np.ndarray) -> np.ndarray:
        place = np.minimum(np.searchsorted(self.levels, theta), len(self.levels) - 1)
        return np.where(self.levels[place] == theta, place, np.nan)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        return self.levels[np.clip(np.rint(z), 0, len(self.levels) - 1).astype(np.int64)]

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(self.forward(theta)).any(1), -np.inf, 0.0)


def is_between(theta: np.ndarray, low: float, high: float) -> np.ndarray:
    """Whether theta lies inside two bounds, or on one."""
    return (theta >= low) & (theta <= high)


def strictly_between(theta: np.ndarray, low: float, high: float) -> np.ndarray:
    """theta moved inside two bounds, by one step of float64."""
    return np.clip(theta, np.nextafter(low, np.inf), np.nextafter(high, -np.inf))
