"""The prior of one parameter, as every prior promises it. numpy only.

Shapes: N simulations, K columns of one parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Distribution(ABC):
    """Prior of one parameter with K columns; every method takes float64 and no method draws outside
    the support.

    `sample` is the quantile function of uniform numbers, so nothing is written twice.

    Attributes:
        event: Shape of one value: `()` for a scalar parameter (K = 1), `(K,)` for a vector-valued
            one.
        discrete: Whether its values are integers; such a parameter is known by the place of its
            value among its levels.
        known: Whether density, quantile and variance can be computed; not so for a parameter that
            the simulator file draws.
    """

    event: tuple[int, ...] = ()
    discrete: bool = False
    known: bool = True

    @property
    def size(self) -> int:
        """K, the number of columns."""
        return self.event[0] if self.event else 1

    def level_name(self, value: float) -> str:
        """What a value of a discrete parameter is called."""
        return f"{value:g}"

    @abstractmethod
    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        """Log-density (or log-mass) of theta (N, K), shape (N,); -inf outside the support and at
        NaN, never NaN itself.
        """

    @abstractmethod
    def support(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound of each column, (K,) each, possibly infinite."""

    @abstractmethod
    def variance(self) -> np.ndarray:
        """Variance of each column, (K,)."""

    @abstractmethod
    def to_normal(self, theta: np.ndarray) -> np.ndarray:
        """z = Phi^-1(F(theta)), (N, K) to (N, K), finite for every theta in the support, its closed
        bounds included; NaN outside.
        """

    @abstractmethod
    def from_normal(self, z: np.ndarray) -> np.ndarray:
        """The inverse of `to_normal`, inside the support for every finite z."""

    def pull_back(self, z: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """A gradient in theta (N, K) at `from_normal(z)` as one in z (N, K); independent columns
        have dtheta/dz = phi(z) / p(theta).
        """
        raise NotImplementedError(f"{type(self).__name__} knows no derivative of its map")

    @abstractmethod
    def quantile(self, u: np.ndarray) -> np.ndarray:
        """theta (N, K) at uniform numbers u (N, K) in [0, 1), finite and inside the support also at
        0.
        """

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n draws, (n, K)."""
        return self.quantile(rng.random((n, self.size)))

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """Whether each entry of theta (N, K) is finite and in the support of its column, (N, K)."""
        low, high = self.support()
        return (theta >= low) & (theta <= high) & np.isfinite(theta)
