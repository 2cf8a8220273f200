r"""LSTNet: for series with a period, by a convolution, a recurrence, and a recurrence that skips
from period to period.

    c_t = a(W x_{t-k+1..t}),   r_t = GRU(c_t, r_{t-1}),   s_t = GRU(c_t, s_{t-p}),
    h = head(r_T, s_T, ..., s_{T-p+1}, log T)

Before the first step all is 0, so that series may be shorter than the kernel k and than the period
p. The linear path of the paper, which carries the level of a forecast, has no place in a summary.

References:
    Lai et al. (2018), Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks,
    https://arxiv.org/abs/1703.07015
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sbiwb.contracts import InputShape
from sbiwb.contracts.network_modules import SummaryModule
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Width
from sbiwb.networks.summary._learned import Learned


class Skip(nn.Module):
    """States (B, T, hidden), each made from the step and the state one period before."""

    def __init__(self, channels: int, hidden: int, *, period: int) -> None:
        super().__init__()
        self.period, self.memory = period, nn.GRU(channels, hidden, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:
        rows, steps, _ = values.shape
        whole = functional.pad(values, (0, 0, 0, -steps % self.period))
        # one series for each phase, (B p, T / p, C)
        phases = whole.unflatten(1, (-1, self.period)).transpose(1, 2).flatten(0, 1)
        states = self.memory(phases)[0].unflatten(0, (rows, self.period))
        return states.transpose(1, 2).flatten(1, 2)[:, :steps]


class LSTNet(SummaryModule):
    """values (B, T, C) and mask (B, T) to (B, H).

    Args:
        window: Convolution over steps; each sees itself and those before.
        activation: After it.
        memory: Recurrence from step to step.
        skip: Recurrence from period to period.
        head: From the last state of the one and the last period's states of the other to the
            features.
        features: H.
        longest: Steps of the longest training series, where the log of the length goes to the head;
            None where it does not vary.
    """

    def __init__(
        self,
        window: nn.Conv1d,
        activation: nn.Module,
        memory: nn.GRU,
        skip: Skip,
        head: nn.Module,
        *,
        features: int,
        longest: int | None,
    ) -> None:
        super().__init__()
        self.window, self.activation = window, activation
        self.memory, self.skip, self.head = memory, skip, head
        self.features, self.longest = features, longest

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        values, mask = _layers.real(values, mask)
        lengths = _layers.lengths(values, mask)
        windows = self.windows(values)
        last = _layers.before(self.memory(windows)[0], lengths, 1)
        period = _layers.before(self.skip(windows), lengths, self.skip.period)
        pooled = torch.cat([last.flatten(1), period.flatten(1)], dim=-1)
        return self.head(_layers.with_length(pooled, values, mask, self.longest))

    def windows(self, values: Tensor) -> Tensor:
        """What the convolution makes of each step and those before it, (B, T, filters), of values
        (B, T, C).
        """
        ahead = functional.pad(values.transpose(1, 2), (self.window.kernel_size[0] - 1, 0))
        return self.activation(self.window(ahead)).transpose(1, 2)


class Config(Learned):
    """Sizes of the convolution and the two recurrences."""

    filters: Width = Field(32, description="Channels of the convolution.")
    kernel: int = Field(
        5, ge=1, le=1024, description="Steps that the convolution sees: each and those before it."
    )
    hidden: Width = Field(64, description="Width of the state from step to step, and of the head.")
    skip_hidden: Width = Field(16, description="Width of the state from period to period.")
    period: int = Field(
        4,
        ge=1,
        le=1024,
        description="Steps in a period, such as 24 for hourly data with a daily pattern.",
    )
    head_depth: int = Field(
        1, ge=0, le=32, description="Hidden layers between the states and the features."
    )
    activation: Activation = Field(
        "relu", description="Function after the convolution and each hidden layer of the head."
    )

    def build(self, shape: InputShape, features: int) -> LSTNet:
        _layers.require(shape, ["series"], "lstnet")
        window = nn.Conv1d(shape.channels, self.filters, self.kernel)
        memory = nn.GRU(self.filters, self.hidden, batch_first=True)
        skip = Skip(self.filters, self.skip_hidden, period=self.period)
        states, widths = self.hidden + self.period * self.skip_hidden, [self.hidden]
        return LSTNet(
            window,
            _layers.function(self.activation),
            memory,
            skip,
            _layers.head(
                states, widths * self.head_depth, features, shape, activation=self.activation
            ),
            features=features,
            longest=_layers.longest(shape),
        )
