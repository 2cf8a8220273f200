"""The estimator: summaries of all inputs side by side, and the density of z given them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sbiwb.contracts import OutputKind
from sbiwb.contracts.network_modules import (
    InferenceModule,
    NetworkInputs,
    SummaryModule,
    TrainableModule,
)
from sbiwb.networks.summary._mmd import mmd_to_normal

ROWS_AT_ONCE = 1_000  # whose features are computed before the first step


class Estimator(TrainableModule):
    """One network; its `forward` is what training maximises, to be compiled and distributed.

    Args:
        summaries: A summary network for each input, by name; features are joined in this order.
        inference: The density given H features, H the sum over summaries, or what `fusion` makes of
            them.
        fusion: A network from the joined features to those that `inference` sees; None where they
            are the same.
        mmd_weights: By input, what the squared MMD between its summaries and N(0, I) is multiplied
            by in the loss; none where left out.
        fused_mmd_weight: The same of what `fusion` makes of them.
    """

    def __init__(
        self,
        summaries: Mapping[str, SummaryModule],
        inference: InferenceModule,
        *,
        fusion: SummaryModule | None = None,
        mmd_weights: Mapping[str, float] | None = None,
        fused_mmd_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = tuple(summaries)
        # a list: names may hold dots, which modules' names must not
        self.summaries = nn.ModuleList(summaries.values())
        self.fusion = fusion
        self.inference = inference
        self.mmd_weights, self.fused_mmd_weight = dict(mmd_weights or {}), fused_mmd_weight

    @property
    def terms(self) -> tuple[str, ...]:
        """What `forward` adds to the loss besides the density, by name."""
        if self.mmd_weights or self.fused_mmd_weight:
            return ("mmd",)
        return ()

    @property
    def output_kind(self) -> OutputKind:
        return self.inference.output_kind

    @property
    def likelihood(self) -> bool:
        """Whether what training maximises is the log-density itself."""
        return self.inference.likelihood

    @property
    def random(self) -> bool:
        """Whether a step in training draws random numbers, as losses of their own may do."""
        return not self.likelihood

    @property
    def temperatures(self) -> int:
        return self.inference.temperatures

    @property
    def begins(self) -> bool:
        return self.inference.begins

    @torch.no_grad()
    def begin(self, z: Tensor, inputs: NetworkInputs) -> None:
        features = []
        for start in range(0, len(z), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            part = {
                name: (values[rows], None if mask is None else mask[rows])
                for name, (values, mask) in inputs.items()
            }
            features.append(self.summarise(part))
        self.inference.begin(z, torch.cat(features))

    def summarise(self, inputs: NetworkInputs) -> Tensor:
        """Features (B, H) of all inputs."""
        return self._join(self._summaries(inputs))

    def forward(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        """What training maximises, (B,), and penalties in training.

        That is log q(z | inputs), or minus the loss of a network that has one.
        """
        parts = self._summaries(inputs)
        features = self._join(parts)
        return self.inference.objective(z, features), self._penalties(parts, features)

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features) of z (B, D) and features (B, H), shape (B,)."""
        return self.inference.log_prob(z, features)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D), S draws for each data set, of normal noise (N, S, D) and features (N, H)."""
        return self.inference.transport(noise, features)

    def noise(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        """Squares of the noise of z (B, D), (1, D, B), and the log-determinant, (1, B)."""
        squared, log_det = self.inference.noise(z, self.summarise(inputs))
        return squared[None], log_det[None]

    def temper(self, log_temperature: Tensor) -> None:
        self.inference.temper(log_temperature)

    def components(self) -> list[Estimator]:
        """The networks whose mixture is the posterior: this one."""
        return [self]

    def mixture(self) -> list[float]:
        """The share of each component."""
        return [1.0]

    @staticmethod
    def side_by_side(
        members: Sequence[Estimator], z: Tensor, inputs: NetworkInputs
    ) -> tuple[Tensor, Tensor]:
        """`forward` of M estimators of one kind: (M, B), and penalties added up.

        Kinds of networks that can evaluate several together do so.

        Args:
            members: M of them.
            z: (M, B, D), to each its own.
            inputs: (M, B, ...), likewise.
        """
        parts = _summaries_side_by_side(members, inputs)
        features = _join_side_by_side(members, parts)
        penalties = []
        for m, member in enumerate(members):
            penalties.append(member._penalties([part[m] for part in parts], features[m]))
        flows = [member.inference for member in members]
        return type(flows[0]).side_by_side(flows, z, features), torch.stack(penalties).sum(0)

    def summary(self, place: int) -> SummaryModule:
        """The summary network of the input at this place among `names`."""
        network = self.summaries[place]
        assert isinstance(network, SummaryModule)
        return network

    def _summaries(self, inputs: NetworkInputs) -> list[Tensor]:
        return [
            summary(*inputs[name]) for name, summary in zip(self.names, self.summaries, strict=True)
        ]

    def _join(self, parts: list[Tensor]) -> Tensor:
        joined = torch.cat(parts, dim=-1)
        if self.fusion is None:
            return joined
        return self.fusion(joined, None)

    def _penalties(self, parts: list[Tensor], features: Tensor) -> Tensor:
        if not (self.training and self.terms):
            return parts[0].new_zeros(len(self.terms))
        by_name = dict(zip(self.names, parts, strict=True))
        penalties = []
        for name, weight in self.mmd_weights.items():
            penalties.append(weight * mmd_to_normal(by_name[name]))
        if self.fused_mmd_weight:
            penalties.append(self.fused_mmd_weight * mmd_to_normal(features))
        return torch.stack(penalties).sum(0, keepdim=True)


def _summaries_side_by_side(members: Sequence[Estimator], inputs: NetworkInputs) -> list[Tensor]:
    """Summaries (M, B, H) of each input."""
    parts = []
    for place, name in enumerate(members[0].names):
        networks = [member.summary(place) for member in members]
        parts.append(type(networks[0]).side_by_side(networks, *inputs[name]))
    return parts


def _join_side_by_side(members: Sequence[Estimator], parts: Sequence[Tensor]) -> Tensor:
    """Features (M, B, H) of all inputs."""
    features = torch.cat(tuple(parts), dim=-1)
    fusions = [member.fusion for member in members if member.fusion is not None]
    if not fusions:
        return features
    return type(fusions[0]).side_by_side(fusions, features, None)
