r"""Normal prior cut at one or two bounds.

Its distribution function is a ratio of masses of the standard normal. Differences of $\Phi$ lose
digits next to a bound and underflow far out (mean 40 standard deviations below `low`), so the mass
of an interval is written by its end nearer to the mode, $s$, and its width, $w$,

$$ \int_s^{s+w} \phi(t)\,dt = \phi(s) \int_0^w e^{-s v - v^2/2} \, dv, $$

where the second integral is a Gauss-Legendre sum if narrow and a difference of scaled erfc if wide,
and $\phi(s)$ cancels from the ratio. The quantile function takes two Newton steps on this, starting
from $\Phi^{-1}$ or, next to a bound, from a straight line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from pydantic import Field, model_validator

from sbiwb.families import check_ordered
from sbiwb.priors import _special as special
from sbiwb.priors._univariate import TINY, UnivariateConfig, UnivariatePrior, open_bounds

LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


class Config(UnivariateConfig):
    """Options of the truncated normal prior."""

    loc: float = Field(0.0, description="Mean before truncation.")
    scale: float = Field(1.0, gt=0, description="Standard deviation before truncation.")
    low: float | None = Field(None, description="Lower bound; none if left out.")
    high: float | None = Field(None, description="Upper bound, above `low`; none if left out.")

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        check_ordered(self.low, self.high)
        return self

    def build(self) -> TruncatedNormal:
        """The distribution."""
        low, high = open_bounds(self.low, self.high)
        return TruncatedNormal(self.loc, self.scale, low, high, event=self.event)


@dataclass(frozen=True)
class TruncatedNormal(UnivariatePrior):
    r"""$p(\theta) \propto \exp(-(\theta - loc)^2 / (2\, scale^2))$ for $low \le \theta \le high$.

    Args:
        loc: Mean before truncation, inside or outside of the bounds.
        scale: Standard deviation before truncation.
        low: Lower bound or -inf.
        high: Upper bound or inf.

    Example:
        # nearly exponential with rate 10
        >>> TruncatedNormal(-10.0, 1.0, 0.0, np.inf).variance().round(5)
        array([0.00945])
    """

    loc: float
    scale: float
    low: float
    high: float

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def log_density(self, theta: np.ndarray) -> np.ndarray:
        return self._log_density_at(self._standard(theta)) - math.log(self.scale)

    def cdf(self, theta: np.ndarray) -> np.ndarray:
        return np.exp(self._log_cdf(self._standard(theta), (theta - self.low) / self.scale))

    def sf(self, theta: np.ndarray) -> np.ndarray:
        return self._mirror().cdf(-theta)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        t, width = self._guess(p)
        for _ in range(2):
            log_cdf = self._log_cdf(t, width)
            step = (np.log(p) - log_cdf) * np.exp(log_cdf - self._log_density_at(t))
            t, width = t + step, np.maximum(width + step, TINY)
        nearer_to_low = np.abs(width) < np.abs(t)
        return np.where(nearer_to_low, self.low + self.scale * width, self.loc + self.scale * t)

    def isf(self, q: np.ndarray) -> np.ndarray:
        return -self._mirror().ppf(q)

    def var(self) -> float:
        """By quadrature over z, of which theta is smooth; the closed form cancels in the tails."""
        z, weight = _gauss_legendre(200)
        theta, weight = self.from_normal(10 * z), weight * np.exp(-50 * z**2)
        weight /= weight.sum()
        return float(weight @ (theta - weight @ theta) ** 2)

    def _mirror(self) -> TruncatedNormal:
        """The distribution of -theta."""
        return TruncatedNormal(-self.loc, self.scale, -self.high, -self.low)

    def _standard(self, theta: np.ndarray) -> np.ndarray:
        return (theta - self.loc) / self.scale

    @property
    def _ends(self) -> tuple[float, float]:
        """The bounds in standard deviations from the mean."""
        return (self.low - self.loc) / self.scale, (self.high - self.loc) / self.scale

    @property
    def _anchor(self) -> float:
        """The point of highest density, mirrored to the right.

        Masses are computed in units of the density there.
        """
        a, b = self._ends
        return max(a, -b, 0.0)

    @property
    def _log_total(self) -> np.ndarray:
        a, b = self._ends
        return _log_mass(
            np.array(a), np.array(b), np.array((self.high - self.low) / self.scale), self._anchor
        )

    def _log_density_at(self, t: np.ndarray) -> np.ndarray:
        """Log-density of t, in standard deviations from the mean."""
        return (self._anchor - t) * (self._anchor + t) / 2 - self._log_total

    def _log_cdf(self, t: np.ndarray, width: np.ndarray) -> np.ndarray:
        """log F at t; `width` is its distance from the lower bound, to more digits than t has."""
        return np.minimum(
            _log_mass(np.array(self._ends[0]), t, width, self._anchor) - self._log_total, 0.0
        )

    def _guess(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First guess of the quantile: t and its distance from the lower bound."""
        a, _ = self._ends
        log_total = self._log_total - self._anchor**2 / 2 - LOG_ROOT_2PI
        if a > 0:
            log_tail = special.log_ndtr(-a)
            t = -special.ndtri_exp(log_tail + np.log1p(-p * np.exp(log_total - log_tail)))
        else:
            t = special.ndtri_exp(
                np.minimum(np.logaddexp(special.log_ndtr(a), np.log(p) + log_total), -TINY)
            )
        linear = p * np.exp(-self._log_density_at(np.array(a)))
        near = (
            linear * (abs(a) + linear) < 1e-4
        )  # beyond, t - a has digits enough for a first guess
        return np.where(near, a + linear, t), np.where(near, linear, t - a)


def _log_mass(left: np.ndarray, right: np.ndarray, width: np.ndarray, anchor: float) -> np.ndarray:
    """log of the normal mass from `left` to `right`, `width` apart, over that at `anchor`."""
    start = np.maximum(
        left, -right
    )  # by symmetry, the mass begins at the end nearer to the mode and goes outwards
    start, left, right, width = np.broadcast_arrays(start, left, right, width)
    narrow = width * (np.abs(start) + width / 2) <= 1
    one_sided = narrow | (start >= 0)
    out = np.empty(start.shape)
    out[narrow] = _log_narrow(start[narrow], width[narrow])
    out[one_sided & ~narrow] = _log_wide(start[one_sided & ~narrow], width[one_sided & ~narrow])
    out[one_sided] += (anchor - start[one_sided]) * (anchor + start[one_sided]) / 2
    out[~one_sided] = (
        np.log(special.ndtr(right[~one_sided]) - special.ndtr(left[~one_sided]))
        + anchor**2 / 2
        + LOG_ROOT_2PI
    )
    return out


def _log_narrow(start: np.ndarray, width: np.ndarray) -> np.ndarray:
    """log of the integral of exp(-start v - v^2 / 2) for v from 0 to `width`, by quadrature."""
    node, weight = _gauss_legendre(16)  # exact to the last digit for exponents between -1 and 1
    v = width[..., None] * (node + 1) / 2
    return np.log(width) + np.log(np.exp(-v * (start[..., None] + v / 2)) @ (weight / 2))


def _log_wide(start: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The same integral in closed form, for `start` >= 0."""
    beyond = np.exp(-width * (start + width / 2)) * special.erfcx((start + width) / math.sqrt(2))
    return np.log(math.sqrt(math.pi / 2) * (special.erfcx(start / math.sqrt(2)) - beyond))


@cache
def _gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [-1, 1]."""
    return np.polynomial.legendre.leggauss(n)
