r"""Transformer: for series of any length, each step of which sees all others.

    h_t = A x_t + p_t,   p_t = (sin(t w_k), cos(t w_k)),   w_k = 10000^(-k / K)

The positions p_t are no weights, so that series may be longer than any in training. Steps at
irregular times need the time as a channel.

References:
    Vaswani et al. (2017), Attention Is All You Need, https://arxiv.org/abs/1706.03762
    Xiong et al. (2020), On Layer Normalization in the Transformer Architecture,
    https://arxiv.org/abs/2002.04745
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._attention import Attentive, Block
from sbiwb.networks.summary._members import Members, Norm

Pooling = Literal["mean", "max", "attention", "last"]


class Positions(nn.Module):
    """Values (B, T, W) with p_t added to each step, whatever T is."""

    def forward(self, values: Tensor) -> Tensor:
        _, steps, width = values.shape
        angles = self._angles(steps, (width + 1) // 2, values)
        return values + torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width]

    def _angles(self, steps: int, rates: int, like: Tensor) -> Tensor:
        """t w_k, (T, K), at least float32."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        rate = 10_000.0 ** (-torch.arange(rates, dtype=dtype, device=like.device) / rates)
        return torch.arange(steps, dtype=dtype, device=like.device)[:, None] * rate


class Config(Attentive):
    """Width, blocks and the pooling."""

    blocks: int = Field(2, ge=1, le=32, description="Attention blocks.")
    pooling: Pooling | Annotated[list[Pooling], Field(min_length=1, max_length=4)] = Field(
        "mean",
        description=(
            "How steps are joined: one of mean, max, attention and last, or a list whose results "
            "are joined."
        ),
    )
    head_depth: int = Field(1, ge=0, le=32, description="Hidden layers after the pooling.")

    def build(self, shape: InputShape, features: int) -> Members:
        _layers.require(shape, ["series"], "transformer")
        pools = _layers.poolings(self.pooling, self.hidden)
        blocks = [Block(self.hidden, self.heads, self.activation) for _ in range(self.blocks)]
        member = nn.Sequential(nn.Linear(shape.channels, self.hidden), Positions())
        widths = [self.hidden] * self.head_depth
        pooled = len(pools) * self.hidden
        head = _layers.head(pooled, widths, features, shape, activation=self.activation)
        return Members(
            member,
            [*blocks, Norm(self.hidden)],
            pools,
            head,
            features=features,
            longest=_layers.longest(shape),
        )
