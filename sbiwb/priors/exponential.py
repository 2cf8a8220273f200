"""Exponential prior by its rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.priors._univariate import UnivariateConfig, UnivariatePrior


class Config(UnivariateConfig):
    """Options of the exponential prior."""

    rate: float = Field(1.0, gt=0, description="Rate: the mean is 1 / rate.")

    def build(self) -> Exponential:
        """The distribution."""
        return Exponential(self.rate, event=self.event)


@dataclass(frozen=True)
class Exponential(UnivariatePrior):
    r"""$p(\theta) = rate \cdot \exp(-rate \cdot \theta)$ for $\theta \ge 0$.

    Args:
        rate: One over the mean.

    Example:
        >>> Exponential(2.0).variance()
        array([0.25])
    """

    rate: float

    def bounds(self) -> tuple[float, float]:
        return 0.0, np.inf

    def log_density(self, theta: np.ndarray) -> np.ndarray:
        return math.log(self.rate) - self.rate * theta

    def cdf(self, theta: np.ndarray) -> np.ndarray:
        return -np.expm1(-self.rate * theta)

    def sf(self, theta: np.ndarray) -> np.ndarray:
        return np.exp(-self.rate * theta)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return -np.log1p(-p) / self.rate

    def isf(self, q: np.ndarray) -> np.ndarray:
        return -np.log(q) / self.rate

    def var(self) -> float:
        return self.rate**-2
