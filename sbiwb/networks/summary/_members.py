"""The frame of networks that embed members, let them see one another, pool them, and read what was
pooled.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sbiwb.contracts.network_modules import SummaryModule
from sbiwb.networks.summary import _layers


class Members(SummaryModule):
    """values (B, M, C) and mask (B, M), True at real members or steps, to (B, H).

    Args:
        member: On each member alone, (B, M, C) to (B, M, W).
        blocks: Called with members (B, M, W) and mask; where there is padding, they may return
            anything finite.
        pools: Called with members and mask, to (B, K) each; their results are joined.
        head: From them to the features.
        features: H.
        longest: Members of the largest data set in training, where the log of the number goes to
            the head; None where it does not vary.
    """

    def __init__(
        self,
        member: nn.Module,
        blocks: Iterable[nn.Module],
        pools: Iterable[nn.Module],
        head: nn.Module,
        *,
        features: int,
        longest: int | None,
    ) -> None:
        super().__init__()
        self.member, self.blocks = member, nn.ModuleList(blocks)
        self.pools, self.head = nn.ModuleList(pools), head
        self.features, self.longest = features, longest

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        values, mask = _layers.real(values, mask)
        members = self.member(values)
        for block in self.blocks:
            members = block(members, mask)
        pooled = torch.cat([pool(members, mask) for pool in self.pools], dim=-1)
        return self.head(_layers.with_length(pooled, values, mask, self.longest))


class Norm(nn.LayerNorm):
    """Layer norm of each member, as a block."""

    def forward(self, members: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(members)
