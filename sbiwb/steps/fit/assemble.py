"""From a project to a `Trainer`: the adapter, the network, and training pairs from memory, from disk or from the simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sbiwb.contracts import Reporter
from sbiwb.errors import ConfigError
from sbiwb.project.adapter import Adapter, fit_adapter, restore_adapter
from sbiwb.project.checkpoint_facts import CheckpointFacts
from sbiwb.project.network import build_network, member_seed
from sbiwb.project.project import Project
from sbiwb.project.settings import Settings, sampling_threads, settle
from sbiwb.project.splits import _Shards, load_split
from sbiwb.records import Pairs
from sbiwb.seeds import generator
from sbiwb.simulation.preflight import Preflight
from sbiwb.steps.fit.feed import online_feed
from sbiwb.training.loop import Trainer
from sbiwb.training.online import ReplayBuffer
from sbiwb.training.ranks import ALONE, Ranks
from sbiwb.training.sources import BatchSource, MemberPairs, MemoryPairs, SharedPairs, TensorPairs
from sbiwb.training.spool import DecodedShardCache
from sbiwb.training.stream import StreamedPairs


@dataclass(frozen=True)
class TrainingSession:
    """A trainer, and what a checkpoint must know besides its state."""

    trainer: Trainer
    adapter: Adapter
    settings: Settings


def open_trainer(
    project: Project,
    reporter: Reporter,
    *,
    saved: CheckpointFacts | None = None,
    ranks: Ranks = ALONE,
    check: Callable[[], None] = lambda: None,
) -> TrainingSession:
    """A trainer at the beginning of a training.

    Args:
        project: Its training and validation pairs are simulated.
        reporter: Hears what was settled.
        saved: What the checkpoint that it will go on from says about itself.
        ranks: The processes that train together.
        check: Called while waiting for simulations; may raise.
    """
    shards, model, prior = _Shards(project), project.config.model, project.prior
    if saved:
        adapter = restore_adapter(model, prior, saved.adapter)
    else:
        fitted = fit_adapter(model, prior, shards.sample())
        for sentence in fitted.warnings:
            reporter.warn(sentence)
        learned = fitted.state()
        adapter = restore_adapter(model, prior, json.loads(ranks.broadcast(json.dumps(learned))))
    shapes = {name: one.shape for name, one in adapter.inputs.items()}
    steps = project.config.train.steps  # epochs are not known before the source is
    settled = settle(
        project,
        shapes,
        steps,
        saved and saved.settings,
        reporter,
        window=shards.window,
        processes=ranks.world,
    )
    settings = Settings(**json.loads(ranks.broadcast(json.dumps(asdict(settled)))))
    settings.apply(sampling_threads(project.config.machine.threads))
    pairs = _pairs(project, settings.regime)
    module = build_network(
        model, adapter.theta_map, shapes, seed=project.config.train.seed, pairs=pairs
    ).to(settings.device)
    validation = _tensors(project, adapter, load_split(project, "validation"), settings.device)
    source = _source(project, shards, adapter, settings, ranks, module, check)
    density = torch.compile(module) if settings.compile else None
    trainer = Trainer(
        module,
        source,
        validation,
        project.config.train,
        ranks=ranks,
        density=density,
        precision=settings.context,
    )
    return TrainingSession(trainer, adapter, settings)


def _pairs(project: Project, regime: str) -> int:
    """Training pairs, N: those that are simulated beforehand, or meanwhile."""
    train = project.config.train
    return (
        train.steps * train.batch_size // train.online.uses
        if regime == "online"
        else project.config.simulate.train
    )


def try_out(project: Project, seen: Preflight, batch_size: int) -> Trainer:
    """A trainer on the preflight's pairs, repeated to a batch; for measuring a step."""
    pairs = seen.example.take(np.resize(np.arange(len(seen.example)), batch_size))
    adapter = fit_adapter(project.config.model, project.prior, pairs)
    shapes = {name: one.shape for name, one in adapter.inputs.items()}
    settings = settle(project, shapes, 0, None, None)
    settings.apply(sampling_threads(project.config.machine.threads))
    module = build_network(
        project.config.model, adapter.theta_map, shapes, seed=0, pairs=batch_size
    ).to(settings.device)
    tensors = _tensors(project, adapter, pairs, settings.device)
    source = _from_memory(project, tensors, batch_size, module, ALONE)
    options = project.config.train.model_copy(
        update={"epochs": None}
    )  # of so few pairs they would be over at once
    return Trainer(module, source, tensors, options, precision=settings.context)


def _tensors(project: Project, adapter: Adapter, pairs: Pairs, device: str) -> TensorPairs:
    return TensorPairs.of(
        adapter.z(project.prior.stack(pairs.theta)), adapter.arrays(pairs), device
    )


def _source(
    project: Project,
    shards: _Shards,
    adapter: Adapter,
    settings: Settings,
    ranks: Ranks,
    module: Any,
    check: Callable[[], None],
) -> BatchSource:
    """Where the pairs of a step come from; members of an ensemble have batches of their own where all pairs are in memory."""
    if settings.regime == "memory":
        pairs = shards.held if shards.held is not None else load_split(project, "train")
        shards.held = None  # the tensors take its place
        tensors = _tensors(project, adapter, pairs, settings.device)
        return _from_memory(project, tensors, project.config.train.batch_size, module, ranks)
    if module.bootstrap:
        raise ConfigError(
            f"model.uncertainty.data  bootstrap needs all training pairs in memory, and these are taken from {settings.regime}",
            todo="Use data: full, or train.regime: memory.",
        )
    source = _passing(project, shards, adapter, settings, ranks, check)
    return source if module.members == 1 else SharedPairs(source, module.members)


def _from_memory(
    project: Project, tensors: TensorPairs, batch_size: int, module: Any, ranks: Ranks
) -> BatchSource:
    def source(seed: int, rows: np.ndarray | None = None) -> MemoryPairs:
        return MemoryPairs(tensors, batch_size, seed, rows=rows, rank=ranks.rank, world=ranks.world)

    seed = project.config.train.seed
    if module.members == 1:
        return source(seed)
    seeds = [member_seed(project.config.model, seed, member) for member in range(module.members)]
    drawn = [
        generator(one, "bootstrap").integers(len(tensors), size=len(tensors))
        if module.bootstrap
        else None
        for one in seeds
    ]
    return MemberPairs([source(*pair) for pair in zip(seeds, drawn, strict=True)])


def _passing(
    project: Project,
    shards: _Shards,
    adapter: Adapter,
    settings: Settings,
    ranks: Ranks,
    check: Callable[[], None],
) -> BatchSource:
    """Pairs that do not stay: from the simulator, or from disk."""
    options, rank, world = project.config.train, ranks.rank, ranks.world
    if settings.regime == "online":
        executor = project.config.machine.build_executor()
        return ReplayBuffer(
            online_feed(
                project, adapter, executor, batch_size=options.batch_size, rank=rank, world=world
            ),
            batch_size=options.batch_size,
            buffer=options.online.buffer,
            uses=options.online.uses,
            seed=options.seed,
            device=settings.device,
            rank=rank,
            world=world,
            check=check,
        )
    shards.held = None
    # the reading thread has no current GPU of its own
    place = settings.device if settings.device == "cpu" else f"cuda:{torch.cuda.current_device()}"
    spool = DecodedShardCache(
        lambda number: _tensors(project, adapter, shards.read(number), "cpu"),
        _scratch(project, rank),
        place,
    )
    return StreamedPairs(
        spool,
        shards.rows,
        batch_size=options.batch_size,
        seed=options.seed,
        window=settings.window,
        rank=rank,
        world=world,
        check=check,
        done=spool.close,
    )


def _scratch(project: Project, rank: int) -> Path:
    return project.run.train / f"spool-{rank}"
