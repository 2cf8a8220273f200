"""Beta prior on the unit interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.priors import _special as special
from sbiwb.priors._univariate import UnivariateConfig, UnivariatePrior


class Config(UnivariateConfig):
    """Options of the beta prior."""

    alpha: float = Field(
        1.0, ge=0.05, description="Exponent of theta plus one: the mean is alpha / (alpha + beta)."
    )
    beta: float = Field(1.0, ge=0.05, description="Exponent of 1 - theta plus one.")

    def build(self) -> Beta:
        """The distribution."""
        return Beta(self.alpha, self.beta, event=self.event)


@dataclass(frozen=True)
class Beta(UnivariatePrior):
    r"""$p(\theta) \propto \theta^{alpha - 1} (1 - \theta)^{beta - 1}$ for $0 \le \theta \le 1$.

    Warning:
        Next to 1 float64 has steps of 1e-16, next to 0 of 1e-308: with `beta` below one the draws
        in the last step share one value. Where the mass lies at 1, model 1 - theta instead.

    Args:
        alpha: Weight of the upper end.
        beta: Weight of the lower end.

    Example:
        >>> Beta(2.0, 2.0).variance()
        array([0.05])
    """

    alpha: float
    beta: float

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def log_density(self, theta: np.ndarray) -> np.ndarray:
        powers = (self.alpha - 1) * np.log(theta) + (self.beta - 1) * np.log1p(-theta)
        return powers - special.betaln(self.alpha, self.beta)

    def cdf(self, theta: np.ndarray) -> np.ndarray:
        return special.betainc(self.alpha, self.beta, theta)

    def sf(self, theta: np.ndarray) -> np.ndarray:
        return special.betaincc(self.alpha, self.beta, theta)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return special.betaincinv(self.alpha, self.beta, p)

    def isf(self, q: np.ndarray) -> np.ndarray:
        return special.betainccinv(self.alpha, self.beta, q)

    def var(self) -> float:
        total = self.alpha + self.beta
        return self.alpha * self.beta / (total**2 * (total + 1))
