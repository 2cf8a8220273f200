r"""Fusion: for a vector made of the summaries of several inputs, which it joins into one.

    h = S x + B norm(r),   r <- r + W2 a(W1 norm(r)),   r = A x at first

A residual perceptron whose blocks are layer-normed, beside a linear path. Nothing norms x itself,
whose level is what the data say.

References:
    He et al. (2016), Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.contracts.network_modules import SummaryModule
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Width
from sbiwb.networks.summary._learned import Learned


class Fusion(SummaryModule):
    """values (B, C) to (B, H)."""

    def __init__(self, net: nn.Module, straight: nn.Module, features: int) -> None:
        super().__init__()
        self.net, self.straight, self.features = net, straight, features

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.straight(values) + self.net(values)


class Config(Learned):
    """Size of the perceptron."""

    hidden: Width = Field(64, description="Width of all layers.")
    depth: int = Field(2, ge=1, le=32, description="Residual blocks.")
    activation: Activation = Field("relu", description="Function inside each residual block.")

    def build(self, shape: InputShape, features: int) -> Fusion:
        _layers.require(shape, ["vector"], "fusion")
        net = _layers.mlp(
            shape.channels,
            [self.hidden] * (self.depth + 1),
            features,
            activation=self.activation,
            residual=True,
        )
        return Fusion(net, nn.Linear(shape.channels, features), features)
