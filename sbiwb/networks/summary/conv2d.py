r"""Convolutions in two dimensions: for grids such as images and maps, by residual blocks on ever
coarser grids.

    x <- x + W2 * a(W1 * norm(x))

Each stage after the first begins with a convolution of stride 2, which halves both axes and leaves
an axis of 1 as it is. Norms are over the channels of a cell alone: neither rows of the batch nor
cells see one another through them. A pooling over all cells ends it, so that a network takes grids
of any size.

References:
    He et al. (2016), Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.contracts.network_modules import SummaryModule
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Odd, Width
from sbiwb.networks.summary._learned import Learned


def convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Of (B, C, A, A') to (B, C', ceil(A / stride), ceil(A' / stride))."""
    return nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell of (B, C, A, A')."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values.movedim(1, -1)).movedim(-1, 1)


class ResidualConvolution(nn.Module):
    """A residual block on (B, C, A, A')."""

    def __init__(self, width: int, kernel: int, activation: str) -> None:
        super().__init__()
        first, second = convolution(width, width, kernel), convolution(width, width, kernel)
        self.layers = nn.Sequential(ChannelNorm(width), first, _layers.function(activation), second)

    def forward(self, values: Tensor) -> Tensor:
        return values + self.layers(values)


class Conv2d(SummaryModule):
    """values (B, A, A', C) to (B, H).

    Args:
        cells: Convolutions, from (B, C, A, A') to (B, C', ., .).
        pools: Poolings over cells, whose results are joined.
        head: From them to the features.
        features: H.
    """

    def __init__(
        self, cells: nn.Module, pools: list[nn.Module], head: nn.Module, *, features: int
    ) -> None:
        super().__init__()
        self.cells, self.pools, self.head = cells, nn.ModuleList(pools), head
        self.features = features

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        cells = self.cells(values.movedim(-1, 1)).flatten(2).transpose(1, 2)
        return self.head(torch.cat([pool(cells, None) for pool in self.pools], dim=-1))


class Config(Learned):
    """Stages and the pooling."""

    filters: Annotated[list[Width], Field(min_length=1, max_length=12)] = Field(
        [16, 32, 64], description="Channels of each stage; each after the first halves the grid."
    )
    blocks: int = Field(
        1, ge=1, le=32, description="Residual blocks of two convolutions in each stage."
    )
    kernel: Odd = Field(
        3, description="Cells that a convolution joins along either axis, an odd number."
    )
    pooling: _layers.Poolings = Field(
        ["mean", "max"],
        description=(
            "How cells are joined: one of mean, max and attention, or a list whose results are "
            "joined."
        ),
    )
    head_depth: int = Field(
        1, ge=0, le=32, description="Hidden layers after the pooling, as wide as the last stage."
    )
    activation: Activation = Field("relu", description="Function after each hidden layer.")

    def build(self, shape: InputShape, features: int) -> Conv2d:
        _layers.require(shape, ["grid"], "conv2d")
        _layers.require_axes(shape, 2, "conv2d")
        width = self.filters[-1]
        pools = _layers.poolings(self.pooling, width)
        widths, pooled = [width] * self.head_depth, len(pools) * width
        head = _layers.mlp(pooled, widths, features, activation=self.activation)
        return Conv2d(self._cells(shape.channels), pools, head, features=features)

    def _cells(self, channels: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        stride = 1
        for before, after in pairwise([channels, *self.filters]):
            layers.append(convolution(before, after, self.kernel, stride=stride))
            for _ in range(self.blocks):
                layers.append(ResidualConvolution(after, self.kernel, self.activation))
            stride = 2
        return nn.Sequential(*layers, ChannelNorm(self.filters[-1]))
