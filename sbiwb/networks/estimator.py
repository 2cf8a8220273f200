"""The estimator: summaries of all inputs side by side, and the density of z given them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sbiwb.contracts import InferenceNetwork
from sbiwb.networks.summary._mmd import mmd_to_normal

Inputs = Mapping[str, tuple[Tensor, Tensor | None]]


class Estimator(nn.Module):
    """One network; its `forward` is what training maximises, so that it can be compiled and distributed.

    Args:
        summaries: A summary network for each input, by name; features are joined in this order.
        inference: The density given H features, H the sum over summaries, or what `fusion` makes of them.
        fusion: A network from the joined features to those that `inference` sees; None where they are the same.
        mmd_weights: By input, what the squared MMD between its summaries and N(0, I) is multiplied by in the loss; none where left out.
        fused_mmd_weight: The same of what `fusion` makes of them.
    """

    members = 1

    def __init__(
        self,
        summaries: Mapping[str, nn.Module],
        inference: nn.Module,
        *,
        fusion: nn.Module | None = None,
        mmd_weights: Mapping[str, float] | None = None,
        fused_mmd_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = tuple(summaries)
        self.summaries = nn.ModuleList(
            summaries.values()
        )  # a list: names may hold dots, which modules' names must not
        self.fusion = fusion
        self.inference = inference
        self.mmd_weights, self.fused_mmd_weight = dict(mmd_weights or {}), fused_mmd_weight

    @property
    def terms(self) -> tuple[str, ...]:
        """What `forward` adds to the loss besides the density, by name."""
        return ("mmd",) if self.mmd_weights or self.fused_mmd_weight else ()

    @property
    def output_kind(self) -> str:
        """`joint`: a density of all parameters; `marginals`: draws of each alone; `estimate`: one number for each."""
        return getattr(self.inference, "output_kind", "joint")

    @property
    def likelihood(self) -> bool:
        """Whether what training maximises is the log-density itself."""
        return not hasattr(self.inference, "loss")

    @property
    def random(self) -> bool:
        """Whether a step in training draws random numbers, as losses of their own may do."""
        return not self.likelihood

    def summarise(self, inputs: Inputs) -> Tensor:
        """Features (B, H) of all inputs, each values (B, C), (B, M, C) or (B, *grid, C) with its mask (B, M) or None."""
        return self._join(self._summaries(inputs))

    def forward(self, z: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """What training maximises, (B,): log q(z | inputs), or minus the loss of a network that has one; and penalties, in training."""
        parts = self._summaries(inputs)
        features = self._join(parts)
        return self._objective(z, features), self._penalties(parts, features)

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features) of z (B, D) and features (B, H), shape (B,)."""
        return self._inference.log_prob(z, features)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D) and features (N, H): S draws for each data set."""
        return self._inference.transport(noise, features)

    def components(self) -> list[Estimator]:
        """The networks whose mixture is the posterior: this one."""
        return [self]

    def mixture(self) -> list[float]:
        """The share of each component."""
        return [1.0]

    @staticmethod
    def side_by_side(
        members: Sequence[Estimator], z: Tensor, inputs: Inputs
    ) -> tuple[Tensor, Tensor]:
        """`forward` of M estimators of one kind, of z (M, B, D) and inputs (M, B, ...) each of its own: (M, B), and penalties added up.

        Networks that have a function `side_by_side` are evaluated together, the others one after the other.
        """
        first = members[0]
        parts = [
            _together([one.summaries[k] for one in members], *inputs[name])
            for k, name in enumerate(first.names)
        ]
        features = torch.cat(parts, dim=-1)
        if first.fusion is not None:
            features = _together([one.fusion for one in members], features, None)  # type: ignore[misc]
        penalties = torch.stack(
            [
                one._penalties([part[m] for part in parts], features[m])
                for m, one in enumerate(members)
            ]
        ).sum(0)
        together = getattr(type(first.inference), "side_by_side", None)
        if together is None or not first.likelihood:
            return torch.stack(
                [one._objective(z[m], features[m]) for m, one in enumerate(members)]
            ), penalties
        return together([one.inference for one in members], z, features), penalties

    def _summaries(self, inputs: Inputs) -> list[Tensor]:
        return [
            summary(*inputs[name]) for name, summary in zip(self.names, self.summaries, strict=True)
        ]

    def _join(self, parts: list[Tensor]) -> Tensor:
        joined = torch.cat(parts, dim=-1)
        return joined if self.fusion is None else self.fusion(joined, None)

    def _penalties(self, parts: list[Tensor], features: Tensor) -> Tensor:
        if not (self.training and self.terms):
            return parts[0].new_zeros(len(self.terms))
        by_name = dict(zip(self.names, parts, strict=True))
        found = [weight * mmd_to_normal(by_name[name]) for name, weight in self.mmd_weights.items()]
        found += [self.fused_mmd_weight * mmd_to_normal(features)] if self.fused_mmd_weight else []
        return torch.stack(found).sum(0, keepdim=True)

    def _objective(self, z: Tensor, features: Tensor) -> Tensor:
        if self.likelihood:
            return self._inference.log_prob(z, features)
        return -self.inference.loss(z, features)  # type: ignore[operator]

    @property
    def _inference(self) -> InferenceNetwork:
        return self.inference  # type: ignore[return-value]


def _together(networks: Sequence[nn.Module], values: Tensor, mask: Tensor | None) -> Tensor:
    """Features (M, B, H) of M networks of one kind, of values (M, B, ...) and masks each of its own."""
    together = getattr(type(networks[0]), "side_by_side", None)
    if together is not None:
        return together(networks, values, mask)
    masks = [None] * len(networks) if mask is None else mask
    return torch.stack(
        [network(*pair) for network, *pair in zip(networks, values, masks, strict=True)]
    )
