"""The verb `benchmark`: a grid of trainings (task x budget x method x seed) as resumable jobs, each scored by C2ST against references.

Every job is a run folder with a `score.json`; a job whose score is there and is of the same model, references and draws is not done again,
and a training that was stopped goes on. Trainings on the same task and budget share their simulations.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sbiwb import config as yaml_config
from sbiwb import distances, report
from sbiwb.config import BenchmarkConfig
from sbiwb.contracts import Reporter
from sbiwb.errors import DataError, RunError, SbiwbError
from sbiwb.files import put, put_json, put_text, read_json, stable_hash
from sbiwb.posterior import Posterior
from sbiwb.records import Variable
from sbiwb.rundir import put_provenance, versions
from sbiwb.seeds import generator
from sbiwb.simulation.layout import from_json
from sbiwb.stopping import raised
from sbiwb.workflow.posterior import posterior_of
from sbiwb.workflow.project import Project, open_project
from sbiwb.workflow.reference_sets import ReferenceSet, reference_sets
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import Silent, train
from sbiwb.workflow.trainer import load_split

PLAN = "benchmark.yaml"
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
class Chosen:
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


def open_benchmark(path: Path, *, settings: Sequence[str] = (), references: Path | None = None, runs: Path = Path("runs")) -> Benchmark:
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


def benchmark(opened: Benchmark, reporter: Reporter, chosen: Chosen = Chosen()) -> Scoreboard:
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
    with raised():
        for name in chosen.tasks or opened.config.tasks:
            reference_sets(name, opened.references, opened.config.observations)  # fails before hours are spent
        _write_plan(opened)
        executor = opened.config.build_executor()
        reporter.say(
            f"{len(list(_cells(opened.config, chosen)))} trainings on {len(set(_data(opened.config, chosen)))} sets of simulations."
        )
        try:
            for phase in (_data_tasks(opened, chosen), _score_tasks(opened, chosen)):
                _run(executor, phase, reporter)
        finally:
            board = write_scoreboard(opened)
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
    """
    opened = open_benchmark(path)
    tasks = _data_tasks(opened, Chosen()) or _score_tasks(opened, Chosen())
    own = [task for task in tasks if task["cell"] % count == index]
    for task in own:
        work(task)
    return len(own)


def write_scoreboard(opened: Benchmark) -> Scoreboard:
    """scores.json, scoreboard.csv, scoreboard.md and scoreboard.png of all jobs that have a score."""
    grid = list(_cells(opened.config, Chosen()))
    scores = [score for cell in grid if (score := _read_score(opened, cell)) is not None]
    lines = report.scoreboard(scores)
    put_json(opened.folder / "scores.json", {"scores": [asdict(score) for score in scores]})
    put_text(opened.folder / "scoreboard.csv", report.scoreboard_csv(lines))
    put_text(opened.folder / "scoreboard.md", report.scoreboard_markdown(lines))
    if scores:
        put(opened.folder / "scoreboard.png", report.to_png(report.scoreboard_picture(scores)))
    return Scoreboard(tuple(lines), len(scores), len(grid), opened.folder)


Cell = tuple[str, int, str, int]


def _cells(config: BenchmarkConfig, chosen: Chosen) -> Iterator[Cell]:
    """Small budgets first, so that a table is there early."""
    for budget, task, method, seed in itertools.product(
        chosen.budgets or config.budgets, chosen.tasks or config.tasks, chosen.methods or config.methods, chosen.seeds or config.seeds
    ):
        yield task, budget, method, seed


def _data(config: BenchmarkConfig, chosen: Chosen) -> Iterator[tuple[str, int]]:
    return ((task, budget) for task, budget, _, _ in _cells(config, chosen))


def _check_chosen(config: BenchmarkConfig, chosen: Chosen) -> None:
    grid: dict[str, Any] = {"tasks": config.tasks, "budgets": config.budgets, "methods": config.methods, "seeds": config.seeds}
    for name, known in grid.items():
        unknown = [str(one) for one in getattr(chosen, name) if one not in known]
        if unknown:
            raise RunError(f"no {name} {', '.join(unknown)}", where=config.name, todo=f"There are: {', '.join(map(str, known))}.")


def _write_plan(opened: Benchmark) -> None:
    """The resolved YAML into the folder, its paths absolute: jobs elsewhere read it."""
    config = opened.config
    tasks = {name: str((opened.base / path).resolve()) for name, path in config.tasks.items()}
    references = None if opened.references is None else str(opened.references.resolve())
    text = yaml_config.dump(config.model_copy(update={"tasks": tasks, "references": references}))
    path = opened.folder / PLAN
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        put_text(path, text)


def _run(executor: Any, tasks: list[dict[str, Any]], reporter: Reporter) -> None:
    """All of them; the first failure is raised when the others are done."""
    failed: list[SbiwbError] = []
    what = "simulate" if tasks and tasks[0]["seed"] is None else "train"
    with reporter.task(what, len(tasks), unit="jobs") as ticker:
        for task, result in executor.run(work, tasks):
            if isinstance(result, SbiwbError):
                failed.append(result)
                reporter.warn(f"{Path(task['record']).parent.name}: {result}")
            else:
                score = f": C2ST {np.mean(result['c2st']):.3f}" if "c2st" in result else ""
                ticker.advance(last=Path(task["record"]).parent.name + score)
    if failed:
        raise failed[0]


def _data_tasks(opened: Benchmark, chosen: Chosen) -> list[dict[str, Any]]:
    grid = list(dict.fromkeys(_data(opened.config, Chosen())))
    wanted = set(_data(opened.config, chosen))
    found = []
    for cell, (task, budget) in enumerate(grid):
        record = opened.folder / "simulations" / f"{task}-{budget}" / "benchmark.json"
        if (task, budget) in wanted and not record.is_file():
            found.append(_task(opened, cell, record, task, budget, None, None))
    return found


def _score_tasks(opened: Benchmark, chosen: Chosen) -> list[dict[str, Any]]:
    grid = list(_cells(opened.config, Chosen()))
    wanted = set(_cells(opened.config, chosen))
    return [
        _task(opened, number, _job(opened, cell) / "score.json", *cell)
        for number, cell in enumerate(grid)
        if cell in wanted and _read_score(opened, cell) is None
    ]


def _task(opened: Benchmark, cell: int, record: Path, task: str, budget: int, method: str | None, seed: int | None) -> dict[str, Any]:
    where = {"run": str(opened.folder.resolve()), "cell": cell, "record": str(record.resolve())}
    return {**where, "task": task, "budget": budget, "method": method, "seed": seed}


def _job(opened: Benchmark, cell: Cell) -> Path:
    task, budget, method, seed = cell
    return opened.folder / "jobs" / f"{task}-{budget}-{method}-{seed}"


def _settings(opened: Benchmark, task: str, budget: int) -> list[str]:
    validation = max(1, round(opened.config.validation * budget))
    counts = {"train": budget - validation, "validation": validation, "test": opened.config.test}
    return [*(f"simulate.{name}={count}" for name, count in counts.items()), "machine.executor=serial", "machine.threads=1"]


def _simulate(opened: Benchmark, task: Mapping[str, Any]) -> dict[str, Any]:
    folder, name = opened.folder / "simulations", f"{task['task']}-{task['budget']}"
    settings = [*_settings(opened, task["task"], task["budget"]), f"name={name}"]
    project = open_project(opened.base / opened.config.tasks[task["task"]], settings=settings, runs=folder)
    start = time.perf_counter()
    simulate(project, Silent())
    found = {"seconds": time.perf_counter() - start}
    put_json(folder / name / "benchmark.json", found)
    return found


def _project(opened: Benchmark, cell: Cell) -> Project:
    """The run of one job, on the shards that it shares."""
    task, budget, method, seed = cell
    chosen = [f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}" for key, value in opened.config.methods[method].items()]
    data = (opened.folder / "simulations" / f"{task}-{budget}").resolve()
    own = [f"name={_job(opened, cell).name}", f"simulate.from={data}", f"train.seed={seed}"]
    settings = [*_settings(opened, task, budget), *(one.removesuffix("\n...") for one in chosen), *own]
    return open_project(opened.base / opened.config.tasks[task], settings=settings, runs=opened.folder / "jobs")


def _identity(opened: Benchmark, cell: Cell, references: str) -> str:
    """Of all that decides a score."""
    project = _project(opened, cell)
    return stable_hash({"model": project.model_hash, "references": references, "draws": opened.config.draws, "seed": C2ST_SEED})


def _read_score(opened: Benchmark, cell: Cell) -> report.Score | None:
    """The score of a job, unless it is of another model, other references, or is not there."""
    path = _job(opened, cell) / "score.json"
    if not path.is_file():
        return None
    found = read_json(path)
    references = reference_sets(cell[0], opened.references, opened.config.observations)[1]
    if found["identity"] != _identity(opened, cell, references):
        return None
    return report.Score(*cell, tuple(found["c2st"]), found["nlpd"], found["seconds"])


def _score(opened: Benchmark, task: Mapping[str, Any]) -> dict[str, Any]:
    cell: Cell = (task["task"], task["budget"], task["method"], task["seed"])
    project = _project(opened, cell)
    sets, references = reference_sets(cell[0], opened.references, opened.config.observations)
    seconds = {"train": _trained(project)}
    posterior = posterior_of(project, Silent())
    start = time.perf_counter()
    draws = posterior.sample(_observed(project, sets), opened.config.draws, generator(task["seed"], "sample"))
    seconds["draws"] = time.perf_counter() - start
    start = time.perf_counter()
    count = min(opened.config.draws, *(len(one.draws) for one in sets))
    scores = distances.c2st_many([(one.draws[:count], own[:count]) for one, own in zip(sets, draws, strict=True)], seed=C2ST_SEED)
    seconds["c2st"] = time.perf_counter() - start
    found = {
        "identity": _identity(opened, cell, references),
        **dict(zip(("task", "budget", "method", "seed"), cell, strict=True)),
        "observations": [one.number for one in sets],
        "c2st": [float(score) for score in scores],
        "nlpd": _nlpd(project, posterior),
        "seconds": {**seconds, "simulate": read_json(project.data_run.path / "benchmark.json")["seconds"]},
    }
    put_provenance(project.run.path, seconds=sum(seconds.values()), facts={"versions": json.dumps(versions())})
    put_json(_job(opened, cell) / "score.json", found)
    return found


def _trained(project: Project) -> float:
    """Trains; the wall time, all starts of a resumed training together as far as they are known."""
    start = time.perf_counter()
    train(project, Silent())
    told = project.run.train / "provenance.json"
    return float(read_json(told)["seconds"]) if told.is_file() else time.perf_counter() - start


def _observed(project: Project, sets: Sequence[ReferenceSet]) -> dict[str, Variable]:
    """All observations of a task as data sets of its only observable.

    Raises:
        DataError: The task has several observables, or the sizes do not fit.
    """
    layout = from_json(read_json(project.data_run.plan)["layout"])
    if len(layout) != 1 or project.context:
        raise DataError(
            f"has the variables {', '.join([*layout, *project.context])}, and reference posteriors hold one array x",
            where=project.source.path,
            todo="Return one array from the simulator.",
        )
    ((name, one),) = layout.items()
    size = int(np.prod(one.shape))
    wrong = [each for each in sets if (each.x.size, each.theta_true.size) != (size, project.prior.size)]
    if wrong:
        raise DataError(
            f"takes {size} numbers for {project.prior.size} parameters; references have {wrong[0].x.size} for {wrong[0].theta_true.size}",
            where=project.source.path,
            todo="Take the references of this task.",
        )
    return {name: np.stack([each.x.reshape(one.shape) for each in sets])}


def _nlpd(project: Project, posterior: Posterior) -> float | None:
    if posterior.gives != "joint":
        return None
    pairs = load_split(project, "test")
    return float(-posterior.log_prob(project.prior.stack(pairs.theta), pairs.variables).mean())
