"""A vector straight through: its channels are the features, and nothing is learned."""

from __future__ import annotations

from torch import Tensor

from sbiwb.contracts import InputShape, SummaryPart
from sbiwb.contracts.network_modules import SummaryModule
from sbiwb.networks.summary._layers import require


class Identity(SummaryModule):
    """values (B, C) to themselves."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        return values


class Config(SummaryPart):
    """No options; the number of features is the number of channels, whatever `features` says."""

    def build(self, shape: InputShape, features: int) -> Identity:
        require(shape, ["vector"], "identity")
        return Identity(shape.channels)
