"""A parameter drawn by `prior(n, rng)` of the simulator file.

Its distribution is known by sampling alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np
from pydantic import Field, model_validator

from sbiwb.contracts import Distribution
from sbiwb.errors import ConfigError
from sbiwb.families import check_ordered
from sbiwb.priors._univariate import UnivariateConfig, open_bounds


class Config(UnivariateConfig):
    """Options of a parameter that the simulator file draws."""

    low: float | None = Field(
        None, description="Lower bound that no draw passes; none if left out."
    )
    high: float | None = Field(
        None, description="Upper bound that no draw passes; none if left out."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        check_ordered(self.low, self.high)
        return self

    def build(self) -> Joint:
        """The distribution."""
        low, high = open_bounds(self.low, self.high)
        return Joint(low, high, event=self.event)


@dataclass(frozen=True)
class Joint(Distribution):
    """A parameter with bounds and without a density.

    Draws come from `Prior.sample` and the simulator file's `prior(n, rng)`.

    Args:
        low: Lower bound or -inf.
        high: Upper bound or inf.
        event: () for a scalar parameter, (K,) for a vector-valued one.

    Example:
        >>> Joint(0.0, np.inf).inside(np.array([[-1.0], [1.0]]))[:, 0]
        array([False,  True])
    """

    low: float
    high: float
    event: tuple[int, ...] = ()
    known: ClassVar[bool] = False  # type: ignore[misc]

    def support(self) -> tuple[np.ndarray, np.ndarray]:
        return np.full(self.size, self.low), np.full(self.size, self.high)

    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        _refuse(
            "density",
            "Leave out what needs the prior density, or give the parameter a prior of its own.",
        )

    def variance(self) -> np.ndarray:
        _refuse("variance", "Take the variance over the test set.")

    def to_normal(self, theta: np.ndarray) -> np.ndarray:
        _refuse(
            "distribution function",
            "Standardize the parameter, or take its logit between its bounds.",
        )

    def from_normal(self, z: np.ndarray) -> np.ndarray:
        _refuse(
            "quantile function", "Standardize the parameter, or take its logit between its bounds."
        )

    def quantile(self, u: np.ndarray) -> np.ndarray:
        _refuse("quantile function", "Draw all parameters together with Prior.sample.")

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Always refused: joint parameters are drawn together."""
        _refuse("sampler of its own", "Draw all parameters together with Prior.sample.")


def _refuse(wanted: str, todo: str) -> NoReturn:
    raise ConfigError(
        f"a prior of kind 'joint' has no {wanted}: the simulator file's prior(n, rng) only draws "
        "it",
        todo=todo,
    )
