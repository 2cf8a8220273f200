"""Normal prior by mean and standard deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.priors._transformed_normal import TransformedNormal
from sbiwb.priors._univariate import UnivariateConfig


class Config(UnivariateConfig):
    """Options of the normal prior."""

    loc: float = Field(0.0, description="Mean.")
    scale: float = Field(1.0, gt=0, description="Standard deviation.")

    def build(self) -> Normal:
        """The distribution."""
        return Normal(self.loc, self.scale, event=self.event)


@dataclass(frozen=True)
class Normal(TransformedNormal):
    r"""$\theta = loc + scale \cdot z$ with $z$ standard normal.

    Args:
        loc: Mean.
        scale: Standard deviation.

    Example:
        >>> Normal(1.0, 2.0).to_normal(np.array([[5.0]]))
        array([[2.]])
    """

    def log_density(self, theta: np.ndarray) -> np.ndarray:
        return -0.5 * self.to_z(theta) ** 2 - math.log(self.scale * math.sqrt(2 * math.pi))

    def var(self) -> float:
        return self.scale**2

    def to_z(self, theta: np.ndarray) -> np.ndarray:
        return (theta - self.loc) / self.scale

    def from_z(self, z: np.ndarray) -> np.ndarray:
        return self.loc + self.scale * z
