"""The verb `benchmark`: a grid of trainings (task x budget x method x seed) as resumable jobs, each scored by C2ST against references.

Every job is a run folder with a `score.json`; a job whose score is there and is of the same model, references and draws is not done again,
and a training that was stopped goes on. Trainings on the same task and budget share their simulations.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sbiwb import config as yaml_config
from sbiwb import distances, report
from sbiwb.config import BenchmarkConfig
from sbiwb.contracts import Executor, OutputKind, Reporter, Silent
from sbiwb.errors import DataError, RunError, SbiwbError, Stopped
from sbiwb.executors.serial import SerialExecutor
from sbiwb.executors.slurm import note, put_failure
from sbiwb.files import put, put_json, put_text, read_json, stable_hash
from sbiwb.posterior import Posterior
from sbiwb.project.checkpoint_facts import CheckpointFacts
from sbiwb.project.opening import open_project
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.trained import posterior_of
from sbiwb.records import Variable
from sbiwb.rundir import put_provenance, versions
from sbiwb.seeds import generator
from sbiwb.simulation.layout import from_json
from sbiwb.steps.exact.reference_posteriors import ReferenceSet, reference_sets
from sbiwb.steps.pairs.prepare import counts
from sbiwb.stopping import raise_on_signal
from sbiwb.training.checkpoint import newest
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train

PLAN, CHOSEN, RECORD = "benchmark.yaml", "chosen.json", "benchmark.json"
C2ST_SEED = 1


@dataclass(frozen=True)
class Benchmark:
    """A benchmark opened.

    Args:
        config: The YAML.
        base: The folder that its paths are relative to.
        folder: Where everything is written.
    """

    config: BenchmarkConfig
    base: Path
    folder: Path

    @property
    def references(self) -> Path | None:
        return None if self.config.references is None else self.base / self.config.references


@dataclass(frozen=True)
class Selection:
    """Which part of the grid is done; empty means all of it."""

    tasks: Sequence[str] = ()
    budgets: Sequence[int] = ()
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()


@dataclass(frozen=True)
class Scoreboard:
    """What a benchmark has found so far.

    Args:
        lines: A task, budget and method each.
        done: Jobs of the grid with a score.
        jobs: Jobs of the whole grid.
        folder: Where the tables and the picture are.
    """

    lines: tuple[report.Line, ...]
    done: int
    jobs: int
    folder: Path


def open_benchmark(
    path: Path,
    *,
    settings: Sequence[str] = (),
    references: Path | None = None,
    runs: Path = Path("runs"),
) -> Benchmark:
    """Opens the YAML of a benchmark, or its folder.

    Raises:
        ConfigErrors: All problems of the YAML at once.
    """
    file = path / PLAN if path.is_dir() else path
    config = yaml_config.load_benchmark(file, settings)
    base = file.parent.resolve()
    if references is not None:
        config = config.model_copy(update={"references": str(references.resolve())})
    return Benchmark(config, base, path if path.is_dir() else runs / config.name)


def benchmark(opened: Benchmark, reporter: Reporter, chosen: Selection = Selection()) -> Scoreboard:
    """Trains and scores what is not scored yet, and writes the scoreboard.

    Args:
        opened: The benchmark.
        reporter: Where progress goes.
        chosen: Part of the grid.

    Raises:
        DataError: A task has no reference posteriors, or they do not fit it.
        RunError: A name that is not in the grid.
        SbiwbError: What a job failed of; the others are done first.
    """
    _check_chosen(opened.config, chosen)
    with raise_on_signal():
        _check_tasks(opened, chosen)
        _write_plan(opened, chosen)
        executor = opened.config.executor.build(opened.config.cluster)
        reporter.say(
            f"{len(list(_cells(opened.config, chosen)))} trainings on {len(set(_data(opened.config, chosen)))} sets of simulations."
        )
        failed = []
        try:
            for phase in (_data_tasks, _score_tasks):
                failed += _run(executor, phase(opened, chosen), reporter)
        finally:
            board = write_scoreboard(opened)
    if failed:
        raise failed[0]
    return board


def work(task: dict[str, Any]) -> dict[str, Any]:
    """One set of simulations, or one training with its score, in any process that sees the folder; returns what its record says."""
    opened = open_benchmark(Path(task["run"]))
    torch.set_num_threads(1)
    return _simulate(opened, task) if task["seed"] is None else _score(opened, task)


def share(path: Path, reporter: Reporter, *, index: int, count: int) -> int:
    """What an array element does: the missing jobs in the cells index, index + count, ...; simulations first, where any are missing.

    Returns:
        Jobs done.

    Raises:
        SbiwbError: What a job failed of, noted for whoever follows the array; the others are done first.
    """
    opened, chosen, noted = open_benchmark(path), _chosen(path), note(path, index, count)
    own = [
        task
        for task in _data_tasks(opened, chosen) or _score_tasks(opened, chosen)
        if task["cell"] % count == index
    ]
    failed = _run(SerialExecutor(), own, reporter)
    if failed:
        put_failure(noted, failed[0])
        raise failed[0]
    noted.unlink(missing_ok=True)
    return len(own)


def write_scoreboard(opened: Benchmark) -> Scoreboard:
    """scores.json, scoreboard.csv, scoreboard.md and scoreboard.png of all jobs that have a score."""
    grid = list(_cells(opened.config, Selection()))
    scores = [score for cell in grid if (score := _read_score(opened, cell)) is not None]
    lines = report.scoreboard(scores)
    put_json(opened.folder / "scores.json", {"scores": [asdict(score) for score in scores]})
    put_text(opened.folder / "scoreboard.csv", report.scoreboard_csv(lines))
    put_text(opened.folder / "scoreboard.md", report.scoreboard_markdown(lines))
    if scores:
        put(opened.folder / "scoreboard.png", report.to_png(report.scoreboard_picture(scores)))
    return Scoreboard(tuple(lines), len(scores), len(grid), opened.folder)


Cell = tuple[str, int, str, int]


def _cells(config: BenchmarkConfig, chosen: Selection) -> Iterator[Cell]:
    """Small budgets first, so that a table is there early."""
    for budget, task, method, seed in itertools.product(
        chosen.budgets or config.budgets,
        chosen.tasks or config.tasks,
        chosen.methods or config.methods,
        chosen.seeds or config.seeds,
    ):
        yield task, budget, method, seed


def _data(config: BenchmarkConfig, chosen: Selection) -> Iterator[tuple[str, int]]:
    return ((task, budget) for task, budget, _, _ in _cells(config, chosen))


def _check_chosen(config: BenchmarkConfig, chosen: Selection) -> None:
    grid: dict[str, Any] = {
        "tasks": config.tasks,
        "budgets": config.budgets,
        "methods": config.methods,
        "seeds": config.seeds,
    }
    for name, known in grid.items():
        unknown = [str(one) for one in getattr(chosen, name) if one not in known]
        if unknown:
            raise RunError(
                f"no {name} {', '.join(unknown)}",
                where=config.name,
                todo=f"There are: {', '.join(map(str, known))}.",
            )


def _check_tasks(opened: Benchmark, chosen: Selection) -> None:
    """References, configs and methods, before hours are spent."""
    config = opened.config
    for task, method in itertools.product(
        chosen.tasks or config.tasks, chosen.methods or config.methods
    ):
        sets, _ = reference_sets(task, opened.references, config.observations)
        project = _project(opened, (task, config.budgets[0], method, config.seeds[0]))
        if sets[0].theta_true.size != project.prior.size:
            raise DataError(
                f"has {project.prior.size} parameters, its reference posteriors {sets[0].theta_true.size}",
                where=opened.base / config.tasks[task],
                todo="Take the references of this task.",
            )


def _write_plan(opened: Benchmark, chosen: Selection) -> None:
    """The resolved YAML into the folder, its paths absolute, and what was chosen of it: jobs elsewhere read both."""
    config = opened.config
    tasks = {name: str((opened.base / path).resolve()) for name, path in config.tasks.items()}
    references = None if opened.references is None else str(opened.references.resolve())
    text = yaml_config.dump(config.model_copy(update={"tasks": tasks, "references": references}))
    path = opened.folder / PLAN
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        put_text(path, text)
    put_json(opened.folder / CHOSEN, asdict(chosen))


def _chosen(folder: Path) -> Selection:
    """What `_write_plan` wrote; everything where there is nothing."""
    if not (folder / CHOSEN).is_file():
        return Selection()
    told = read_json(folder / CHOSEN)
    return Selection(**{field.name: tuple(told[field.name]) for field in fields(Selection)})


def _run(executor: Executor, tasks: list[dict[str, Any]], reporter: Reporter) -> list[SbiwbError]:
    """All of them; returns what some failed of. A stop is passed on at once."""
    failed: list[SbiwbError] = []
    what = "simulate" if tasks and tasks[0]["seed"] is None else "train"
    with reporter.task(what, len(tasks), unit="jobs") as ticker:
        for task, result in executor.run(work, tasks):
            if isinstance(result, Stopped):
                raise result
            if isinstance(result, SbiwbError):
                failed.append(result)
                reporter.warn(f"{Path(task['record']).parent.name}: {result}")
            else:
                score = f": C2ST {np.mean(result['c2st']):.3f}" if "c2st" in result else ""
                ticker.advance(last=Path(task["record"]).parent.name + score)
    return failed


def _data_tasks(opened: Benchmark, chosen: Selection) -> list[dict[str, Any]]:
    grid = list(dict.fromkeys(_data(opened.config, Selection())))
    wanted = set(_data(opened.config, chosen))
    found = []
    for cell, (task, budget) in enumerate(grid):
        if (task, budget) in wanted and not _is_simulated(opened, task, budget):
            found.append(
                _task(
                    opened,
                    cell,
                    _simulations(opened, task, budget) / RECORD,
                    task,
                    budget,
                    None,
                    None,
                )
            )
    return found


def _simulations(opened: Benchmark, task: str, budget: int) -> Path:
    return opened.folder / "simulations" / f"{task}-{budget}"


def _is_simulated(opened: Benchmark, task: str, budget: int) -> bool:
    """Whether the pairs that the config asks for are there."""
    record = _simulations(opened, task, budget) / RECORD
    return record.is_file() and read_json(record).get("identity") == _data_identity(
        _simulated(opened, task, budget)
    )


def _data_identity(project: Project) -> str:
    return stable_hash({"data": project.data_hash, "counts": counts(project)})


def _simulated(opened: Benchmark, task: str, budget: int) -> Project:
    """The run that holds the simulations."""
    folder = _simulations(opened, task, budget)
    settings = [*_settings(opened, task, budget), f"name={folder.name}"]
    return open_project(
        opened.base / opened.config.tasks[task], settings=settings, runs=folder.parent
    )


def _score_tasks(opened: Benchmark, chosen: Selection) -> list[dict[str, Any]]:
    """Those whose simulations are there."""
    grid = list(_cells(opened.config, Selection()))
    wanted = set(_cells(opened.config, chosen))
    return [
        _task(opened, number, _job(opened, cell) / "score.json", *cell)
        for number, cell in enumerate(grid)
        if cell in wanted and _read_score(opened, cell) is None and _is_simulated(opened, *cell[:2])
    ]


def _task(
    opened: Benchmark,
    cell: int,
    record: Path,
    task: str,
    budget: int,
    method: str | None,
    seed: int | None,
) -> dict[str, Any]:
    where = {"run": str(opened.folder.resolve()), "cell": cell, "record": str(record.resolve())}
    return {**where, "task": task, "budget": budget, "method": method, "seed": seed}


def _job(opened: Benchmark, cell: Cell) -> Path:
    task, budget, method, seed = cell
    return opened.folder / "jobs" / f"{task}-{budget}-{method}-{seed}"


def _settings(opened: Benchmark, task: str, budget: int) -> list[str]:
    validation = max(
        1, min(opened.config.most_validation, round(opened.config.validation * budget))
    )
    counts = {"train": budget - validation, "validation": validation, "test": opened.config.test}
    return [
        *(f"simulate.{name}={count}" for name, count in counts.items()),
        "machine.executor=serial",
        "machine.threads=1",
    ]


def _simulate(opened: Benchmark, task: Mapping[str, Any]) -> dict[str, Any]:
    project, start = _simulated(opened, task["task"], task["budget"]), time.perf_counter()
    simulate(project, Silent())
    found = {"identity": _data_identity(project), "seconds": time.perf_counter() - start}
    put_json(project.run.path / RECORD, found)
    return found


def _project(opened: Benchmark, cell: Cell) -> Project:
    """The run of one job, on the shards that it shares."""
    task, budget, method, seed = cell
    chosen = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}"
        for key, value in opened.config.methods[method].items()
    ]
    data = _simulations(opened, task, budget).resolve()
    own = [f"name={_job(opened, cell).name}", f"simulate.from={data}", f"train.seed={seed}"]
    settings = [
        *_settings(opened, task, budget),
        *(one.removesuffix("\n...") for one in chosen),
        *own,
    ]
    return open_project(
        opened.base / opened.config.tasks[task], settings=settings, runs=opened.folder / "jobs"
    )


def _identity(opened: Benchmark, project: Project, references: str) -> str:
    """Of all that decides a score."""
    asked = {name: getattr(opened.config, name) for name in ("draws", "observations", "test")}
    return stable_hash(
        {"model": project.model_hash, "references": references, "seed": C2ST_SEED, **asked}
    )


def _read_score(opened: Benchmark, cell: Cell) -> report.Score | None:
    """The score of a job, unless it is of another model, other references, or is not there."""
    path = _job(opened, cell) / "score.json"
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        _, references = reference_sets(cell[0], opened.references, opened.config.observations)
    except DataError:  # of a task that is not asked for; those asked for were looked at before
        return None
    if found.get("identity") != _identity(opened, _project(opened, cell), references):
        return None
    return report.Score(*cell, tuple(found["c2st"]), found["nlpd"], found["seconds"])


def _score(opened: Benchmark, task: Mapping[str, Any]) -> dict[str, Any]:
    cell: Cell = (task["task"], task["budget"], task["method"], task["seed"])
    project = _project(opened, cell)
    sets, references = reference_sets(cell[0], opened.references, opened.config.observations)
    identity, observed = _identity(opened, project, references), _observed(project, sets)
    seconds = {"train": _trained(project)}
    posterior = posterior_of(project, Silent())
    start = time.perf_counter()
    draws = posterior.sample(observed, opened.config.draws, generator(task["seed"], "sample"))
    seconds["draws"] = time.perf_counter() - start
    start = time.perf_counter()
    count = min(opened.config.draws, *(len(one.draws) for one in sets))
    scores = distances.c2st_many(
        [(one.draws[:count], own[:count]) for one, own in zip(sets, draws, strict=True)],
        seed=C2ST_SEED,
    )
    seconds["c2st"] = time.perf_counter() - start
    found = {
        "identity": identity,
        **dict(zip(("task", "budget", "method", "seed"), cell, strict=True)),
        "observations": [one.number for one in sets],
        "c2st": [float(score) for score in scores],
        "nlpd": _nlpd(project, posterior),
        "seconds": {**seconds, "simulate": read_json(project.data_run.path / RECORD)["seconds"]},
    }
    put_provenance(
        project.run.path, seconds=sum(seconds.values()), facts={"versions": json.dumps(versions())}
    )
    put_json(_job(opened, cell) / "score.json", found)
    return found


def _trained(project: Project) -> float:
    """Trains, or goes on; the wall time of the start that ended it. A training of another model is set aside."""
    start = time.perf_counter()
    before, _ = newest(project.run.train)
    train(
        project,
        Silent(),
        fresh=before is not None
        and CheckpointFacts.of(before, project.run.train).model_hash != project.model_hash,
    )
    told = project.run.train / "provenance.json"
    return float(read_json(told)["seconds"]) if told.is_file() else time.perf_counter() - start


def _observed(project: Project, sets: Sequence[ReferenceSet]) -> dict[str, Variable]:
    """All observations of a task as data sets of its only observable.

    Raises:
        DataError: The task has several observables, or the sizes do not fit.
    """
    layout = from_json(read_json(project.data_run.plan)["layout"])
    if len(layout) != 1 or project.context or any(one.ragged for one in layout.values()):
        raise DataError(
            f"has the variables {', '.join([*layout, *project.context])}, and reference posteriors hold one array x of one size",
            where=project.source.path,
            todo="Return one array of one size from the simulator.",
        )
    ((name, one),) = layout.items()
    size = int(np.prod(one.shape))
    wrong = [
        each for each in sets if (each.x.size, each.theta_true.size) != (size, project.prior.size)
    ]
    if wrong:
        raise DataError(
            f"takes {size} numbers for {project.prior.size} parameters; references have {wrong[0].x.size} for {wrong[0].theta_true.size}",
            where=project.source.path,
            todo="Take the references of this task.",
        )
    return {name: np.stack([each.x.reshape(one.shape) for each in sets])}


def _nlpd(project: Project, posterior: Posterior) -> float | None:
    if posterior.output_kind != OutputKind.JOINT:
        return None
    pairs = load_split(project, "test")
    return float(-posterior.log_prob(project.prior.stack(pairs.theta), pairs.variables).mean())
