"""Long short-term memory: for series of any length.

Padding never changes the output: it stands at the end, where forward states do not see it, and backward layers read each series
reversed within its own length. This needs no packing, hence no lengths on the CPU.

References:
    Hochreiter & Schmidhuber (1997), https://doi.org/10.1162/neco.1997.9.8.1735
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.families import Part
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Width


def reverse(values: Tensor, lengths: Tensor) -> Tensor:
    """Each series of (B, T, C) reversed within its length (B,), the padding left in place; its own inverse."""
    steps = torch.arange(values.shape[1], device=values.device)
    flipped = lengths[:, None] - 1 - steps
    return values.gather(1, torch.where(flipped >= 0, flipped, steps)[..., None].expand_as(values))


class Layer(nn.Module):
    """One layer of states (B, T, hidden), or (B, T, 2 hidden) with a second LSTM that reads backwards."""

    def __init__(self, channels: int, hidden: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.ahead = nn.LSTM(channels, hidden, batch_first=True)
        self.back = nn.LSTM(channels, hidden, batch_first=True) if bidirectional else None

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        ahead = self.ahead(values)[0]
        if self.back is None:
            return ahead
        return torch.cat([ahead, reverse(self.back(reverse(values, lengths))[0], lengths)], dim=-1)


class LSTM(nn.Module):
    """values (B, T, C) and mask (B, T) to (B, H).

    Args:
        layers: Layers in order.
        pool: Pooling over all states, or None for the state after the last real step (the first, read backwards).
        head: From the pooled states to the features.
        features: H.
        longest: Steps of the longest training series, where the log of the length goes to the head; None where it does not vary.
    """

    def __init__(self, layers: list[Layer], pool: nn.Module | None, head: nn.Module, *, features: int, longest: int | None) -> None:
        super().__init__()
        self.layers, self.pool, self.head = nn.ModuleList(layers), pool, head
        self.hidden, self.features, self.longest = layers[0].ahead.hidden_size, features, longest

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        values, lengths = _layers.without_padding(values, mask), _layers.lengths(values, mask)
        states = values
        for layer in self.layers:
            states = layer(states, lengths)
        pooled = self._last(states, lengths) if self.pool is None else self.pool(states, mask)
        return self.head(pooled if self.longest is None else torch.cat([pooled, _layers.log_length(values, mask, self.longest)], dim=-1))

    def _last(self, states: Tensor, lengths: Tensor) -> Tensor:
        """States after reading everything, (B, hidden) or (B, 2 hidden); 0 for an empty series."""
        at = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.hidden)
        read = torch.cat([states[..., : self.hidden].gather(1, at)[:, 0], states[:, 0, self.hidden :]], dim=-1)
        return torch.where(lengths[:, None] > 0, read, 0.0)


class Config(Part):
    """Size of the memory and how its states are read."""

    hidden: Width = Field(64, description="Width of the state.")
    layers: int = Field(1, ge=1, le=16, description="LSTM layers, one on top of the other.")
    bidirectional: bool = Field(False, description="Whether each layer also reads the series backwards.")
    pooling: Literal["last", "mean", "max", "attention"] = Field(
        "last", description="What is read: the state after the last step, or all states pooled by mean, max or attention."
    )
    head_depth: int = Field(1, ge=0, le=32, description="Hidden layers between the state and the features.")
    activation: _layers.Activation = Field("relu", description="Function after each hidden layer of the head.")

    def build(self, shape: InputShape, features: int) -> LSTM:
        _layers.require(shape, ["series"], "lstm")
        states = self.hidden * (1 + self.bidirectional)
        inputs = [shape.channels] + [states] * (self.layers - 1)
        layers = [Layer(channels, self.hidden, bidirectional=self.bidirectional) for channels in inputs]
        pool = None if self.pooling == "last" else _layers.pooling(self.pooling, states)
        head = _layers.mlp(states + shape.varies, [self.hidden] * self.head_depth, features, activation=self.activation)
        return LSTM(layers, pool, head, features=features, longest=shape.length if shape.varies else None)
