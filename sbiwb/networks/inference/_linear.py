r"""A linear location and scale ahead of a flow.

    z' = (z - A h - a) exp(-s),   s = c tanh((B h + b) / c)

Of a density whose mean is about linear in its features, and whose spread is about a power of them,
only the rest is left to the flow. Both maps start at zero, where z' = z.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from sbiwb.contracts.network_modules import InferenceModule

MAX_LOG_SCALE = 12.0  # c


class LinearFirst(InferenceModule):
    """Density of z (B, D) given features (B, H).

    Args:
        flow: Density of z' given the same features.
        size: D.
        context: H.
    """

    def __init__(self, flow: InferenceModule, size: int, context: int) -> None:
        super().__init__()
        self.flow = flow
        self.weight = nn.Parameter(torch.zeros(context, 2 * size))
        self.bias = nn.Parameter(torch.zeros(2 * size))

    @property
    def tempered(self) -> bool:
        return self.flow.tempered

    def temper(self, log_temperature: Tensor) -> None:
        self.flow.temper(log_temperature)

    def noise(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = _split(features @ self.weight + self.bias)
        squared, log_det = self.flow.noise((z - shift) * (-log_scale).exp(), features)
        return squared, log_det - log_scale.sum(-1)

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,)."""
        shift, log_scale = _split(features @ self.weight + self.bias)
        inner = self.flow.log_prob((z - shift) * (-log_scale).exp(), features)
        return inner - log_scale.sum(-1)

    @classmethod
    def side_by_side(cls, networks: Sequence[Self], z: Tensor, features: Tensor) -> Tensor:
        """log q_m(z_m | features_m) of M networks, (M, B), of z (M, B, D)."""
        weight = torch.stack([network.weight for network in networks])
        bias = torch.stack([network.bias for network in networks])
        shift, log_scale = _split(torch.baddbmm(bias[:, None], features, weight))
        flows = [network.flow for network in networks]
        inner = type(flows[0]).side_by_side(flows, (z - shift) * (-log_scale).exp(), features)
        return inner - log_scale.sum(-1)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H)."""
        shift, log_scale = _split((features @ self.weight + self.bias)[:, None])
        return self.flow.transport(noise, features) * log_scale.exp() + shift


def _split(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and log-scale (..., D) of what is linear in the features, (..., 2 D)."""
    shift, raw = rows.chunk(2, dim=-1)
    return shift, MAX_LOG_SCALE * torch.tanh(raw / MAX_LOG_SCALE)
