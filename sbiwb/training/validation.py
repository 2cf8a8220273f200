"""The averaged weights on the validation pairs: their loss, the scale of a flow's noise, and the
shares of an ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sbiwb.contracts.network_modules import TrainableModule
from sbiwb.training.ranks import Ranks
from sbiwb.training.sources import TensorPairs
from sbiwb.training.temperature import LOG_TEMPERATURES, Noise, fitted, log_densities

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
        chunks = self._chunks(self.pairs[self.ranks.rank :: self.ranks.world])
        if self.averaged.temperatures:
            return self._tempered(chunks)
        sums = [self.averaged(part.z, part.inputs)[0].double().sum() for part in chunks]
        return float(self._mean_loss(sums, ()))

    def _tempered(self, chunks: Iterable[TensorPairs]) -> float:
        """The loss at the temperature that does best, which the averaged weights then have."""
        columns, shares = self.pairs.z.shape[1], self.averaged.mixture()
        parts = [self.averaged.noise(part.z, part.inputs) for part in chunks]
        sums = [
            log_densities(squares.sum(1), log_det, columns, shares).sum(-1)
            for squares, log_det in parts
        ]
        losses = self._mean_loss(sums, (len(LOG_TEMPERATURES),))
        log_temperature, loss = fitted(losses.cpu().numpy(), len(self.pairs))
        if self.averaged.temperatures == 1:
            self.averaged.temper(torch.tensor(log_temperature))
            return loss
        if math.isnan(loss):
            return loss
        noise = self._noise(parts, shares)
        log_scales, loss = noise.scale_columns(log_temperature)
        self.averaged.temper(log_scales)
        return loss

    def _noise(self, parts: Sequence[tuple[Tensor, Tensor]], shares: Sequence[float]) -> Noise:
        members, columns = len(shares), self.pairs.z.shape[1]
        none = (self.pairs.z.new_zeros(members, columns, 0), self.pairs.z.new_zeros(members, 0))
        squares, log_det = (torch.cat(found, dim=-1) for found in zip(none, *parts, strict=True))
        return Noise(squares, log_det, shares, len(self.pairs), self.ranks.all_reduce_sum)

    def _mean_loss(self, sums: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Minus the mean over all pairs, of every process's sums of log-densities."""
        total = torch.zeros(shape, dtype=torch.float64, device=self.pairs.z.device)
        if sums:
            total = torch.stack(list(sums)).sum(0)
        self.ranks.all_reduce_sum(total)
        return -total / len(self.pairs)

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
