"""The grid of a benchmark: which trainings it has, the run folder of each, and what its score was
made of.

A job is one training on one task, budget, method and seed; jobs on the same task and budget share
their simulations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml

from sbiwb import config as yaml_config
from sbiwb import report
from sbiwb.config import BenchmarkConfig
from sbiwb.config.model import Simulate
from sbiwb.errors import DataError, RunError
from sbiwb.files import put_json, put_text, read_typed, stable_hash
from sbiwb.project.likelihoods import likelihood_identity
from sbiwb.project.opening import open_project
from sbiwb.project.project import Project
from sbiwb.steps.exact.reference_posteriors import reference_sets

PLAN = "benchmark.yaml"
C2ST_SEED = 1


class BenchmarkJob(NamedTuple):
    """One training."""

    task: str
    budget: int
    method: str
    seed: int

    @property
    def folder_name(self) -> str:
        return f"{self.task}-{self.budget}-{self.method}-{self.seed}"


class SharedSimulations(NamedTuple):
    """The pairs that jobs on one task and budget share."""

    task: str
    budget: int

    @property
    def folder_name(self) -> str:
        return f"{self.task}-{self.budget}"


@dataclass(frozen=True)
class Selection:
    """Which part of the grid is done; empty means all of it."""

    tasks: tuple[str, ...] = ()
    budgets: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


EVERYTHING = Selection()


@dataclass(frozen=True)
class SimulationRecord:
    """What is noted of simulated pairs.

    Args:
        identity: Hash of the problem and the counts.
        seconds: Wall time.
    """

    identity: str
    seconds: float


@dataclass(frozen=True)
class ScoreRecord:
    """What is noted of a job.

    Args:
        identity: Hash of all that decides the score.
        task: Of the job, and so on.
        observations: Numbers of the observations, from 1.
        c2st: The score on each.
        nlpd: -mean log q(theta | x) of fresh pairs, in nats; None where there is no density.
        seconds: Wall time of each step.
        further: Other scores by name, on each observation; empty in records of before there were
            any.
    """

    identity: str
    task: str
    budget: int
    method: str
    seed: int
    observations: list[int]
    c2st: list[float]
    nlpd: float | None
    seconds: dict[str, float]
    further: dict[str, list[float]] = field(default_factory=dict)


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
        """The folder of reference posteriors; None for those of the package sbibm."""
        if self.config.references is None:
            return None
        return self.base / self.config.references

    def simulations_record(self, wanted: SharedSimulations) -> Path:
        return self.folder / "simulations" / wanted.folder_name / "benchmark.json"

    def score_record(self, job: BenchmarkJob) -> Path:
        return self.folder / "jobs" / job.folder_name / "score.json"

    @property
    def selection_record(self) -> Path:
        return self.folder / "chosen.json"


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
    is_folder = path.is_dir()
    file = path / PLAN if is_folder else path
    config = yaml_config.load_benchmark(file, settings)
    if references is not None:
        config = config.model_copy(update={"references": str(references.resolve())})
    folder = path if is_folder else runs / config.name
    return Benchmark(config, file.parent.resolve(), folder)


def jobs(config: BenchmarkConfig, selection: Selection = EVERYTHING) -> Iterator[BenchmarkJob]:
    """Small budgets first, so that a table is there early."""
    for budget, task, method, seed in itertools.product(
        selection.budgets or config.budgets,
        selection.tasks or config.tasks,
        selection.methods or config.methods,
        selection.seeds or config.seeds,
    ):
        yield BenchmarkJob(task, budget, method, seed)


def simulations(
    config: BenchmarkConfig, selection: Selection = EVERYTHING
) -> tuple[SharedSimulations, ...]:
    """What the jobs share, each once, in their order."""
    wanted = (SharedSimulations(job.task, job.budget) for job in jobs(config, selection))
    return tuple(dict.fromkeys(wanted))


def check_selection(config: BenchmarkConfig, selection: Selection) -> None:
    """Whether all that is selected is in the grid.

    Raises:
        RunError: A name that is not.
    """
    _check_known(config.name, "tasks", selection.tasks, config.tasks)
    _check_known(config.name, "budgets", selection.budgets, config.budgets)
    _check_known(config.name, "methods", selection.methods, config.methods)
    _check_known(config.name, "seeds", selection.seeds, config.seeds)


def check_tasks(benchmark: Benchmark, selection: Selection) -> None:
    """Reads references, configs and methods, before hours are spent.

    Raises:
        ConfigErrors: A method does not fit a task.
        DataError: A task has no reference posteriors, or they have other parameters.
    """
    config = benchmark.config
    tasks = selection.tasks or tuple(config.tasks)
    methods = selection.methods or tuple(config.methods)
    for task, method in itertools.product(tasks, methods):
        sets, _ = reference_sets(task, benchmark.references, config.observations)
        project = job_project(
            benchmark, BenchmarkJob(task, config.budgets[0], method, config.seeds[0])
        )
        if sets[0].theta_true.size != project.prior.size:
            raise DataError(
                f"has {project.prior.size} parameters, "
                f"its reference posteriors {sets[0].theta_true.size}",
                where=benchmark.base / config.tasks[task],
                todo="Take the references of this task.",
            )


def _check_known(
    where: str, what: str, asked: Sequence[object], listed: Sequence[object] | Mapping[str, object]
) -> None:
    unknown = [str(item) for item in asked if item not in listed]
    if unknown:
        raise RunError(
            f"no {what} {', '.join(unknown)}",
            where=where,
            todo=f"There are: {', '.join(map(str, listed))}.",
        )


def write_plan(benchmark: Benchmark, selection: Selection) -> None:
    """The resolved YAML, its paths absolute, and the selection: jobs elsewhere read both."""
    config = benchmark.config
    base, references = benchmark.base, benchmark.references
    tasks = {name: str((base / path).resolve()) for name, path in config.tasks.items()}
    absolute = {
        "tasks": tasks,
        "references": None if references is None else str(references.resolve()),
    }
    text = yaml_config.dump(config.model_copy(update=absolute))
    path = benchmark.folder / PLAN
    if not path.is_file() or path.read_bytes() != text.encode():
        put_text(path, text)
    put_json(benchmark.selection_record, asdict(selection))


def read_selection(benchmark: Benchmark) -> Selection:
    """What `write_plan` wrote; everything where there is nothing."""
    if not benchmark.selection_record.is_file():
        return Selection()
    return read_typed(Selection, benchmark.selection_record)


def simulations_project(benchmark: Benchmark, wanted: SharedSimulations) -> Project:
    """The run that holds the simulations."""
    settings = [*_settings(benchmark, wanted.budget), f"name={wanted.folder_name}"]
    config = benchmark.base / benchmark.config.tasks[wanted.task]
    return open_project(config, settings=settings, runs=benchmark.folder / "simulations")


def job_project(benchmark: Benchmark, job: BenchmarkJob) -> Project:
    """The run of one job, on the shards that it shares."""
    shared = SharedSimulations(job.task, job.budget)
    data = benchmark.simulations_record(shared).parent.resolve()
    settings = _settings(benchmark, job.budget)
    for key, value in benchmark.config.methods[job.method].items():
        text = yaml.safe_dump(value, default_flow_style=True).strip()
        settings.append(f"{key}={text.removesuffix('...').rstrip()}")
    settings += [f"name={job.folder_name}", f"simulate.from={data}", f"train.seed={job.seed}"]
    config = benchmark.base / benchmark.config.tasks[job.task]
    return open_project(config, settings=settings, runs=benchmark.folder / "jobs")


def _settings(benchmark: Benchmark, budget: int) -> list[str]:
    config = benchmark.config
    validation = max(1, min(config.most_validation, round(config.validation * budget)))
    return [
        f"simulate.train={budget - validation}",
        f"simulate.validation={validation}",
        f"simulate.test={config.test}",
        "machine.executor=serial",
        "machine.threads=1",
    ]


def simulations_identity(simulate: Simulate, data_hash: str) -> str:
    """Hash of the problem and the counts."""
    counts = {"train": simulate.train, "validation": simulate.validation, "test": simulate.test}
    return stable_hash({"data": data_hash, "counts": counts})


def is_simulated(benchmark: Benchmark, wanted: SharedSimulations) -> bool:
    """Whether the pairs that the config asks for are there."""
    path = benchmark.simulations_record(wanted)
    if not path.is_file():
        return False
    record = read_typed(SimulationRecord, path)
    project = simulations_project(benchmark, wanted)
    return record.identity == simulations_identity(project.config.simulate, project.data_hash)


def score_identity(config: BenchmarkConfig, project: Project, references: str) -> str:
    """Hash of all that decides a score.

    Args:
        config: The benchmark.
        project: Of the job, its model complete.
        references: Hash of the reference posteriors.
    """
    decisive: dict[str, object] = {
        "model": project.model_hash,
        "references": references,
        "seed": C2ST_SEED,
        "draws": config.draws,
        "observations": config.observations,
        "test": config.test,
    }
    likelihoods = likelihood_identity(project.config)
    if likelihoods:
        decisive["likelihoods"] = likelihoods
    return stable_hash(decisive)


def read_score(benchmark: Benchmark, job: BenchmarkJob) -> report.Score | None:
    """The score of a job; None where it is not there, or of another model or other references."""
    path = benchmark.score_record(job)
    if not path.is_file():
        return None
    record = read_typed(ScoreRecord, path)
    config = benchmark.config
    try:
        _, references = reference_sets(job.task, benchmark.references, config.observations)
    except DataError:  # of a task that is not asked for; those asked for were looked at before
        return None
    if record.identity != score_identity(config, job_project(benchmark, job), references):
        return None
    c2st, further = tuple(record.c2st), {name: tuple(on) for name, on in record.further.items()}
    return report.Score(*job, c2st, record.nlpd, record.seconds, further)
