r"""Masked autoregressive flow: affine maps of each column, whose shift and scale depend on the
features and on the columns before it.

    u_d = exp(a_d(z_<d, h)) z_d + m_d(z_<d, h),   log q(z | h) = sum_d log phi(u_d) + a_d

and so on for each transform, the order of the columns reversed. Fast and robust; with few columns
its densities are close to normal (one column: exactly normal), for which `nsf` is the remedy. An
untrained flow is the standard normal.

References:
    Papamakarios, Pavlakou & Murray (2017), Masked Autoregressive Flow for Density Estimation,
    https://arxiv.org/abs/1705.07057
"""

from __future__ import annotations

from pydantic import Field

from sbiwb.networks.inference._zuko import AutoregressiveConfig, UnivariateMap


class Config(AutoregressiveConfig):
    """Affine transforms, and the network that sets them."""

    transforms: int = Field(
        5,
        ge=1,
        le=64,
        description="Affine transforms, the order of the columns reversed after each.",
    )

    def univariate(self) -> UnivariateMap:
        return UnivariateMap()
