r"""Unconstrained neural autoregressive flow: each column is mapped by the integral of a positive
neural network.

    u_d = c_d + integral from 0 to x_d of exp(g(t; s_d)) dt,   x_d = exp(a_d) z_d + m_d,
    (m, a, c, s)_d = network(z_<d, h)

where g is any perceptron, softly clipped to [-7, 7]. The integral is Gauss and Legendre's, taken on
[-5, 5] and continued by straight lines; draws are found numerically. An untrained flow is the
standard normal.

References:
    Wehenkel & Louppe (2019), Unconstrained Monotonic Neural Networks,
    https://arxiv.org/abs/1908.05164
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.nn import MLP
from zuko.transforms import AdditiveTransform, ComposedTransform
from zuko.utils import broadcast

from sbiwb.networks.inference._monotone import Monotone, integral
from sbiwb.networks.inference._zuko import (
    AutoregressiveConfig,
    UnivariateMap,
    Widths,
    begin_at_zero,
)

CLIP = 7.0


class PositiveNetwork(nn.Module):
    """An integrand that all columns share; it makes a transform of their constants (..., D) and
    signals (..., D, C).
    """

    def __init__(self, signal: int, hidden: list[int], points: int) -> None:
        super().__init__()
        self.integrand, self.points = MLP(1 + signal, 1, hidden, activation=nn.SiLU), points
        begin_at_zero(self.integrand[-1], 1, 1)

    def forward(self, constant: Tensor, signal: Tensor) -> Transform:
        def slope(x: Tensor) -> Tensor:
            raw = self.integrand(torch.cat(broadcast(x[..., None], signal, ignore=1), dim=-1))[
                ..., 0
            ]
            return (raw / (1 + (raw / CLIP).abs())).exp()

        return ComposedTransform(
            Monotone(integral(slope, self.points)), AdditiveTransform(constant)
        )


class Config(AutoregressiveConfig):
    """Transforms, the networks that steer them, and the integrands."""

    transforms: int = Field(
        2, ge=1, le=64, description="Transforms, the order of the columns reversed after each."
    )
    signal: int = Field(
        16, ge=1, le=1024, description="Numbers that steer the integrand of each column."
    )
    network: Widths = Field([32, 32], description="Width of each hidden layer of the integrands.")
    points: int = Field(
        24, ge=2, le=256, description="Points at which an integral evaluates its integrand."
    )

    def univariate(self) -> UnivariateMap:
        network = PositiveNetwork(self.signal, self.network, self.points)
        return UnivariateMap(network, [(), (self.signal,)], still=1)
