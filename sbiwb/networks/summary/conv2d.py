r"""Convolutions in two dimensions: for grids such as images and maps, by residual blocks on ever
coarser grids.

    x <- x + W2 * a(W1 * norm(x))

Each stage after the first begins with a convolution of stride 2, which halves both axes and leaves
an axis of 1 as it is. Norms are over the channels of a cell alone: neither rows of the batch nor
cells see one another through them. A pooling over all cells ends it, so that a network takes grids
of any size: of the last stage, normed, or of every stage, rectified, so that each scale is seen.

References:
    He et al. (2016), Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Annotated, Literal

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


class Pools(nn.ModuleList):
    """What poolings over the cells of (B, C, A, A') give, joined, (B, K)."""

    def forward(self, cells: Tensor) -> Tensor:
        members = cells.flatten(2).transpose(1, 2)
        return torch.cat([pool(members, None) for pool in self], dim=-1)


class Conv2d(SummaryModule):
    """values (B, A, A', C) to (B, H), by the cells of the last stage.

    Args:
        cells: Convolutions, from (B, C, A, A') to (B, C', ., .).
        pools: Poolings over cells.
        head: From them to the features.
        features: H.
    """

    def __init__(self, cells: nn.Module, pools: Pools, head: nn.Module, *, features: int) -> None:
        super().__init__()
        self.cells, self.pools, self.head = cells, pools, head
        self.features = features

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.head(self.pools(self.cells(values.movedim(-1, 1))))


class Scales(SummaryModule):
    """values (B, A, A', C) to (B, H), by the cells of every stage.

    Args:
        stages: Convolutions, each from the cells of the one before.
        pools: Of each stage the poolings over its cells.
        head: From all of them to the features.
        features: H.
    """

    def __init__(
        self, stages: list[nn.Module], pools: list[Pools], head: nn.Module, *, features: int
    ) -> None:
        super().__init__()
        self.stages, self.pools, self.head = nn.ModuleList(stages), nn.ModuleList(pools), head
        self.features = features

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        cells, pooled = values.movedim(-1, 1), []
        for stage, pool in zip(self.stages, self.pools, strict=True):
            cells = stage(cells)
            pooled.append(pool(torch.relu(cells)))
        return self.head(torch.cat(pooled, dim=-1))


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
    pooled: Literal["last", "every"] = Field(
        "last",
        exclude_if=lambda chosen: chosen == "last",  # runs of before there was a choice stay theirs
        description=(
            "Whether the cells of the last stage are pooled, or those of every one, so that each "
            "scale is seen."
        ),
    )

    def build(self, shape: InputShape, features: int) -> Conv2d | Scales:
        _layers.require(shape, ["grid"], "conv2d")
        _layers.require_axes(shape, 2, "conv2d")
        read = self.filters if self.pooled == "every" else self.filters[-1:]
        pools = [Pools(_layers.poolings(self.pooling, width)) for width in read]
        found = sum(len(of_stage) * width for of_stage, width in zip(pools, read, strict=True))
        widths = [self.filters[-1]] * self.head_depth
        head = _layers.mlp(found, widths, features, activation=self.activation)
        stages = self._stages(shape.channels)
        if self.pooled == "every":
            return Scales(
                [nn.Sequential(*stage) for stage in stages], pools, head, features=features
            )
        cells = nn.Sequential(*chain(*stages), ChannelNorm(self.filters[-1]))
        return Conv2d(cells, pools[0], head, features=features)

    def _stages(self, channels: int) -> list[list[nn.Module]]:
        stages: list[list[nn.Module]] = []
        for before, after in pairwise([channels, *self.filters]):
            halving = convolution(before, after, self.kernel, stride=2 if stages else 1)
            blocks = [self._block(after) for _ in range(self.blocks)]
            stages.append([halving, *blocks])
        return stages

    def _block(self, width: int) -> nn.Module:
        return ResidualConvolution(width, self.kernel, self.activation)
