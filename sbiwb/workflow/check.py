"""The verb `check`: a preflight of the whole job, before anything is spent."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from sbiwb.config import RunConfig
from sbiwb.contracts import Silent
from sbiwb.errors import RunError
from sbiwb.project.choices import ChosenKey
from sbiwb.project.likelihoods import check_structures, wanted
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.records import Pairs, Ragged
from sbiwb.simulation.layout import to_json
from sbiwb.simulation.preflight import Preflight
from sbiwb.steps.choose.choose import MAX_PAIRS
from sbiwb.steps.pairs.shard_grid import asked_pairs, blocks_of
from sbiwb.stopping import raise_on_signal
from sbiwb.training.events import Stepped
from sbiwb.workflow.simulate_plan import tried_forward, try_more, try_simulator
from sbiwb.workflow.structure_tested import (
    CHECK_S,
    StructureTested,
    is_testable,
    repeat_and_test,
)
from sbiwb.workflow.train_choices import preview
from sbiwb.workflow.train_setup import try_out

TRIED_STEPS = 20
MAX_TRIED_ROWS = 8192
CHOICE_S = 2.0  # of simulating, for what is chosen from the data
MAX_CHOICE_ROWS = 1_000


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
        choices: What the YAML leaves to the data, as these few simulations decide it.
        chosen_from: How many they are.
        trials: What training will try before it begins: networks by input, values by key.
        structure: Whether the simulator is as independent as `problem.structure` says.
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
    choices: tuple[ChosenKey, ...]
    chosen_from: int
    trials: dict[str, list[str]]
    structure: StructureTested


def check(project: Project) -> Checked:
    """Simulates, trains and reads a little of everything.

    Raises:
        SbiwbError: Whatever would stop the job later.
    """
    with raise_on_signal():
        preflight = try_simulator(project)
        if wanted(project.config):
            check_structures(project.config, preflight.example.x)
        structure = _structure(project, preflight)
        example = _example(project, preflight)
        previewed = preview(project, example)
        project = previewed.project
        weights, step_s = _try_training(project, preflight)
        project.derived.check(project.config.simulate.seed)
        sets = {data.name: len(data) for data in project.observe_all(preflight.layout)}
    size = project.block_size
    pairs = asked_pairs(project.config.simulate)
    rows = size * sum(blocks_of(count, size) for count in pairs.values())
    workers = project.config.machine.build_executor().workers
    return Checked(
        rows=rows,
        workers=workers,
        simulate_s=rows * preflight.seconds_per_row / workers,
        train_s=_max_steps(project.config) * step_s,
        bytes=round(rows * preflight.bytes_per_row),
        free=shutil.disk_usage(_existing(project.run.path)).free,
        weights=weights,
        failure_rate=preflight.failure_rate,
        max_rate=project.config.simulate.failures.max_rate,
        observables=_describe(preflight),
        observations=sets,
        choices=previewed.choices,
        chosen_from=len(example),
        trials=previewed.trials,
        structure=structure,
    )


def _structure(project: Project, preflight: Preflight) -> StructureTested:
    if not is_testable(project):
        return StructureTested()
    seconds = preflight.seconds_per_row
    with tried_forward(project, preflight.layout) as forward:
        return repeat_and_test(project, forward, seconds, Silent(), most_s=CHECK_S)


def _example(project: Project, preflight: Preflight) -> Pairs:
    """The training pairs where they are made already; else as many as two seconds give."""
    with contextlib.suppress(RunError):
        return load_split(project, "train", most=MAX_PAIRS)
    rows = round(CHOICE_S / max(preflight.seconds_per_row, CHOICE_S / MAX_CHOICE_ROWS))
    if rows <= len(preflight.example):
        return preflight.example
    return try_more(project, preflight.layout, rows)


def _max_steps(config: RunConfig) -> int:
    train = config.train
    if train.epochs is None:
        return train.steps
    return train.epochs * max(1, config.simulate.train // train.batch_size)


def _try_training(project: Project, preflight: Preflight) -> tuple[int, float]:
    """Weights of the network, and seconds a step; a large batch is judged by a part of it."""
    batch_size = min(project.config.train.batch_size, project.config.simulate.train)
    rows = min(batch_size, MAX_TRIED_ROWS)
    trainer = try_out(project, preflight.example, rows)
    steps = (event for event in trainer.run() if isinstance(event, Stepped))
    next(steps)
    start = time.perf_counter()
    tried = sum(1 for _ in itertools.islice(steps, TRIED_STEPS))  # a training may have fewer
    step_s = (time.perf_counter() - start) / max(1, tried)
    weights = sum(parameter.numel() for parameter in trainer.module.parameters())
    return weights, step_s * batch_size / rows


def _describe(preflight: Preflight) -> dict[str, str]:
    """Type and shape of each observable, in words."""
    words = {}
    for name, observable in to_json(preflight.layout).items():
        sizes = [str(size) for size in observable["shape"]]
        variable = preflight.example.x[name]
        kind = observable["dtype"]
        if isinstance(variable, Ragged):
            lengths = f"{variable.lengths.min()} to {variable.lengths.max()}"
            kind, sizes = f"{kind}, varying length", [lengths, *sizes[1:]]
            words[name] = f"{kind} {' x '.join(sizes)}"
        else:
            words[name] = f"{kind}, {' x '.join(sizes) or 'one number'}"
    return words


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
