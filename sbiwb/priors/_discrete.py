"""Discrete distributions: whole numbers in float64 arrays; a concrete file is only the maths."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np

from sbiwb.contracts import Distribution
from sbiwb.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Discrete(Distribution):
    """K independent, identically distributed columns of integers.

    A concrete class gives `bounds`, `log_mass`, `ppf` and `var`.

    Args:
        event: () for a scalar variable, (K,) for a vector-valued one.
    """

    event: tuple[int, ...] = ()
    discrete: ClassVar[bool] = True  # type: ignore[misc]

    @abstractmethod
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value."""

    @abstractmethod
    def log_mass(self, values: np.ndarray) -> np.ndarray:
        """log P(draw = value) at whole numbers between the bounds, elementwise."""

    @abstractmethod
    def ppf(self, u: np.ndarray) -> np.ndarray:
        """The smallest value whose distribution function is above u in [0, 1), elementwise."""

    @abstractmethod
    def var(self) -> float:
        """Variance of one column."""

    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        inside = self.inside(theta)
        with np.errstate(divide="ignore"):
            log_mass = self.log_mass(np.where(inside, theta, self.bounds()[0]))
        return np.where(inside, log_mass, -np.inf).sum(-1)

    def support(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.bounds()
        return np.full(self.size, float(low)), np.full(self.size, float(high))

    def variance(self) -> np.ndarray:
        return np.full(self.size, self.var())

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """Whether each entry is a whole number between the bounds, (N, K)."""
        return super().inside(theta) & (theta == np.floor(theta))

    def quantile(self, u: np.ndarray) -> np.ndarray:
        return self.ppf(u).astype(np.float64)

    def to_normal(self, theta: np.ndarray) -> np.ndarray:
        self._refuse()

    def from_normal(self, z: np.ndarray) -> np.ndarray:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigError(
            f"a discrete distribution ({type(self).__name__}) has no map to a normal variable",
            todo="A discrete parameter is known by the place of its value among its levels; for a "
            "normal variable take a continuous prior.",
        )
