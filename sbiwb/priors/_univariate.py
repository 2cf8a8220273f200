r"""Continuous univariate priors: shapes, bounds, tails and the map to a normal variable.

A concrete file is only the maths.

The map is $z = \Phi^{-1}(F(\theta))$, from the lower tail where $F(\theta) \le 1/2$ and from the
upper tail, $z = -\Phi^{-1}(1 - F(\theta))$, elsewhere: $1 - F$ has lost all its digits beyond eight
standard deviations. Draws are kept strictly between the bounds, where every density is finite: a
beta(0.5, 0.5) draw rounded to 1 would have an infinite one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from sbiwb.contracts import Distribution, PriorPart
from sbiwb.priors import _special as special

HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))
TINY = float(np.finfo(np.float64).tiny)
SMALLEST_P = 1e-300  # a closed bound is mapped to z = -37.05 or 37.05
SMALLEST_U = 2.0**-54  # half the step of `rng.random`, which returns 0 now and then
# of `from_normal`, with a tail of 1e-89; betaincinv returns NaN for some tails below 1e-150
LARGEST_Z = 20.0


class UnivariateConfig(PriorPart):
    """Options that every univariate prior has."""

    shape: (
        Annotated[list[Annotated[int, Field(ge=1, le=100_000)]], Field(min_length=1, max_length=1)]
        | None
    ) = Field(
        None,
        description="[K] for a vector-valued parameter with K independent, identically "
        "distributed columns.",
    )

    @property
    def event(self) -> tuple[int, ...]:
        """Shape of one value: () or (K,)."""
        return tuple(self.shape or ())


def open_bounds(low: float | None, high: float | None) -> tuple[float, float]:
    """Bounds as numbers, infinite where there is none.

    Example:
        >>> open_bounds(0.0, None)
        (0.0, inf)
    """
    if low is None:
        low = -np.inf
    if high is None:
        high = np.inf
    return low, high


@dataclass(frozen=True, kw_only=True)
class UnivariatePrior(Distribution):
    """A continuous prior of K independent, identically distributed columns.

    A concrete class gives `log_density`, `cdf`, `sf`, `ppf`, `isf`, `var` and `bounds`, elementwise
    on arrays of any shape. The methods below call them with theta strictly between the bounds and
    probabilities above 0, and let them overflow in silence. One whose map to a normal variable has
    a closed form gives `to_z` and `from_z` too.

    Args:
        event: () for a scalar parameter, (K,) for a vector-valued one.
    """

    event: tuple[int, ...] = ()

    @abstractmethod
    def log_density(self, theta: np.ndarray) -> np.ndarray:
        """Log-density, elementwise."""

    @abstractmethod
    def cdf(self, theta: np.ndarray) -> np.ndarray:
        """P(draw <= theta), exact to a relative precision where it is small."""

    @abstractmethod
    def sf(self, theta: np.ndarray) -> np.ndarray:
        """P(draw > theta), exact to a relative precision where it is small."""

    @abstractmethod
    def ppf(self, p: np.ndarray) -> np.ndarray:
        """theta with `cdf(theta) = p`."""

    @abstractmethod
    def isf(self, q: np.ndarray) -> np.ndarray:
        """theta with `sf(theta) = q`."""

    @abstractmethod
    def var(self) -> float:
        """Variance of one column."""

    def bounds(self) -> tuple[float, float]:
        """Bounds of the support, closed."""
        return -np.inf, np.inf

    def to_z(self, theta: np.ndarray) -> np.ndarray:
        """Phi^-1(F(theta)), elementwise."""
        p = self.cdf(theta)
        return _halves(
            p <= 0.5,
            lambda low: special.ndtri(np.maximum(p[low], SMALLEST_P)),
            lambda up: -special.ndtri(np.maximum(self.sf(theta[up]), SMALLEST_P)),
        )

    def from_z(self, z: np.ndarray) -> np.ndarray:
        """F^-1(Phi(z)), elementwise."""
        z = np.clip(z, -LARGEST_Z, LARGEST_Z)
        return _halves(
            z <= 0,
            lambda low: self.ppf(special.ndtr(z[low])),
            lambda up: self.isf(special.ndtr(-z[up])),
        )

    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        inside = self.inside(theta)
        with np.errstate(all="ignore"):
            log_density = self.log_density(self._clip(np.where(inside, theta, 0.0)))
        return np.where(inside, log_density, -np.inf).sum(-1)

    def support(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.bounds()
        return np.full(self.size, low), np.full(self.size, high)

    def variance(self) -> np.ndarray:
        return np.full(self.size, self.var())

    def to_normal(self, theta: np.ndarray) -> np.ndarray:
        inside = self.inside(theta)
        with np.errstate(all="ignore"):
            z = self.to_z(self._clip(np.where(inside, theta, 0.0)))
        return np.where(inside, z, np.nan)

    def from_normal(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return self._clip(self.from_z(z))

    def pull_back(self, z: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            slope = np.exp(-0.5 * z**2 - HALF_LOG_2PI - self.log_density(self.from_normal(z)))
            cut = (np.abs(z) > LARGEST_Z) & (
                type(self).from_z is UnivariatePrior.from_z
            )  # a map in closed form goes on
            return gradient * np.where(np.isfinite(slope) & ~cut, slope, 0.0)

    def quantile(self, u: np.ndarray) -> np.ndarray:
        p, q = np.maximum(u, SMALLEST_U), np.maximum(1 - u, SMALLEST_U)
        with np.errstate(all="ignore"):
            return self._clip(
                _halves(u <= 0.5, lambda low: self.ppf(p[low]), lambda up: self.isf(q[up]))
            )

    def _clip(self, theta: np.ndarray) -> np.ndarray:
        """theta moved strictly between the bounds, by one step of float64."""
        low, high = self.bounds()
        return np.clip(
            theta,
            max(np.nextafter(low, np.inf), low + TINY),
            min(np.nextafter(high, -np.inf), high - TINY),
        )


def _halves(
    lower: np.ndarray,
    below: Callable[[np.ndarray], np.ndarray],
    above: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """`below(mask)` where `lower` holds and `above(mask)` elsewhere.

    Each formula sees its own half only.
    """
    out = np.empty(lower.shape)
    out[lower], out[~lower] = below(lower), above(~lower)
    return out
