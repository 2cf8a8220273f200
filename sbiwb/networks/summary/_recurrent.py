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
from sbiwb.contracts.modules import SummaryModule
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


class Layer(nn.Module):
    """One layer of states (B, T, hidden), or (B, T, 2 hidden) with a second memory that reads
    backwards.
    """

    def __init__(self, cell: Cell, channels: int, hidden: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.ahead = cell(channels, hidden, batch_first=True)
        self.back = cell(channels, hidden, batch_first=True) if bidirectional else None

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        ahead = self.ahead(values)[0]
        if self.back is None:
            return ahead
        return torch.cat([ahead, reverse(self.back(reverse(values, lengths))[0], lengths)], dim=-1)


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
        pooled = self._last(states, lengths) if self.pool is None else self.pool(states, mask)
        return self.head(_layers.with_length(pooled, values, mask, self.longest))

    def _last(self, states: Tensor, lengths: Tensor) -> Tensor:
        """States after reading everything, (B, hidden) or (B, 2 hidden); 0 for an empty series."""
        ahead, back = states[..., : self.hidden], states[:, 0, self.hidden :]
        return torch.cat(
            [_layers.before(ahead, lengths, 1)[:, 0], torch.where(lengths[:, None] > 0, back, 0.0)],
            dim=-1,
        )


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
        inputs = [shape.channels] + [states] * (self.layers - 1)
        layers = [
            Layer(cell, channels, self.hidden, bidirectional=self.bidirectional)
            for channels in inputs
        ]
        pool = None if self.pooling == "last" else _layers.pooling(self.pooling, states)
        head = _layers.mlp(
            states + shape.varies,
            [self.hidden] * self.head_depth,
            features,
            activation=self.activation,
        )
        return Recurrent(layers, pool, head, features=features, longest=_layers.longest(shape))
