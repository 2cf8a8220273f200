"""The verb `check`: a preflight of the whole job, before anything is spent."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.records import Pairs, Ragged
from sbiwb.rundir import SPLITS
from sbiwb.simulation.layout import to_json
from sbiwb.simulation.preflight import Preflight, preflight
from sbiwb.stopping import raised
from sbiwb.training.data import TensorPairs
from sbiwb.training.loop import Trainer
from sbiwb.workflow.derived import check_derived
from sbiwb.workflow.estimator import build_estimator, fit_adapter, set_threads
from sbiwb.workflow.observe import observe
from sbiwb.workflow.project import Project
from sbiwb.workflow.simulate import blocks

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
    with raised():
        seen = preflight(project.problem, project.block_size)
        weights, step_s = _try_training(project, seen.example)
        check_derived(project)
        shapes = {name: one.event for name, one in project.context.items()}
        observations = {
            name: len(observe(name, what, project.base, seen.layout, shapes)) for name, what in project.config.problem.observations.items()
        }
    rows = sum(blocks(project, split) for split in SPLITS) * project.block_size
    workers = project.config.machine.executor.build().workers  # type: ignore[attr-defined]
    return Checked(
        rows=rows,
        workers=workers,
        simulate_s=rows * seen.seconds_per_row / workers,
        train_s=project.config.train.steps * step_s,
        bytes=round(rows * seen.bytes_per_row),
        free=shutil.disk_usage(_existing(project.run.path)).free,
        weights=weights,
        failure_rate=seen.failure_rate,
        max_rate=project.config.simulate.failures.max_rate,
        observables=_words(seen),
        observations=observations,
    )


def _try_training(project: Project, pairs: Pairs) -> tuple[int, float]:
    """Weights of the network, and seconds a step, on the preflight's pairs repeated to a batch."""
    rows = np.resize(np.arange(len(pairs)), project.config.train.batch_size)
    batch = pairs.take(rows)
    adapter = fit_adapter(project.config.model, project.prior, batch)
    shapes = {name: one.shape for name, one in adapter.inputs.items()}
    set_threads(project.config.machine.threads, batch_size=project.config.train.batch_size, shapes=shapes.values())
    module = build_estimator(project.config.model, project.prior.size, shapes, seed=0)
    tensors = TensorPairs.of(adapter.z(project.prior.stack(batch.theta)), adapter.arrays(batch), "cpu")
    trainer = Trainer(
        module, tensors, tensors, project.config.train.model_copy(update={"steps": 10 * TRIED_STEPS, "validate_every": 10_000})
    )
    events = trainer.run()
    next(events)
    start = time.perf_counter()
    for _ in range(TRIED_STEPS):
        next(events)
    return sum(parameter.numel() for parameter in module.parameters()), (time.perf_counter() - start) / TRIED_STEPS


def _words(seen: Preflight) -> dict[str, str]:
    words = {}
    for name, one in to_json(seen.layout).items():
        variable = seen.example.x[name]
        lengths = f"{variable.lengths.min()} to {variable.lengths.max()}" if isinstance(variable, Ragged) else ""
        shape = " x ".join([lengths, *map(str, one["shape"][1:])] if one["ragged"] else map(str, one["shape"]))
        words[name] = f"{one['dtype']}, {'varying length ' if one['ragged'] else ''}{shape or 'one number'}"
    return words


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
