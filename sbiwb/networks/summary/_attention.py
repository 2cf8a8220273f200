"""Attention over members that are there, and the pre-normed block around it.

References:
    Vaswani et al. (2017), Attention Is All You Need, https://arxiv.org/abs/1706.03762
    Xiong et al. (2020), On Layer Normalization in the Transformer Architecture,
    https://arxiv.org/abs/2002.04745
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn
from torch.nn import functional

from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Width
from sbiwb.networks.summary._learned import Learned


class MultiHead(nn.Module):
    """Each of (B, N, W) reads from the members (B, M, W) where the mask (B, M) is true, and reads 0
    where there are none; (B, N, W).

    Its layers are plain `nn.Linear`, unlike those of `nn.MultiheadAttention`, so that Bayesian
    weights find them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, readers: Tensor, members: Tensor, mask: Tensor | None) -> Tensor:
        query = self._split(self.query(readers))
        key, value = map(self._split, self.key_value(members).chunk(2, dim=-1))
        if mask is None:
            return self.out(self._join(functional.scaled_dot_product_attention(query, key, value)))
        some = mask.any(1)[:, None, None]
        # of an empty set all members, for a softmax over nothing is NaN
        visible = (mask[:, None] | ~some)[:, None]
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.out(torch.where(some, self._join(read), 0.0))

    def _split(self, values: Tensor) -> Tensor:
        """(B, M, W) to (B, heads, M, W / heads)."""
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _join(self, values: Tensor) -> Tensor:
        return values.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """h = x + attention(norm x, norm y), then h + perceptron(norm h), with y = x where there is no
    other; x (B, N, W), y (B, M, W).

    Args:
        width: W, a multiple of heads.
        heads: Attentions side by side.
        activation: Of the perceptron.
        cross: Whether it reads from another y, which then has a norm of its own.
    """

    def __init__(self, width: int, heads: int, activation: str, *, cross: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.other = nn.LayerNorm(width) if cross else None
        self.attention = MultiHead(width, heads)
        self.perceptron = _layers.Residual(width, activation)

    def forward(self, x: Tensor, mask: Tensor | None, y: Tensor | None = None) -> Tensor:
        """Mask (B, M) of the members that are read."""
        readers = self.norm(x)
        members = readers if self.other is None else self.other(y)
        return self.perceptron(x + self.attention(readers, members, mask))


class Attentive(Learned):
    """Options of networks with attention."""

    hidden: Width = Field(32, description="Width of all layers, a multiple of `heads`.")
    heads: int = Field(
        4, ge=1, le=64, description="Attentions side by side, each of hidden / heads channels."
    )
    activation: Activation = Field("gelu", description="Function after each hidden layer.")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.hidden % self.heads:
            each = self.hidden // self.heads
            low, high = max(1, each) * self.heads, (each + 1) * self.heads
            message = (
                "hidden = {hidden} is no multiple of heads = {heads}: take hidden {low} or {high}"
            )
            numbers = {"hidden": self.hidden, "heads": self.heads, "low": low, "high": high}
            raise PydanticCustomError("heads", message, numbers)
        return self


def points(count: int, width: int) -> nn.Parameter:
    """Learned points (1, count, W), which read members or are read by them; normed wherever they
    are used.
    """
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, count, width)))
