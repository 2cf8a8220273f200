"""Recurrent networks with either kind of cell, whose output padding never changes.

Padding stands at the end, where forward states do not see it, and backward layers read each series
reversed within its own length. This needs no packing, hence no lengths on the CPU.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.contracts.network_modules import SummaryModule
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Width
from sbiwb.networks.summary._learned import Learned

Cell = type[nn.LSTM] | type[nn.GRU]


def reverse(values: Tensor, lengths: Tensor) -> Tensor:
    """Each series of (B, T, C) reversed within its length (B,), the padding left in place; its own
    inverse.
    """
    steps = torch.arange(values.shape[1], device=values.device)
    flipped = lengths[:, None] - 1 - steps
    return values.gather(1, torch.where(flipped >= 0, flipped, steps)[..., None].expand_as(values))


def has_bfloat16_lstm() -> bool:
    """Whether oneDNN has an LSTM in bfloat16 for this CPU; without AVX-512 it has none."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Layer(nn.Module):
    """One layer of states (B, T, hidden), or (B, T, 2 hidden) with a second memory that reads
    backwards.
    """

    def __init__(self, cell: Cell, channels: int, hidden: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.ahead = cell(channels, hidden, batch_first=True)
        self.back = cell(channels, hidden, batch_first=True) if bidirectional else None
        self.needs_float32 = cell is nn.LSTM and not has_bfloat16_lstm()

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        ahead = self._states(self.ahead, values)
        if self.back is None:
            return ahead
        back = self._states(self.back, reverse(values, lengths))
        return torch.cat([ahead, reverse(back, lengths)], dim=-1)

    def _states(self, memory: nn.Module, values: Tensor) -> Tensor:
        if self.needs_float32 and values.is_cpu and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return memory(values.float())[0]
        return memory(values)[0]


class Recurrent(SummaryModule):
    """values (B, T, C) and mask (B, T) to (B, H).

    Args:
        layers: Layers in order.
        pool: Pooling over all states, or None for the state after the last real step (the first,
            read backwards).
        head: From the pooled states to the features.
        features: H.
        longest: Steps of the longest training series, where the log of the length goes to the head;
            None where it does not vary.
    """

    def __init__(
        self,
        layers: list[Layer],
        pool: nn.Module | None,
        head: nn.Module,
        *,
        features: int,
        longest: int | None,
    ) -> None:
        super().__init__()
        self.layers, self.pool, self.head = nn.ModuleList(layers), pool, head
        self.hidden, self.features, self.longest = layers[0].ahead.hidden_size, features, longest

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        values, mask = _layers.real(values, mask)
        lengths = _layers.lengths(values, mask)
        states = values
        for layer in self.layers:
            states = layer(states, lengths)
        pooled = self._pooled(states, mask, lengths)
        return self.head(_layers.with_length(pooled, values, mask, self.longest))

    def _pooled(self, states: Tensor, mask: Tensor | None, lengths: Tensor) -> Tensor:
        if self.pool is None:
            return self._last(states, lengths)
        return self.pool(states, mask)

    def _last(self, states: Tensor, lengths: Tensor) -> Tensor:
        """States after reading everything, (B, hidden) or (B, 2 hidden); 0 for an empty series."""
        ahead = _layers.before(states[..., : self.hidden], lengths, 1)[:, 0]
        back = torch.where(lengths[:, None] > 0, states[:, 0, self.hidden :], 0.0)
        return torch.cat([ahead, back], dim=-1)


class Memory(Learned):
    """Size of the memory and how its states are read."""

    hidden: Width = Field(64, description="Width of the state.")
    layers: int = Field(1, ge=1, le=16, description="Recurrent layers, one on top of the other.")
    bidirectional: bool = Field(
        False, description="Whether each layer also reads the series backwards."
    )
    pooling: Literal["last", "mean", "max", "attention"] = Field(
        "last",
        description=(
            "What is read: the state after the last step, or all states pooled by mean, max or "
            "attention."
        ),
    )
    head_depth: int = Field(
        1, ge=0, le=32, description="Hidden layers between the state and the features."
    )
    activation: Activation = Field(
        "relu", description="Function after each hidden layer of the head."
    )

    def network(self, cell: Cell, shape: InputShape, features: int) -> Recurrent:
        """The network of such cells for a series with H features."""
        states = self.hidden * (1 + self.bidirectional)
        layers = [self._layer(cell, shape.channels)]
        for _ in range(self.layers - 1):
            layers.append(self._layer(cell, states))
        pool = None
        if self.pooling != "last":
            pool = _layers.pooling(self.pooling, states)
        widths = [self.hidden] * self.head_depth
        head = _layers.head(states, widths, features, shape, activation=self.activation)
        return Recurrent(layers, pool, head, features=features, longest=_layers.longest(shape))

    def _layer(self, cell: Cell, channels: int) -> Layer:
        return Layer(cell, channels, self.hidden, bidirectional=self.bidirectional)
