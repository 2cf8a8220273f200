r"""Convolutions in one dimension: for series of any length and grids of one axis, by residual
blocks that see ever further.

    x <- x + W2 * a(W1 * norm(x)),   the kernels of block i spread 2^i steps apart

so that n blocks with kernels of k see 1 + 2 (k - 1) (2^n - 1) steps: 61 by default. Padding is set
to 0 ahead of each convolution, as are the steps beyond either end, so that it changes nothing.

References:
    Bai, Kolter & Koltun (2018), An Empirical Evaluation of Generic Convolutional and Recurrent
    Networks, https://arxiv.org/abs/1803.01271
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Odd, Width
from sbiwb.networks.summary._learned import Learned
from sbiwb.networks.summary._members import Members, Norm


class Dilated(nn.Module):
    """A residual block on (B, T, W), normed over W alone; padding may come out as anything."""

    def __init__(self, width: int, kernel: int, activation: str, *, dilation: int) -> None:
        super().__init__()
        self.norm, self.activation = nn.LayerNorm(width), _layers.function(activation)
        self.first = nn.Conv1d(width, width, kernel, padding="same", dilation=dilation)
        self.second = nn.Conv1d(width, width, kernel, padding="same", dilation=dilation)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        inner = self.activation(self._over_time(self.first, self.norm(values), mask))
        return values + self._over_time(self.second, inner, mask)

    def _over_time(self, layer: nn.Module, values: Tensor, mask: Tensor | None) -> Tensor:
        return layer(_layers.without_padding(values, mask).transpose(1, 2)).transpose(1, 2)


class Config(Learned):
    """Width, reach and the pooling."""

    hidden: Width = Field(32, description="Width of all layers.")
    depth: int = Field(
        4,
        ge=1,
        le=12,
        description=(
            "Residual blocks of two convolutions, each reaching twice as far as the one before."
        ),
    )
    kernel: Odd = Field(3, description="Steps that a convolution joins, an odd number.")
    pooling: _layers.Poolings = Field(
        ["mean", "max"],
        description=(
            "How steps are joined: one of mean, max and attention, or a list whose results are "
            "joined."
        ),
    )
    head_depth: int = Field(1, ge=0, le=32, description="Hidden layers after the pooling.")
    activation: Activation = Field("relu", description="Function after each hidden layer.")

    def build(self, shape: InputShape, features: int) -> Members:
        _layers.require(shape, ["series", "grid"], "conv1d")
        _layers.require_axes(shape, 1, "conv1d")
        pools = _layers.poolings(self.pooling, self.hidden)
        blocks = [*map(self._block, range(self.depth)), Norm(self.hidden)]
        member = nn.Linear(shape.channels, self.hidden)
        widths = [self.hidden] * self.head_depth
        pooled = len(pools) * self.hidden
        head = _layers.head(pooled, widths, features, shape, activation=self.activation)
        longest = _layers.longest(shape)
        return Members(member, blocks, pools, head, features=features, longest=longest)

    def _block(self, reach: int) -> nn.Module:
        return Dilated(self.hidden, self.kernel, self.activation, dilation=2**reach)
