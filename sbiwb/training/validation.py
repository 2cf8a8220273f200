"""The averaged weights on the validation pairs: their loss, the scale of a flow's noise, and the
shares of an ensemble.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sbiwb.contracts.network_modules import TrainableModule
from sbiwb.training.ranks import Ranks
from sbiwb.training.sources import TensorPairs
from sbiwb.training.temperature import LOG_TEMPERATURES, fitted, log_densities

CHUNK_MEMBERS = 8192  # of all data sets in one chunk
MIN_CHUNK = 64  # data sets


@dataclass(frozen=True)
class Validation:
    """What is validated, and on what.

    Args:
        averaged: The module with averaged weights.
        running: The module that is trained; its buffers are taken over.
        pairs: N validation pairs.
        ranks: The processes that share them.
    """

    averaged: TrainableModule
    running: TrainableModule
    pairs: TensorPairs
    ranks: Ranks

    @torch.no_grad()
    def loss(self) -> float:
        """Mean negative log-density of z over the pairs, all members mixed, in nats.

        Where the module's noise has a temperature, at the one that does best, which the averaged
        weights then have.
        """
        self.averaged.eval()
        buffers = zip(self.averaged.buffers(), self.running.buffers(), strict=True)
        for averaged, running in buffers:
            averaged.copy_(running)
        share = self.pairs[self.ranks.rank :: self.ranks.world]
        sums = [self._log_densities(part).double().sum(-1) for part in self._chunks(share)]
        total = torch.zeros(self._temperatures, dtype=torch.float64, device=self.pairs.z.device)
        if sums:
            total = torch.stack(sums).sum(0)
        self.ranks.all_reduce_sum(total)
        losses = -total / len(self.pairs)
        if not self.averaged.tempered:
            return float(losses)
        log_temperature, loss = fitted(losses.cpu().numpy(), len(self.pairs))
        self.averaged.temper(torch.tensor(log_temperature))
        return loss

    @property
    def _temperatures(self) -> tuple[int, ...]:
        return (len(LOG_TEMPERATURES),) if self.averaged.tempered else ()

    def _log_densities(self, pairs: TensorPairs) -> Tensor:
        """Log-densities (N,) of the pairs; (K, N) at each temperature where there are any."""
        if not self.averaged.tempered:
            return self.averaged(pairs.z, pairs.inputs)[0]
        squared, log_det = self.averaged.noise(pairs.z, pairs.inputs)
        return log_densities(squared, log_det, pairs.z.shape[1], self.averaged.mixture())

    @torch.no_grad()
    def losses(self, weights: dict[str, Tensor]) -> Tensor:
        """Negative log-density of z of each pair under these weights, (N,)."""
        self.averaged.load_state_dict(weights)
        self.averaged.eval()
        parts = [-self.averaged(part.z, part.inputs)[0] for part in self._chunks(self.pairs)]
        return torch.cat(parts)

    @torch.no_grad()
    def stack(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of an ensemble with the shares of its members fitted to the pairs."""
        self.averaged.load_state_dict(weights)
        self.averaged.eval()
        parts = [self.averaged.log_probs(part.z, part.inputs) for part in self._chunks(self.pairs)]
        self.averaged.stack(torch.cat(parts, dim=1))
        return self.weights()

    def weights(self) -> dict[str, Tensor]:
        """A copy of the averaged weights, by name."""
        return {name: value.clone() for name, value in self.averaged.state_dict().items()}

    def _chunks(self, pairs: TensorPairs) -> Iterator[TensorPairs]:
        """Pieces that fit beside the network, however many members, steps or cells a set has."""
        members = 1
        for values, _ in pairs.inputs.values():
            if len(values):
                members = max(members, values[0, ..., 0].numel())
        return pairs.chunks(max(MIN_CHUNK, CHUNK_MEMBERS // members))
