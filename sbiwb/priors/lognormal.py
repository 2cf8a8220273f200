"""Lognormal prior by mean and standard deviation of log theta."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.priors._transformed_normal import TransformedNormal
from sbiwb.priors._univariate import UnivariateConfig


class Config(UnivariateConfig):
    """Options of the lognormal prior."""

    loc: float = Field(0.0, description="Mean of log theta: the median of theta is exp(loc).")
    scale: float = Field(1.0, gt=0, description="Standard deviation of log theta.")

    def build(self) -> Lognormal:
        """The distribution."""
        return Lognormal(self.loc, self.scale, event=self.event)


@dataclass(frozen=True)
class Lognormal(TransformedNormal):
    r"""$\theta = \exp(loc + scale \cdot z)$ with $z$ standard normal.

    Args:
        loc: Mean of log theta.
        scale: Standard deviation of log theta.

    Example:
        >>> Lognormal(0.0, 2.0).from_normal(np.array([[0.0]]))
        array([[1.]])
    """

    def bounds(self) -> tuple[float, float]:
        return 0.0, np.inf

    def log_density(self, theta: np.ndarray) -> np.ndarray:
        return (
            -0.5 * self.to_z(theta) ** 2
            - np.log(theta)
            - math.log(self.scale * math.sqrt(2 * math.pi))
        )

    def var(self) -> float:
        with np.errstate(over="ignore"):
            return float(np.expm1(self.scale**2) * np.exp(2 * self.loc + self.scale**2))

    def to_z(self, theta: np.ndarray) -> np.ndarray:
        return (np.log(theta) - self.loc) / self.scale

    def from_z(self, z: np.ndarray) -> np.ndarray:
        return np.exp(self.loc + self.scale * z)
