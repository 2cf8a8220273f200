"""Multilayer perceptron: for vectors, and for sets, series and grids of one size, end to end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.contracts.network_modules import SummaryModule
from sbiwb.errors import ConfigError
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Width
from sbiwb.networks.summary._learned import Learned


class MLP(SummaryModule):
    """values (B, C), (B, M, C) or (B, *grid, C) to (B, H), members and cells laid end to end."""

    def __init__(self, net: nn.Sequential, features: int) -> None:
        super().__init__()
        self.net, self.features = net, features

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.net(values.flatten(1))

    @classmethod
    def side_by_side(cls, networks: Sequence[Self], values: Tensor, mask: Tensor | None) -> Tensor:
        """Features (M, B, H) of M networks of one kind, of values (M, B, ...) each of its own."""
        return _layers.side_by_side([network.net for network in networks], values.flatten(2))


class Config(Learned):
    """Hidden layers and how they are made."""

    hidden: Annotated[list[Width], Field(min_length=1, max_length=32)] = Field(
        [64, 64], description="Width of each hidden layer."
    )
    activation: Activation = Field("relu", description="Function after each hidden layer.")
    norm: bool = Field(
        False, description="Whether each hidden layer is layer-normed before its activation."
    )
    residual: bool = Field(
        False, description="Whether layers of equal width are pre-normed residual blocks."
    )

    def build(self, shape: InputShape, features: int) -> MLP:
        if shape.varies:
            what = f"mlp takes one length, and this {shape.kind} has up to {shape.length} members"
            raise ConfigError(what, where="summary.kind", todo=f"Use {_layers.made_for(shape)}.")
        channels = shape.channels * (shape.length or 1) * math.prod(shape.grid)
        net = _layers.mlp(
            channels,
            self.hidden,
            features,
            activation=self.activation,
            norm=self.norm,
            residual=self.residual,
        )
        return MLP(net, features)
