r"""Neural autoregressive flow: each column goes through a monotone neural network, steered by the
features and the columns before it.

    u_d = f(x_d; s_d) + 0.1 x_d,   x_d = exp(a_d) z_d + m_d,   (m, a, s)_d = network(z_<d, h)

where f is a perceptron with positive weights and ELUs both ways round, the signal s among its
inputs, used on [-5, 5] and continued by straight lines. The term 0.1 x_d keeps slopes away from 0,
where a draw would be very far off. Draws are found numerically, to rounding.

References:
    Huang, Krueger, Lacoste & Courville (2018), Neural Autoregressive Flows,
    https://arxiv.org/abs/1804.00779
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from zuko.nn import MonotonicMLP
from zuko.utils import broadcast

from sbiwb.networks.inference._monotone import Monotone, with_slope
from sbiwb.networks.inference._zuko import AutoregressiveConfig, UnivariateMap

LEAST = 0.1  # slope of a monotone network


class MonotoneNetwork(nn.Module):
    """A monotone network that all columns share, a transform for their signals (..., D, C)."""

    def __init__(self, signal: int, hidden: list[int]) -> None:
        super().__init__()
        self.network = MonotonicMLP(1 + signal, 1, hidden)

    def forward(self, signal: Tensor) -> Monotone:
        def function(x: Tensor) -> Tensor:
            inputs = torch.cat(broadcast(x[..., None], signal, ignore=1), dim=-1)
            return self.network(inputs)[..., 0] + LEAST * x

        return Monotone(with_slope(function))


class Config(AutoregressiveConfig):
    """Transforms, the networks that steer them, and the monotone networks."""

    transforms: int = Field(
        2, ge=1, le=64, description="Transforms, the order of the columns reversed after each."
    )
    signal: int = Field(
        16, ge=1, le=1024, description="Numbers that steer the monotone network of each column."
    )
    network: Annotated[
        list[Annotated[int, Field(ge=2, le=65536)]], Field(min_length=1, max_length=32)
    ] = Field([32, 32], description="Width of each hidden layer of the monotone networks.")

    def univariate(self) -> UnivariateMap:
        return UnivariateMap(MonotoneNetwork(self.signal, self.network), [(self.signal,)])
