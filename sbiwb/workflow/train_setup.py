"""From a project to a trainer: its sections of the YAML, its pairs and this machine's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sbiwb.contracts import InputShape, Reporter
from sbiwb.project.adapter import Adapter, fit_adapter, restore_adapter
from sbiwb.project.checkpoint_facts import CheckpointFacts
from sbiwb.project.network import build_network
from sbiwb.project.plan import plan_or_none, read_plan
from sbiwb.project.project import Project
from sbiwb.project.settings import Settings, sampling_threads, settle
from sbiwb.project.splits import TrainingShards, load_split
from sbiwb.records import Pairs
from sbiwb.steps.fit.assemble import (
    FIRST_LOOK,
    Assembly,
    TrainingSession,
    learned_adapter,
    pair_count,
    same_settings,
)
from sbiwb.steps.fit.feed import BlockSource, online_feed
from sbiwb.training.loop import Trainer
from sbiwb.training.ranks import ALONE, Ranks
from sbiwb.training.sources import BatchSource


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
    setup, shards, config = _Setup(project), TrainingShards(project), project.config
    if saved:
        adapter = restore_adapter(config.model, project.prior, saved.adapter)
    else:
        adapter = learned_adapter(config.model, project.prior, shards.sample, ranks, reporter)
    settings = settle(
        config,
        plan_or_none(project.data_run),
        _shapes(adapter),
        config.train.steps,  # epochs are not known before the source is
        saved and saved.settings,
        reporter,
        window=shards.window,
        processes=ranks.world,
    )
    settings = same_settings(settings, ranks)
    pairs = pair_count(config.train, config.simulate.train, settings.regime)
    assembly = setup.assembly(adapter, settings, pairs, ranks, check)
    validation = assembly.tensors(load_split(project, "validation"))
    if not saved:
        assembly.begin(shards.held or load_split(project, "train", most=FIRST_LOOK))
    trainer = assembly.trainer(setup.source(shards, assembly), validation)
    return TrainingSession(trainer, adapter, settings)


def try_out(project: Project, example: Pairs, batch_size: int) -> Trainer:
    """A trainer on a few pairs, repeated to a batch; for measuring a step.

    Args:
        project: What would be trained.
        example: The few pairs.
        batch_size: Pairs of a step.
    """
    pairs = example.take(np.resize(np.arange(len(example)), batch_size))
    adapter = fit_adapter(project.config.model, project.prior, pairs)
    plan = plan_or_none(project.data_run)
    settings = settle(project.config, plan, _shapes(adapter), 0, None, None)
    assembly = _Setup(project).assembly(adapter, settings, batch_size)
    # of so few pairs, epochs would be over at once
    options = assembly.train.model_copy(update={"epochs": None, "batch_size": batch_size})
    assembly = replace(assembly, train=options)
    tensors = assembly.tensors(pairs)
    return assembly.trainer(assembly.from_memory(tensors), tensors)


def short_trainer(project: Project, training: Pairs, held_out: Pairs) -> Trainer:
    """A trainer on these pairs, all in memory.

    Args:
        project: Whose sections `model` and `train` are tried.
        training: Training pairs.
        held_out: Pairs that the network is judged by.
    """
    adapter = fit_adapter(project.config.model, project.prior, training)
    settings = settle(project.config, None, _shapes(adapter), 0, None, None)
    assembly = _Setup(project).assembly(adapter, replace(settings, regime="memory"), len(training))
    assembly.begin(training)
    source = assembly.from_memory(assembly.tensors(training))
    return assembly.trainer(source, assembly.tensors(held_out))


@dataclass(frozen=True)
class _Setup:
    """The network of a project, and where its pairs come from."""

    project: Project

    def assembly(
        self,
        adapter: Adapter,
        settings: Settings,
        pairs: int,
        ranks: Ranks = ALONE,
        check: Callable[[], None] = lambda: None,
    ) -> Assembly:
        """All that a trainer needs but its pairs, of which the network may see so many."""
        config = self.project.config
        settings.apply(sampling_threads(config.machine.threads))
        module = build_network(
            config.model, adapter.theta_map, _shapes(adapter), seed=config.train.seed, pairs=pairs
        )
        return Assembly(
            config.model,
            config.train,
            self.project.prior,
            adapter,
            settings,
            module.to(settings.device),
            ranks,
            check,
        )

    def source(self, shards: TrainingShards, assembly: Assembly) -> BatchSource:
        """Where the pairs of a step come from."""
        regime, held = assembly.settings.regime, shards.held
        shards.held = None  # the tensors take its place
        if regime == "memory":
            if held is None:
                held = load_split(self.project, "train")
            return assembly.from_memory(assembly.tensors(held))
        if regime == "disk":
            spool = self.project.run.train / f"spool-{assembly.ranks.rank}"
            return assembly.from_disk(shards, spool)
        return self._simulated(assembly)

    def _simulated(self, assembly: Assembly) -> BatchSource:
        """Pairs that are simulated while the network trains."""
        project, ranks = self.project, assembly.ranks
        blocks = BlockSource(
            project.run.path,
            project.block_size,
            read_plan(project.data_run).seconds_per_row,
            project.config.simulate.failures.max_rate,
        )
        feed = online_feed(
            blocks,
            assembly.adapter,
            project.config.machine.build_executor(),
            batch_size=project.config.train.batch_size,
            rank=ranks.rank,
            world=ranks.world,
        )
        return assembly.from_simulator(feed)


def _shapes(adapter: Adapter) -> Mapping[str, InputShape]:
    return {name: input_adapter.shape for name, input_adapter in adapter.inputs.items()}
