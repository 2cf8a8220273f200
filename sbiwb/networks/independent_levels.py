r"""Discrete columns that are independent of each other given the features, and any network for the
others.

    log q(z | h) = sum_j log Cat(k_j | h) + log q(z_rest | h)

All heads are one product of matrices a layer. The logits of each are linear in the features, plus
what a hidden layer makes of them; they start at the log-shares of the training data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sbiwb.contracts.network_modules import InferenceModule

WIDTH = 32  # of the hidden layer of each head
IMPOSSIBLE = -1e9  # logit of a level that a column does not have


class LevelHeads(nn.Module):
    """Logits of the K levels of G columns given features (B, H).

    Args:
        context: H.
        shares: Of the levels of each column in the training data, none of them 0.
    """

    absent: Tensor

    def __init__(self, context: int, shares: Sequence[Sequence[float]]) -> None:
        super().__init__()
        columns, levels = len(shares), max(map(len, shares))
        bound = 1 / math.sqrt(context)
        self.inner = nn.Parameter(torch.empty(columns, context, WIDTH).uniform_(-bound, bound))
        self.inner_bias = nn.Parameter(torch.empty(columns, 1, WIDTH).uniform_(-bound, bound))
        self.outer = nn.Parameter(torch.zeros(columns, WIDTH, levels))
        self.linear = nn.Parameter(torch.zeros(columns, context, levels))
        bias, absent = torch.zeros(columns, 1, levels), torch.zeros(columns, 1, levels)
        for column, own in enumerate(shares):
            bias[column, 0, : len(own)] = torch.tensor(own).log()
            absent[column, 0, len(own) :] = IMPOSSIBLE
        self.bias = nn.Parameter(bias)
        self.register_buffer("absent", absent)

    def forward(self, features: Tensor) -> Tensor:
        """Log-masses (G, B, K)."""
        rows = features.expand(len(self.inner), *features.shape)
        hidden = torch.relu(torch.baddbmm(self.inner_bias, rows, self.inner))
        logits = torch.baddbmm(self.bias + self.absent, rows, self.linear)
        return torch.log_softmax(logits + torch.bmm(hidden, self.outer), -1)


class IndependentLevels(InferenceModule):
    """Mass of the discrete columns times density of the others, all given the features alone.

    Args:
        size: D.
        shares: Of the levels of each discrete column in the training data, by its place.
        flow: Density of the other columns given the features; None where there are no others.
    """

    def __init__(
        self,
        size: int,
        context: int,
        shares: Mapping[int, Sequence[float]],
        flow: InferenceModule | None,
    ) -> None:
        super().__init__()
        self.columns = list(shares)
        self.rest = [column for column in range(size) if column not in shares]
        self.heads = LevelHeads(context, list(shares.values()))
        self.flow = flow

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,): a log-mass plus a log-density."""
        log_masses = self.heads(features)
        levels = z[:, self.columns].t().round().long().clamp(0, log_masses.shape[-1] - 1)
        log_mass: Tensor = log_masses.gather(-1, levels[..., None])[..., 0].sum(0)
        if self.flow is None:
            return log_mass
        return log_mass + self.flow.log_prob(z[:, self.rest], features)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H).

        Levels are found by their distribution function at Phi(noise).
        """
        z = torch.zeros_like(noise)
        below = self.heads(features).double().exp().cumsum(-1)[..., :-1]  # (G, N, K - 1)
        position = torch.special.ndtr(noise[..., self.columns].double())  # (N, S, G)
        passed = position[..., None] >= below.permute(1, 0, 2)[:, None]
        z[..., self.columns] = passed.sum(-1).to(z.dtype)
        if self.flow is not None:
            z[..., self.rest] = self.flow.transport(noise[..., self.rest], features)
        return z
