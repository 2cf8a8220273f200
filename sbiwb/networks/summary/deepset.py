r"""Deep set: for sets of any size, whose members have no order.

    h = rho(pool_m phi(x_m), log M)

The pooling makes it invariant under permutations; where sizes vary, the logarithm of the size goes
to the head, for a mean alone cannot tell 10 members from 1000. Equivariant layers ahead of the
pooling let each member see the mean of all.

References:
    Zaheer et al. (2017), Deep Sets, https://arxiv.org/abs/1703.06114
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Width
from sbiwb.networks.summary._learned import Learned
from sbiwb.networks.summary._members import Members


class Equivariant(nn.Module):
    """x_m + W a(A n_m + B mean over members of n), with n = norm(x): permuted members give permuted
    results; (B, M, W) to the same.
    """

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.own = nn.Linear(width, width)
        self.others = nn.Linear(width, width)
        self.out = nn.Sequential(_layers.function(activation), nn.Linear(width, width))
        self.mean = _layers.Mean()

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        normed = self.norm(values)
        return values + self.out(self.own(normed) + self.others(self.mean(normed, mask))[:, None])


class Config(Learned):
    """Layers before and after the pooling."""

    hidden: Width = Field(64, description="Width of all layers.")
    depth: int = Field(
        2, ge=1, le=32, description="Layers applied to each member before the pooling."
    )
    equivariant: int = Field(
        0,
        ge=0,
        le=32,
        description="Further layers before the pooling in which each member sees the mean of all.",
    )
    head_depth: int = Field(1, ge=0, le=32, description="Hidden layers after the pooling.")
    pooling: _layers.Poolings = Field(
        ["mean", "max"],
        description=(
            "How members are joined: one of mean, max and attention, or a list whose results are "
            "joined."
        ),
    )
    activation: Activation = Field("relu", description="Function after each hidden layer.")
    norm: bool = Field(
        False, description="Whether each hidden layer is layer-normed before its activation."
    )
    residual: bool = Field(
        False, description="Whether layers of equal width are pre-normed residual blocks."
    )

    def build(self, shape: InputShape, features: int) -> Members:
        _layers.require(shape, ["set"], "deepset")
        pools = _layers.poolings(self.pooling, self.hidden)
        pooled = len(pools) * self.hidden + shape.varies
        head = self._mlp(pooled, self.head_depth, features)
        member = self._mlp(shape.channels, self.depth, None)
        equivariant = [Equivariant(self.hidden, self.activation) for _ in range(self.equivariant)]
        longest = _layers.longest(shape)
        return Members(member, equivariant, pools, head, features=features, longest=longest)

    def _mlp(self, channels: int, depth: int, features: int | None) -> nn.Module:
        return _layers.mlp(
            channels,
            [self.hidden] * depth,
            features,
            activation=self.activation,
            norm=self.norm,
            residual=self.residual,
        )
