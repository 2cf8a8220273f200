"""Whole numbers from low to high, both included, equally likely.

For a context variable or a discrete parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator

from sbiwb.families import check_ordered
from sbiwb.priors._discrete import Discrete
from sbiwb.priors._univariate import UnivariateConfig

LARGEST = 2**52  # beyond 2^53 float64 skips whole numbers


class Config(UnivariateConfig):
    """Options of the uniform distribution of whole numbers."""

    low: int = Field(0, ge=-LARGEST, le=LARGEST, description="Smallest value.")
    high: int = Field(ge=-LARGEST, le=LARGEST, description="Largest value, itself drawn too.")

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        todo = "exchange them, or put a fixed value under problem.constants"
        check_ordered(self.low, self.high, todo)
        return self

    def build(self) -> UniformInteger:
        """The distribution."""
        return UniformInteger(self.low, self.high, event=self.event)


@dataclass(frozen=True)
class UniformInteger(Discrete):
    """P(k) = 1 / (high - low + 1) for k = low, ..., high.

    Args:
        low: Smallest value.
        high: Largest value.

    Example:
        >>> UniformInteger(1, 6).quantile(np.array([[0.0], [0.5]]))
        array([[1.],
               [4.]])
    """

    low: int
    high: int

    def bounds(self) -> tuple[int, int]:
        return self.low, self.high

    def log_mass(self, values: np.ndarray) -> np.ndarray:
        return np.full_like(values, -math.log(self._count))

    def ppf(self, u: np.ndarray) -> np.ndarray:
        return np.minimum(self.low + np.floor(u * self._count), self.high)

    def var(self) -> float:
        return (self._count**2 - 1) / 12

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n draws, (n, K), of integers: `quantile` favours some values by one part in 2^53."""
        return rng.integers(self.low, self.high, (n, self.size), endpoint=True).astype(np.float64)

    @property
    def _count(self) -> int:
        return self.high - self.low + 1
