"""Whole numbers 0 to k - 1 with given probabilities.

For an experimental condition, or the index of a model to be inferred.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sbiwb.priors._discrete import Discrete
from sbiwb.priors._univariate import UnivariateConfig

Probability = Annotated[float, Field(ge=0, le=1)]
TOLERANCE = 1e-5  # for probabilities written as 0.333333


class Config(UnivariateConfig):
    """Options of the categorical distribution."""

    probabilities: list[Probability] | dict[str, Probability] = Field(
        min_length=1,
        description="Probability of each value 0, 1, ..., as a list, or as a mapping from labels "
        "in that order.",
    )

    @model_validator(mode="after")
    def _sum_to_one(self) -> Config:
        total = math.fsum(self._values)
        if abs(total - 1) > TOLERANCE:
            raise PydanticCustomError(
                "probabilities",
                "probabilities sum to {total}, not to 1: divide each by {total}",
                {"total": f"{total:.8g}"},
            )
        return self

    def build(self) -> Categorical:
        """The distribution."""
        labels = tuple(self.probabilities) if isinstance(self.probabilities, dict) else ()
        return Categorical(tuple(self._values), labels, event=self.event)

    @property
    def _values(self) -> list[float]:
        return (
            list(self.probabilities.values())
            if isinstance(self.probabilities, dict)
            else self.probabilities
        )


@dataclass(frozen=True)
class Categorical(Discrete):
    """P(k) = probabilities[k] for k = 0, 1, ...

    Args:
        probabilities: They sum to 1 but for rounding.
        labels: Names of the values, in order; may be empty.

    Example:
        >>> Categorical((0.25, 0.75)).quantile(np.array([[0.2], [0.3]]))
        array([[0.],
               [1.]])
    """

    probabilities: tuple[float, ...]
    labels: tuple[str, ...] = ()

    def bounds(self) -> tuple[int, int]:
        return 0, len(self.probabilities) - 1

    def level_name(self, value: float) -> str:
        """The label of a value; the number itself where it has none."""
        return self.labels[int(value)] if self.labels else super().level_name(value)

    def log_mass(self, values: np.ndarray) -> np.ndarray:
        return np.log(self._shares)[values.astype(np.int64)]

    def ppf(self, u: np.ndarray) -> np.ndarray:
        last = np.flatnonzero(self._shares)[-1]  # the sum may end at 1 - 1e-16
        return np.minimum(np.searchsorted(self._shares.cumsum(), u, side="right"), last)

    def var(self) -> float:
        values = np.arange(len(self.probabilities))
        return float(self._shares @ (values - self._shares @ values) ** 2)

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """Whether each entry is a value that can be drawn, (N, K)."""
        whole = super().inside(theta)
        return whole & (self._shares[np.where(whole, theta, 0).astype(np.int64)] > 0)

    @property
    def _shares(self) -> np.ndarray:
        return np.array(self.probabilities) / math.fsum(self.probabilities)
