"""Multilayer perceptron: for vectors, and for sets and series of one length, laid end to end."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.errors import ConfigError
from sbiwb.families import Part
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Width


class MLP(nn.Module):
    """values (B, C) or (B, M, C) to (B, H), the members laid end to end."""

    def __init__(self, net: nn.Module, features: int) -> None:
        super().__init__()
        self.net, self.features = net, features

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.net(values.flatten(1))


class Config(Part):
    """Hidden layers and how they are made."""

    hidden: Annotated[list[Width], Field(min_length=1, max_length=32)] = Field([64, 64], description="Width of each hidden layer.")
    activation: Activation = Field("relu", description="Function after each hidden layer.")
    norm: bool = Field(False, description="Whether each hidden layer is layer-normed before its activation.")
    residual: bool = Field(False, description="Whether layers of equal width are pre-normed residual blocks.")

    def build(self, shape: InputShape, features: int) -> MLP:
        if shape.varies:
            network = "deepset" if shape.kind == "set" else "lstm"
            what = f"mlp takes one length, and this {shape.kind} has up to {shape.length} members"
            raise ConfigError(what, where="summary.kind", todo=f"Use {network}.")
        channels = shape.channels * (shape.length or 1)
        net = _layers.mlp(channels, self.hidden, features, activation=self.activation, norm=self.norm, residual=self.residual)
        return MLP(net, features)
