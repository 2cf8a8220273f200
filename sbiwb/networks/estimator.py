"""The estimator: summaries of all inputs side by side, and the density of z given them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sbiwb.contracts import InferenceNetwork

Inputs = Mapping[str, tuple[Tensor, Tensor | None]]


class Estimator(nn.Module):
    """Everything that is trained, as one module; its `forward` is the log-density, so that it can be compiled and distributed.

    Args:
        summaries: A summary network for each input, by name; features are joined in this order.
        inference: The density given H features, H the sum over summaries.
    """

    def __init__(self, summaries: Mapping[str, nn.Module], inference: nn.Module) -> None:
        super().__init__()
        self.names = tuple(summaries)
        self.summaries = nn.ModuleList(summaries.values())  # a list: names may hold dots, which modules' names must not
        self.inference = inference

    def summarise(self, inputs: Inputs) -> Tensor:
        """Features (B, H) of all inputs, each values (B, C) or (B, M, C) with its mask (B, M) or None."""
        parts = [summary(*inputs[name]) for name, summary in zip(self.names, self.summaries, strict=True)]
        return torch.cat(parts, dim=-1)

    def forward(self, z: Tensor, inputs: Inputs) -> Tensor:
        """log q(z | inputs) of z (B, D), shape (B,)."""
        return self.log_prob(z, self.summarise(inputs))

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features) of z (B, D) and features (B, H), shape (B,)."""
        return self._density().log_prob(z, features)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D) and features (N, H): S draws for each data set."""
        return self._density().transport(noise, features)

    def _density(self) -> InferenceNetwork:
        return self.inference  # type: ignore[return-value]
