"""Priors that are a normal variable in disguise.

Their map to a standard normal has a closed form.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from sbiwb.priors import _special as special
from sbiwb.priors._univariate import UnivariatePrior


@dataclass(frozen=True)
class TransformedNormal(UnivariatePrior):
    """A concrete class gives `to_z` and `from_z`, the density, the variance and the bounds.

    Args:
        loc: Mean of the normal variable.
        scale: Its standard deviation.
    """

    loc: float
    scale: float

    @abstractmethod
    def to_z(self, theta: np.ndarray) -> np.ndarray:
        """The standard normal variable, elementwise."""

    @abstractmethod
    def from_z(self, z: np.ndarray) -> np.ndarray:
        """The way back."""

    def cdf(self, theta: np.ndarray) -> np.ndarray:
        return special.ndtr(self.to_z(theta))

    def sf(self, theta: np.ndarray) -> np.ndarray:
        return special.ndtr(-self.to_z(theta))

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return self.from_z(special.ndtri(p))

    def isf(self, q: np.ndarray) -> np.ndarray:
        return self.from_z(-special.ndtri(q))
