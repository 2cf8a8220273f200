r"""Sum-of-squares polynomial flow: each column is mapped by an increasing polynomial, the integral
of a sum of squares.

    u_d = c_d + integral from 0 to x_d of (1/K) sum_i (1 + sum_j a_ij (t/5)^j)^2 + e dt,
    x_d = exp(s_d) z_d + m_d

with coefficients that depend on the features and the columns before; used on [-5, 5] and continued
by straight lines. The integral is exact; draws are found numerically, to rounding. An untrained
flow is close to the standard normal.

References:
    Jaini, Selby & Yu (2019), Sum-of-Squares Polynomial Flow, https://arxiv.org/abs/1905.02325
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.distributions import Transform
from zuko.transforms import AdditiveTransform, ComposedTransform, SOSPolynomialTransform

from sbiwb.networks.inference._monotone import BOUND, Monotone, integral
from sbiwb.networks.inference._zuko import LEAST_SLOPE, AutoregressiveConfig, UnivariateMap


def sum_of_squares(constant: Tensor, a: Tensor) -> Transform:
    """The transform of coefficients (..., D, K, L + 1); L + 1 points integrate the square of degree
    2 L exactly.
    """
    polynomial = SOSPolynomialTransform(a, slope=LEAST_SLOPE, bound=BOUND)
    return ComposedTransform(
        Monotone(integral(polynomial.g, a.shape[-1])), AdditiveTransform(constant)
    )


class Config(AutoregressiveConfig):
    """Polynomials, and the network that sets them."""

    degree: int = Field(4, ge=1, le=16, description="Degree of the polynomials that are squared.")
    polynomials: int = Field(3, ge=1, le=64, description="Squares that are summed.")

    def univariate(self) -> UnivariateMap:
        return UnivariateMap(sum_of_squares, [(), (self.polynomials, self.degree + 1)], still=1)
