r"""A linear regression with correlated normal errors ahead of a flow.

    z' = (I + M) ((z - A h - a) exp(-s)),   s = c tanh((B h + b) / c),   M strictly lower triangular

Of a density whose mean is about linear in its features, whose spread is about a power of them, and
whose columns are correlated, only the rest is left to the flow. Training starts at the ridge
regression of z on the features of the untrained summary networks, with the covariance of its
residuals, B = 0, and the flow the identity: weights are kept as differences from there, so that
weight decay draws towards this regression, where it would draw to the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sbiwb.contracts.network_modules import InferenceModule
from sbiwb.ridge import ridge

MAX_LOG_SCALE = 12.0  # c
JITTER = 1e-6  # variance that every residual has at least, z being about standard normal
CONSTANT = 1e-6  # sd of a feature that says nothing


class LinearFirst(InferenceModule):
    """Density of z (B, D) given features (B, H).

    Args:
        flow: Density of z' given the same features.
        size: D.
        context: H.
        mixes: Whether M is learned; else it is 0, and columns stay independent given the features.
    """

    start_weight: Tensor
    start_bias: Tensor
    start_mix: Tensor

    def __init__(
        self, flow: InferenceModule, size: int, context: int, *, mixes: bool = True
    ) -> None:
        super().__init__()
        self.flow, self.mixes = flow, mixes
        self.weight = nn.Parameter(torch.zeros(context, 2 * size))
        self.bias = nn.Parameter(torch.zeros(2 * size))
        self.register_buffer("start_weight", torch.zeros(context, 2 * size))
        self.register_buffer("start_bias", torch.zeros(2 * size))
        if mixes:
            self.mix = nn.Parameter(torch.zeros(size, size))
            self.register_buffer("start_mix", torch.zeros(size, size))

    @property
    def temperatures(self) -> int:
        return self.flow.temperatures

    def temper(self, log_temperature: Tensor) -> None:
        self.flow.temper(log_temperature)

    @property
    def begins(self) -> bool:
        return True

    def begin(self, z: Tensor, features: Tensor) -> None:
        """Starts at the regression of z (N, D) on features (N, H)."""
        targets, numbers = z.double().cpu().numpy(), features.double().cpu().numpy()
        scale = numbers.std(axis=0)
        scale = np.where(scale > CONSTANT, scale, np.inf)
        centre, mean = numbers.mean(axis=0), targets.mean(axis=0)
        fit = ridge((numbers - centre) / scale, targets - mean)
        covariance = fit.covariance()
        if not self.mixes:
            covariance = np.diag(covariance.diagonal())
        whitening = np.linalg.inv(np.linalg.cholesky(covariance + JITTER * np.eye(len(covariance))))
        slopes, scales = fit.weights / scale[:, None], whitening.diagonal()
        size = len(scales)
        self.start_weight[:, :size] = torch.from_numpy(slopes)
        self.start_bias[:size] = torch.from_numpy(mean - centre @ slopes)
        self.start_bias[size:] = torch.from_numpy(
            -MAX_LOG_SCALE * np.arctanh(np.clip(np.log(scales) / MAX_LOG_SCALE, -0.99, 0.99))
        )
        if self.mixes:
            self.start_mix.copy_(torch.from_numpy(np.tril(whitening / scales, -1)))

    def noise(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        inner, log_scale = _inner([self], z, features)
        squared, log_det = self.flow.noise(inner, features)
        return squared, log_det - log_scale.sum(-1)

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,)."""
        inner, log_scale = _inner([self], z, features)
        return self.flow.log_prob(inner, features) - log_scale.sum(-1)

    @classmethod
    def side_by_side(cls, networks: Sequence[Self], z: Tensor, features: Tensor) -> Tensor:
        """log q_m(z_m | features_m) of M networks, (M, B), of z (M, B, D)."""
        inner, log_scale = _inner(networks, z, features)
        flows = [network.flow for network in networks]
        return type(flows[0]).side_by_side(flows, inner, features) - log_scale.sum(-1)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H)."""
        weight, bias = self._map()
        shift, log_scale = _split((features @ weight + bias)[:, None])
        z = self.flow.transport(noise, features)
        if self.mixes:
            rows = z.flatten(0, 1).T
            lower = self._lower()
            z = torch.linalg.solve_triangular(lower, rows, upper=False).T.reshape(z.shape)
        return z * log_scale.exp() + shift

    def _map(self) -> tuple[Tensor, Tensor]:
        """Weight (H, 2 D) and bias (2 D,) of shift and log-scale."""
        return self.start_weight + self.weight, self.start_bias + self.bias

    def _lower(self) -> Tensor:
        """I + M, (D, D)."""
        mix = self.start_mix + self.mix
        return torch.tril(mix, -1) + torch.eye(len(mix), dtype=mix.dtype, device=mix.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Checkpoints of before there was a regression start at zero, without M."""
        for name, own in [
            *self.named_parameters(recurse=False),
            *self.named_buffers(recurse=False),
        ]:
            if name.startswith("start_") or name == "mix":
                state_dict.setdefault(prefix + name, torch.zeros_like(own))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _inner(networks: Sequence[LinearFirst], z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """z' and s of M networks, (M, B, D) each; of one network (B, D).

    In float32 also where networks compute in bfloat16, which keeps three digits of z'.
    """
    alone = z.dim() == 2
    if alone:
        z, features = z[None], features[None]
    with torch.autocast(z.device.type, enabled=False):
        maps = [network._map() for network in networks]
        weight, bias = (torch.stack(parts) for parts in zip(*maps, strict=True))
        shift, log_scale = _split(torch.baddbmm(bias[:, None], features.to(z.dtype), weight))
        inner = (z - shift) * (-log_scale).exp()
        if networks[0].mixes:
            lower = torch.stack([network._lower() for network in networks])
            inner = torch.bmm(inner, lower.transpose(1, 2))
    if alone:
        return inner[0], log_scale[0]
    return inner, log_scale


def _split(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and log-scale (..., D) of what is linear in the features, (..., 2 D)."""
    shift, raw = rows.chunk(2, dim=-1)
    return shift, MAX_LOG_SCALE * torch.tanh(raw / MAX_LOG_SCALE)
