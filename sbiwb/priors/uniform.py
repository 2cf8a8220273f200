"""Uniform prior between two bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sbiwb.families import check_ordered
from sbiwb.priors._univariate import UnivariateConfig, UnivariatePrior


class Config(UnivariateConfig):
    """Options of the uniform prior."""

    low: float = Field(0.0, description="Lower bound.")
    high: float = Field(1.0, description="Upper bound, above `low`.")

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        check_ordered(self.low, self.high)
        if math.isinf(self.high - self.low):
            raise PydanticCustomError(
                "bounds", "high - low overflows: choose bounds that are nearer to each other"
            )
        return self

    def build(self) -> Uniform:
        """The distribution."""
        return Uniform(self.low, self.high, event=self.event)


@dataclass(frozen=True)
class Uniform(UnivariatePrior):
    r"""$p(\theta) = 1 / (high - low)$.

    Args:
        low: Lower bound.
        high: Upper bound.

    Example:
        >>> Uniform(0.0, 2.0).variance().round(4)
        array([0.3333])
    """

    low: float
    high: float

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def log_density(self, theta: np.ndarray) -> np.ndarray:
        return np.full_like(theta, -math.log(self.high - self.low))

    def cdf(self, theta: np.ndarray) -> np.ndarray:
        return (theta - self.low) / (self.high - self.low)

    def sf(self, theta: np.ndarray) -> np.ndarray:
        return (self.high - theta) / (self.high - self.low)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return self.low + (self.high - self.low) * p

    def isf(self, q: np.ndarray) -> np.ndarray:
        return self.high - (self.high - self.low) * q

    def var(self) -> float:
        return (self.high - self.low) ** 2 / 12
