r"""Set transformer: for sets of any size whose members matter to one another, by attention.

    ISAB(X) = MAB(X, MAB(I, X)),   SAB(X) = MAB(X, X),   PMA(X) = MAB(S, X),
    MAB(X, Y) = h + rFF(h), h = X + attention(X, Y)

Members see one another through the induced points I, at a cost that grows with M and not with M^2;
the seeds S read them all, which is the pooling. Norms come ahead of attention and perceptron rather
than after them, as trains better. Where sizes vary, log M goes to the head.

References:
    Lee et al. (2019), Set Transformer, https://arxiv.org/abs/1810.00825
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._attention import Attentive, Block, points
from sbiwb.networks.summary._members import Members


class Induced(nn.Module):
    """ISAB: each of (B, M, W) reads what the induced points read of the members at mask (B, M); (B,
    M, W).
    """

    def __init__(self, width: int, heads: int, activation: str, *, inducing: int) -> None:
        super().__init__()
        self.points = points(inducing, width)
        self.gather = Block(width, heads, activation, cross=True)
        self.spread = Block(width, heads, activation, cross=True)

    def forward(self, members: Tensor, mask: Tensor | None) -> Tensor:
        gathered = self.gather(self.points.expand(len(members), -1, -1), mask, members)
        return self.spread(members, None, gathered)


class Seeds(nn.Module):
    """PMA: what the seeds read of the members (B, M, W) at mask (B, M), as (B, seeds W)."""

    def __init__(self, width: int, heads: int, activation: str, *, seeds: int) -> None:
        super().__init__()
        self.points = points(seeds, width)
        self.gather = Block(width, heads, activation, cross=True)

    def forward(self, members: Tensor, mask: Tensor | None) -> Tensor:
        return self.gather(self.points.expand(len(members), -1, -1), mask, members).flatten(1)


class Config(Attentive):
    """Width, blocks and the pooling."""

    blocks: int = Field(2, ge=1, le=32, description="Attention blocks ahead of the pooling.")
    inducing: int | None = Field(
        16,
        ge=1,
        le=4096,
        description=(
            "Induced points through which members see one another; null: each member sees each."
        ),
    )
    seeds: int = Field(
        1, ge=1, le=1024, description="Seeds of the pooling, each of which reads the whole set."
    )
    head_depth: int = Field(1, ge=0, le=32, description="Hidden layers after the pooling.")

    def build(self, shape: InputShape, features: int) -> Members:
        _layers.require(shape, ["set"], "set_transformer")
        member = nn.Linear(shape.channels, self.hidden)
        blocks = [self._block() for _ in range(self.blocks)]
        pool = Seeds(self.hidden, self.heads, self.activation, seeds=self.seeds)
        widths, pooled = [self.hidden] * self.head_depth, self.seeds * self.hidden
        head = _layers.head(pooled, widths, features, shape, activation=self.activation)
        longest = _layers.longest(shape)
        return Members(member, blocks, [pool], head, features=features, longest=longest)

    def _block(self) -> nn.Module:
        if self.inducing is None:
            return Block(self.hidden, self.heads, self.activation)
        return Induced(self.hidden, self.heads, self.activation, inducing=self.inducing)
