r"""Deep set: for sets of any size, whose members have no order.

    h = rho(pool_m phi(x_m), log M)

The pooling makes it invariant under permutations; where sizes vary, the logarithm of the size goes to the head, for a mean alone
cannot tell 10 members from 1000.

References:
    Zaheer et al. (2017), Deep Sets, https://arxiv.org/abs/1703.06114
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.families import Part
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Width

Pooling = Literal["mean", "max", "attention"]


class DeepSet(nn.Module):
    """values (B, M, C) and mask (B, M) to (B, H).

    Args:
        member: phi, on each member alone.
        pools: Poolings whose results are joined.
        head: rho.
        features: H.
        longest: Members of the largest set of the training data, where the log of the size goes to the head; None where it does not vary.
    """

    def __init__(self, member: nn.Module, pools: list[nn.Module], head: nn.Module, *, features: int, longest: int | None) -> None:
        super().__init__()
        self.member, self.pools, self.head = member, nn.ModuleList(pools), head
        self.features, self.longest = features, longest

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        values = _layers.without_padding(values, mask)
        members = self.member(values)
        pooled = [pool(members, mask) for pool in self.pools]
        size = [] if self.longest is None else [_layers.log_length(values, mask, self.longest)]
        return self.head(torch.cat([*pooled, *size], dim=-1))


class Config(Part):
    """Layers before and after the pooling."""

    hidden: Width = Field(64, description="Width of all layers.")
    depth: int = Field(2, ge=1, le=32, description="Layers applied to each member before the pooling.")
    head_depth: int = Field(1, ge=0, le=32, description="Hidden layers after the pooling.")
    pooling: Pooling | Annotated[list[Pooling], Field(min_length=1, max_length=3)] = Field(
        ["mean", "max"], description="How members are joined: one of mean, max and attention, or a list whose results are joined."
    )
    activation: Activation = Field("relu", description="Function after each hidden layer.")
    norm: bool = Field(False, description="Whether each hidden layer is layer-normed before its activation.")
    residual: bool = Field(False, description="Whether layers of equal width are pre-normed residual blocks.")

    def build(self, shape: InputShape, features: int) -> DeepSet:
        _layers.require(shape, ["set"], "deepset")
        names = [self.pooling] if isinstance(self.pooling, str) else self.pooling
        pools = [_layers.pooling(name, self.hidden) for name in names]
        head = self._mlp(len(pools) * self.hidden + shape.varies, self.head_depth, features)
        return DeepSet(
            self._mlp(shape.channels, self.depth, None), pools, head, features=features, longest=shape.length if shape.varies else None
        )

    def _mlp(self, channels: int, depth: int, features: int | None) -> nn.Module:
        widths = [self.hidden] * depth
        return _layers.mlp(channels, widths, features, activation=self.activation, norm=self.norm, residual=self.residual)
