r"""Bernstein polynomial flow: each column is mapped by an increasing Bernstein polynomial.

    u_d = 1/(M+1) sum_i b_i((x_d + 5) / 10) theta_i,   x_d = exp(a_d) z_d + m_d,
    theta increasing from -5 to 5

with Bernstein's basis b and coefficients that depend on the features and the columns before; the
identity outside [-5, 5]. Draws are found by bisection, to 1e-6. An untrained flow is the standard
normal.

References:
    Sick, Hothorn & Duerr (2020), Deep transformation models, https://arxiv.org/abs/2004.00464
    Arpogaus et al. (2022), Short-Term Density Forecasting of Low-Voltage Load using
    Bernstein-Polynomial Normalizing Flows, https://arxiv.org/abs/2204.13939
"""

from __future__ import annotations

from pydantic import Field
from zuko.transforms import BoundedBernsteinTransform

from sbiwb.networks.inference._zuko import AutoregressiveConfig, UnivariateMap


class Config(AutoregressiveConfig):
    """Polynomials, and the network that sets them."""

    degree: int = Field(16, ge=6, le=256, description="Degree of each polynomial.")

    def univariate(self) -> UnivariateMap:
        free = self.degree - 4  # the others hold the ends at the identity
        return UnivariateMap(BoundedBernsteinTransform, [(free,)], still=free)
