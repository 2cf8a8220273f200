"""Gamma prior by concentration and rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.priors import _special as special
from sbiwb.priors._univariate import UnivariateConfig, UnivariatePrior


class Config(UnivariateConfig):
    """Options of the gamma prior."""

    concentration: float = Field(
        ge=0.05,
        description="Concentration (alpha, the shape of the density): the mean is concentration / "
        "rate.",
    )  # below 0.05 a visible share of the draws is smaller than any float64
    rate: float = Field(1.0, gt=0, description="Rate (beta), one over the scale.")

    def build(self) -> Gamma:
        """The distribution."""
        return Gamma(self.concentration, self.rate, event=self.event)


@dataclass(frozen=True)
class Gamma(UnivariatePrior):
    r"""$p(\theta) \propto \theta^{concentration - 1} \exp(-rate \cdot \theta)$ for $\theta \ge 0$.

    Args:
        concentration: Often called alpha or k.
        rate: Often called beta; one over the scale.

    Example:
        >>> Gamma(4.0, 2.0).variance()
        array([1.])
    """

    concentration: float
    rate: float

    def bounds(self) -> tuple[float, float]:
        return 0.0, np.inf

    def log_density(self, theta: np.ndarray) -> np.ndarray:
        constant = self.concentration * math.log(self.rate) - math.lgamma(self.concentration)
        return constant + (self.concentration - 1) * np.log(theta) - self.rate * theta

    def cdf(self, theta: np.ndarray) -> np.ndarray:
        return special.gammainc(self.concentration, self.rate * theta)

    def sf(self, theta: np.ndarray) -> np.ndarray:
        return special.gammaincc(self.concentration, self.rate * theta)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return special.gammaincinv(self.concentration, p) / self.rate

    def isf(self, q: np.ndarray) -> np.ndarray:
        return special.gammainccinv(self.concentration, q) / self.rate

    def var(self) -> float:
        return self.concentration / self.rate**2
