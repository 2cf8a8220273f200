"""What a `Trainer` is assembled from: adapter, pairs as tensors, and where the pairs come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from sbiwb.config.model import Model
from sbiwb.contracts import Reporter
from sbiwb.contracts.network_modules import TrainableModule
from sbiwb.errors import ConfigError
from sbiwb.priors import Prior
from sbiwb.project.adapter import Adapter, AdapterState, fit_adapter, restore_adapter
from sbiwb.project.network import member_seed
from sbiwb.project.settings import Settings
from sbiwb.records import Pairs
from sbiwb.seeds import generator
from sbiwb.steps.fit.feed import OpenFeed
from sbiwb.training.loop import Trainer
from sbiwb.training.online import ReplayBuffer
from sbiwb.training.ranks import ALONE, Ranks
from sbiwb.training.sources import BatchSource, MemberPairs, MemoryPairs, SharedPairs, TensorPairs
from sbiwb.training.spool import DecodedShardCache
from sbiwb.training.stream import StreamedPairs
from sbiwb.training.train_options import TrainOptions

FIRST_LOOK = 20_000  # training pairs that a network starts from


@dataclass(frozen=True)
class TrainingSession:
    """A trainer, and what a checkpoint must know besides its state."""

    trainer: Trainer
    adapter: Adapter
    settings: Settings


class Shards(Protocol):
    """Training shards that are read one at a time."""

    rows: list[int]

    def read(self, number: int) -> Pairs: ...


@dataclass(frozen=True)
class Assembly:
    """What the pairs of a training have in common, wherever they come from.

    Args:
        model: The section `model`.
        train: The section `train`.
        prior: Of the parameters.
        adapter: Fitted on training pairs.
        settings: How this training computes.
        module: What is trained, on its device.
        ranks: The processes that train together.
        check: Called while waiting for pairs; may raise.
    """

    model: Model
    train: TrainOptions
    prior: Prior
    adapter: Adapter
    settings: Settings
    module: TrainableModule
    ranks: Ranks = ALONE
    check: Callable[[], None] = lambda: None

    def trainer(self, source: BatchSource, validation: TensorPairs) -> Trainer:
        """A trainer at its beginning."""
        density = None
        if self.settings.compile:
            density = torch.compile(self.module)
        return Trainer(
            self.module,
            source,
            validation,
            self.train,
            ranks=self.ranks,
            density=density,
            precision=self.settings.context,
        )

    def begin(self, pairs: Pairs) -> None:
        """Sets what training pairs tell the networks without steps."""
        if self.module.begins:
            most = min(len(pairs), FIRST_LOOK)
            rows = np.linspace(0, len(pairs) - 1, most).astype(int)
            tensors = self.tensors(pairs.take(rows))
            self.module.begin(tensors.z, tensors.inputs)

    def tensors(self, pairs: Pairs, device: str | None = None) -> TensorPairs:
        """Pairs as the network reads them, on a device, by default that of training."""
        z = self.adapter.z(self.prior.stack(pairs.theta))
        return TensorPairs.of(z, self.adapter.arrays(pairs), device or self.settings.device)

    def from_memory(self, tensors: TensorPairs) -> BatchSource:
        """Batches of pairs that are all in memory; each member of an ensemble has its own."""
        if self.module.members == 1:
            return self._memory_pairs(tensors, self.train.seed)
        sources = []
        for member in range(self.module.members):
            seed, rows = member_seed(self.model, self.train.seed, member), None
            if self.module.bootstrap:
                rng = generator(seed, "bootstrap")
                rows = rng.integers(len(tensors), size=len(tensors))
            sources.append(self._memory_pairs(tensors, seed, rows))
        return MemberPairs(sources)

    def _memory_pairs(
        self, tensors: TensorPairs, seed: int, rows: np.ndarray | None = None
    ) -> MemoryPairs:
        size, ranks = self.train.batch_size, self.ranks
        return MemoryPairs(tensors, size, seed, rows=rows, rank=ranks.rank, world=ranks.world)

    def from_simulator(self, feed: OpenFeed) -> BatchSource:
        """Batches of pairs that are simulated meanwhile."""
        self._check_members()
        return self._shared(
            ReplayBuffer(
                feed,
                batch_size=self.train.batch_size,
                buffer=self.train.online.buffer,
                uses=self.train.online.uses,
                seed=self.train.seed,
                device=self.settings.device,
                rank=self.ranks.rank,
                world=self.ranks.world,
                check=self.check,
            )
        )

    def from_disk(self, shards: Shards, scratch: Path) -> BatchSource:
        """Batches of pairs that are read from shards meanwhile.

        Args:
            shards: Of the training split.
            scratch: Folder of this process for shards as the network reads them.
        """
        self._check_members()
        device = self.settings.device
        if device != "cpu":  # the reading thread has no current GPU of its own
            device = f"cuda:{torch.cuda.current_device()}"

        def load(number: int) -> TensorPairs:
            return self.tensors(shards.read(number), "cpu")

        cache = DecodedShardCache(load, scratch, device)
        return self._shared(
            StreamedPairs(
                cache,
                shards.rows,
                batch_size=self.train.batch_size,
                seed=self.train.seed,
                window=self.settings.window,
                rank=self.ranks.rank,
                world=self.ranks.world,
                check=self.check,
                done=cache.close,
            )
        )

    def _check_members(self) -> None:
        if self.module.bootstrap:
            raise ConfigError(
                "model.uncertainty.data  bootstrap needs all training pairs in memory, and these "
                f"are taken from {self.settings.regime}",
                todo="Use data: full, or train.regime: memory.",
            )

    def _shared(self, source: BatchSource) -> BatchSource:
        if self.module.members == 1:
            return source
        return SharedPairs(source, self.module.members)


def learned_adapter(
    model: Model, prior: Prior, sample: Callable[[], Pairs], ranks: Ranks, reporter: Reporter
) -> Adapter:
    """The adapter that the first process fits, the same in all of them.

    Args:
        model: The section `model`.
        prior: Of the parameters.
        sample: Gives the training pairs to learn from.
        ranks: The processes that train together.
        reporter: Hears where the data lose their spread.
    """
    fitted = fit_adapter(model, prior, sample())
    for sentence in fitted.warnings:
        reporter.warn(sentence)
    state: AdapterState = json.loads(ranks.broadcast(json.dumps(fitted.state())))
    return restore_adapter(model, prior, state)


def same_settings(settings: Settings, ranks: Ranks) -> Settings:
    """The first process's settings, in all of them."""
    return Settings(**json.loads(ranks.broadcast(json.dumps(asdict(settings)))))


def pair_count(train: TrainOptions, simulated: int, regime: str) -> int:
    """Training pairs, N: those that are simulated beforehand, or meanwhile."""
    if regime != "online":
        return simulated
    return train.steps * train.batch_size // train.online.uses


@contextmanager
def closing(trainer: Trainer) -> Iterator[Trainer]:
    """A trainer whose source ends its threads and processes with the block."""
    try:
        yield trainer
    finally:
        trainer.source.close()
