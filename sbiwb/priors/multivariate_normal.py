"""Multivariate normal prior of one vector-valued parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sbiwb.contracts import Distribution, PriorPart
from sbiwb.priors import _special as special
from sbiwb.priors._univariate import SMALLEST_U


class Config(PriorPart):
    """Options of the multivariate normal prior."""

    loc: list[float] = Field(min_length=1, description="Mean of each of the K columns.")
    covariance: list[list[float]] | None = Field(
        None, description="Covariance, K rows of K numbers, symmetric and positive definite."
    )
    scale: list[Annotated[float, Field(gt=0)]] | None = Field(
        None,
        description="Standard deviation of each column, instead of `covariance`, for independent "
        "columns.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if (self.covariance is None) == (self.scale is None):
            raise PydanticCustomError(
                "covariance",
                "give either 'covariance' (K rows of K numbers) or 'scale' (K numbers)",
            )
        if self.scale is not None and len(self.scale) != len(self.loc):
            raise PydanticCustomError(
                "covariance",
                "scale has {scale} numbers, loc has {loc}: give as many",
                {"scale": len(self.scale), "loc": len(self.loc)},
            )
        if self.covariance is not None:
            _check_covariance(self.covariance, len(self.loc))
        return self

    def build(self) -> MultivariateNormal:
        """The distribution."""
        factor = (
            np.diag(self.scale)
            if self.scale is not None
            else np.linalg.cholesky(np.array(self.covariance))
        )
        return MultivariateNormal(np.array(self.loc, np.float64), factor.astype(np.float64))


@dataclass(frozen=True, eq=False)
class MultivariateNormal(Distribution):
    r"""$\theta = loc + L z$ with $L L^\top$ the covariance and $z$ standard normal.

    `to_normal` whitens the columns together, $z = L^{-1} (\theta - loc)$: column j of z depends on
    columns 0 to j of theta.

    Args:
        loc: Mean, (K,).
        factor: Lower Cholesky factor L of the covariance, (K, K).

    Example:
        >>> MultivariateNormal(np.zeros(2), np.array([[1.0, 0.0], [3.0, 4.0]])).variance()
        array([ 1., 25.])
    """

    loc: np.ndarray
    factor: np.ndarray

    @property
    def event(self) -> tuple[int, ...]:  # type: ignore[override]
        """(K,)."""
        return self.loc.shape

    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        finite = np.isfinite(theta).all(-1)
        z = self.to_normal(np.where(finite[..., None], theta, self.loc))
        constant = np.log(np.diag(self.factor)).sum() + 0.5 * self.size * math.log(2 * math.pi)
        with np.errstate(over="ignore"):
            return np.where(finite, -0.5 * (z**2).sum(-1) - constant, -np.inf)

    def support(self) -> tuple[np.ndarray, np.ndarray]:
        return np.full(self.size, -np.inf), np.full(self.size, np.inf)

    def variance(self) -> np.ndarray:
        return (self.factor**2).sum(1)

    def to_normal(self, theta: np.ndarray) -> np.ndarray:
        finite = np.isfinite(theta).all(-1, keepdims=True)
        z = np.linalg.solve(self.factor, (np.where(finite, theta, self.loc) - self.loc)[..., None])[
            ..., 0
        ]
        return np.where(finite, z, np.nan)

    def from_normal(self, z: np.ndarray) -> np.ndarray:
        return self.loc + z @ self.factor.T

    def pull_back(self, z: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return gradient @ self.factor

    def quantile(self, u: np.ndarray) -> np.ndarray:
        return self.from_normal(special.ndtri(np.maximum(u, SMALLEST_U)))


def _check_covariance(covariance: list[list[float]], size: int) -> None:
    """Refuses all but a symmetric positive definite matrix of the right size."""
    if len(covariance) != size or any(len(row) != size for row in covariance):
        raise PydanticCustomError(
            "covariance",
            "covariance must have {size} rows of {size} numbers, as loc has {size}",
            {"size": size},
        )
    matrix = np.array(covariance)
    if not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0):
        row, column = np.argwhere(~np.isclose(matrix, matrix.T, rtol=1e-9, atol=0))[0].tolist()
        raise PydanticCustomError(
            "covariance",
            "covariance is not symmetric: entry [{row}][{column}] is {one}, entry "
            "[{column}][{row}] is {other}",
            {
                "row": row,
                "column": column,
                "one": covariance[row][column],
                "other": covariance[column][row],
            },
        )
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError as error:
        raise PydanticCustomError(
            "covariance",
            "covariance is not positive definite: its smallest eigenvalue is {smallest}; are "
            "variances on the diagonal, "
            "and all correlations below 1?",
            {"smallest": f"{smallest:.3g}"},
        ) from error
