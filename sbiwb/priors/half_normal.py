"""Half-normal prior: the absolute value of a normal variable around zero."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.priors import _special as special
from sbiwb.priors._univariate import UnivariateConfig, UnivariatePrior


class Config(UnivariateConfig):
    """Options of the half-normal prior."""

    scale: float = Field(
        1.0,
        gt=0,
        description="Standard deviation of the normal variable before its sign is dropped.",
    )

    def build(self) -> HalfNormal:
        """The distribution."""
        return HalfNormal(self.scale, event=self.event)


@dataclass(frozen=True)
class HalfNormal(UnivariatePrior):
    r"""$F(\theta) = \operatorname{erf}(\theta / (scale \sqrt 2))$ for $\theta \ge 0$.

    Args:
        scale: Standard deviation of the normal variable; that of theta is 0.6028 times as large.

    Example:
        >>> HalfNormal(1.0).variance().round(4)
        array([0.3634])
    """

    scale: float

    def bounds(self) -> tuple[float, float]:
        return 0.0, np.inf

    def log_density(self, theta: np.ndarray) -> np.ndarray:
        return -0.5 * (theta / self.scale) ** 2 - math.log(self.scale * math.sqrt(math.pi / 2))

    def cdf(self, theta: np.ndarray) -> np.ndarray:
        return special.erf(theta / self._width)

    def sf(self, theta: np.ndarray) -> np.ndarray:
        return special.erfc(theta / self._width)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return self._width * special.erfinv(p)

    def isf(self, q: np.ndarray) -> np.ndarray:
        return self._width * special.erfcinv(q)

    def var(self) -> float:
        return self.scale**2 * (1 - 2 / math.pi)

    @property
    def _width(self) -> float:
        return self.scale * math.sqrt(2)
