"""The verb `check`: a preflight of the whole job, before anything is spent."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from sbiwb.project.observe import observe
from sbiwb.project.project import Project
from sbiwb.records import Ragged
from sbiwb.rundir import SPLITS
from sbiwb.simulation.layout import to_json
from sbiwb.simulation.preflight import Preflight
from sbiwb.steps.fit.assemble import try_out
from sbiwb.steps.pairs.prepare import blocks, try_simulator
from sbiwb.stopping import raise_on_signal
from sbiwb.training.events import Stepped

TRIED_STEPS = 20


@dataclass(frozen=True)
class Checked:
    """What the job will need.

    Args:
        rows: Pairs to simulate, all splits.
        workers: Processes.
        simulate_s: Seconds of simulating, wall time.
        train_s: Seconds of training at most.
        bytes: Disk needed.
        free: Disk free.
        weights: Of the network.
        failure_rate: Among the few simulations tried.
        max_rate: Largest tolerated.
        observables: Shape of each, in words.
        observations: Data sets in each observation.
    """

    rows: int
    workers: int
    simulate_s: float
    train_s: float
    bytes: int
    free: int
    weights: int
    failure_rate: float
    max_rate: float
    observables: dict[str, str]
    observations: dict[str, int]


def check(project: Project) -> Checked:
    """Simulates, trains and reads a little of everything.

    Raises:
        SbiwbError: Whatever would stop the job later.
    """
    with raise_on_signal():
        seen = try_simulator(project)
        weights, step_s = _try_training(project, seen)
        project.derived.check(project.config.simulate.seed)
        shapes = {name: one.event for name, one in project.context.items()}
        observations = {
            observation.name: len(observe(observation, seen.layout, shapes))
            for observation in project.observations
        }
    rows = sum(blocks(project, split) for split in SPLITS) * project.block_size
    workers = project.config.machine.build_executor().workers
    return Checked(
        rows=rows,
        workers=workers,
        simulate_s=rows * seen.seconds_per_row / workers,
        train_s=_steps(project) * step_s,
        bytes=round(rows * seen.bytes_per_row),
        free=shutil.disk_usage(_existing(project.run.path)).free,
        weights=weights,
        failure_rate=seen.failure_rate,
        max_rate=project.config.simulate.failures.max_rate,
        observables=_words(seen),
        observations=observations,
    )


def _steps(project: Project) -> int:
    """Of the training at most."""
    train = project.config.train
    return (
        train.epochs * max(1, project.config.simulate.train // train.batch_size)
        if train.epochs
        else train.steps
    )


def _try_training(project: Project, seen: Preflight) -> tuple[int, float]:
    """Weights of the network, and seconds a step."""
    trainer = try_out(project, seen, project.config.train.batch_size)
    steps = (event for event in trainer.run() if isinstance(event, Stepped))
    next(steps)
    start = time.perf_counter()
    for _ in range(TRIED_STEPS):
        next(steps)
    return sum(parameter.numel() for parameter in trainer.module.parameters()), (
        time.perf_counter() - start
    ) / TRIED_STEPS


def _words(seen: Preflight) -> dict[str, str]:
    words = {}
    for name, one in to_json(seen.layout).items():
        variable = seen.example.x[name]
        lengths = (
            f"{variable.lengths.min()} to {variable.lengths.max()}"
            if isinstance(variable, Ragged)
            else ""
        )
        shape = " x ".join(
            [lengths, *map(str, one["shape"][1:])] if one["ragged"] else map(str, one["shape"])
        )
        words[name] = (
            f"{one['dtype']}, {'varying length ' if one['ragged'] else ''}{shape or 'one number'}"
        )
    return words


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
