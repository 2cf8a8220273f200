"""The verb `benchmark`: a grid of trainings, each scored by C2ST against reference posteriors.

Every job is a run folder with a `score.json`; a job whose score is there and is of the same model,
references and draws is not done again, and a training that was stopped goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from sbiwb import report
from sbiwb.contracts import Executor, Reporter, Silent
from sbiwb.errors import SbiwbError, Stopped
from sbiwb.executors.serial import SerialExecutor
from sbiwb.executors.slurm import note, put_failure
from sbiwb.files import put, put_json, put_text, read_typed
from sbiwb.project.trained import posterior_of
from sbiwb.rundir import put_provenance, versions
from sbiwb.steps.exact import grid, job_scores
from sbiwb.steps.exact.grid import (
    EVERYTHING,
    PLAN,
    Benchmark,
    BenchmarkJob,
    ScoreRecord,
    Selection,
    SharedSimulations,
    SimulationRecord,
    open_benchmark,
)
from sbiwb.steps.exact.reference_posteriors import reference_sets
from sbiwb.stopping import raise_on_signal
from sbiwb.workflow import simulate
from sbiwb.workflow.benchmark_run import BenchmarkRun
from sbiwb.workflow.train_choices import complete

__all__ = [
    "PLAN",
    "Benchmark",
    "Scoreboard",
    "Selection",
    "benchmark",
    "open_benchmark",
    "share",
    "work",
    "write_scoreboard",
]
T = TypeVar("T")
JobTask = dict[str, object]
"""A job, or simulations that jobs share (`method` and `seed` None), as JSON."""


@dataclass(frozen=True)
class Scoreboard:
    """What a benchmark has found so far.

    Args:
        lines: A task, budget and method each.
        done: Jobs of the grid with a score.
        jobs: Jobs of the whole grid.
        folder: Where the tables and the picture are.
        published: Published numbers beside ours, a table a classifier.
        seconds: What each score takes for one training, by name.
    """

    lines: tuple[report.Line, ...]
    done: int
    jobs: int
    folder: Path
    published: tuple[report.PublishedTable, ...]
    seconds: Mapping[str, float]


def benchmark(
    opened: Benchmark, reporter: Reporter, selection: Selection = EVERYTHING
) -> Scoreboard:
    """Trains and scores what is not scored yet, and writes the scoreboard.

    Args:
        opened: The benchmark.
        reporter: Where progress goes.
        selection: Part of the grid.

    Raises:
        DataError: A task has no reference posteriors, or they do not fit it.
        RunError: A name that is not in the grid.
        SbiwbError: What a job failed of; the others are done first.
    """
    config = opened.config
    grid.check_selection(config, selection)
    with raise_on_signal():
        grid.check_tasks(opened, selection)
        grid.write_plan(opened, selection)
        executor = config.executor.build(config.cluster)
        trainings, shared = list(grid.jobs(config, selection)), grid.simulations(config, selection)
        reporter.say(f"{len(trainings)} trainings on {len(shared)} sets of simulations.")
        for sentence in filter(None, (job_scores.left_out(config), _added(opened, trainings))):
            reporter.say(sentence)
        try:
            failures = _run(executor, _missing_simulations(opened, selection), reporter)
            failures += _run(executor, _missing_scores(opened, selection), reporter)
        finally:
            scoreboard = write_scoreboard(opened)
    if failures:
        raise failures[0]
    return scoreboard


def work(task: JobTask) -> dict[str, object]:
    """One set of simulations, or one training with its score, in any process.

    Returns:
        What its record says.
    """
    opened = open_benchmark(Path(str(task["run"])))
    torch.set_num_threads(1)
    name, budget = str(task["task"]), int(str(task["budget"]))
    if task["method"] is None:
        return asdict(_simulate(opened, SharedSimulations(name, budget)))
    job = BenchmarkJob(name, budget, str(task["method"]), int(str(task["seed"])))
    return asdict(_score(opened, job))


def share(path: Path, reporter: Reporter, *, index: int, count: int) -> int:
    """What an array element does: every `count`-th of the missing jobs, simulations first.

    Returns:
        Jobs done.

    Raises:
        SbiwbError: What a job failed of, noted for whoever follows the array; the others are done
            first.
    """
    opened = open_benchmark(path)
    selection, noted = grid.read_selection(opened), note(path, index, count)
    tasks = _missing_simulations(opened, selection) or _missing_scores(opened, selection)
    own = [task for task in tasks if int(str(task["cell"])) % count == index]
    failures = _run(SerialExecutor(), own, reporter)
    if failures:
        put_failure(noted, failures[0])
        raise failures[0]
    noted.unlink(missing_ok=True)
    return len(own)


def write_scoreboard(opened: Benchmark) -> Scoreboard:
    """scores.json, scoreboard.csv, scoreboard.md and scoreboard.png of all jobs with a score."""
    whole = list(grid.jobs(opened.config))
    scores = []
    for job in whole:
        score = grid.read_score(opened, job)
        if score is not None:
            scores.append(score)
    lines, folder = report.scoreboard(scores), opened.folder
    put_json(folder / "scores.json", {"scores": [asdict(score) for score in scores]})
    put_text(folder / "scoreboard.csv", report.scoreboard_csv(lines))
    put_text(folder / "scoreboard.md", report.scoreboard_markdown(lines))
    if scores:
        put(folder / "scoreboard.png", report.to_png(report.scoreboard_picture(scores)))
    published = report.published_tables(lines)
    seconds = job_scores.mean_seconds(scores)
    return Scoreboard(tuple(lines), len(scores), len(whole), folder, published, seconds)


def _added(opened: Benchmark, trainings: Sequence[BenchmarkJob]) -> str:
    """Which scores are added to trainings scored before, in words; empty where none are."""
    added: dict[str, int] = {}
    for job in trainings:
        score = grid.read_score(opened, job)
        for name in job_scores.lacking(opened.config, score) if score else ():
            added[name] = added.get(name, 0) + 1
    if not added:
        return ""
    what = ", ".join(f"{name} to {count}" for name, count in added.items())
    return f"To trainings that were scored before without, scores are added: {what}."


def _is_scored(opened: Benchmark, job: BenchmarkJob) -> bool:
    score = grid.read_score(opened, job)
    return score is not None and not job_scores.lacking(opened.config, score)


def _run(executor: Executor, tasks: list[JobTask], reporter: Reporter) -> list[SbiwbError]:
    """All of them; returns what some failed of. A stop is passed on at once."""
    failures: list[SbiwbError] = []
    trains = any(task["method"] is not None for task in tasks)
    with reporter.task("train" if trains else "simulate", len(tasks), unit="jobs") as ticker:
        for task, result in executor.run(work, tasks):
            name = Path(str(task["record"])).parent.name
            if isinstance(result, Stopped):
                raise result
            if isinstance(result, SbiwbError):
                failures.append(result)
                reporter.warn(f"{name}: {result}")
            elif isinstance(result, Exception):
                raise result
            else:
                ticker.advance(last=name + _score_in_words(result))
    return failures


def _score_in_words(record: Mapping[str, object]) -> str:
    scores = record.get("c2st")
    return f": C2ST {np.mean(scores):.3f}" if isinstance(scores, list) else ""


def _missing_simulations(opened: Benchmark, selection: Selection) -> list[JobTask]:
    selected, tasks = grid.simulations(opened.config, selection), []
    for cell, shared in enumerate(grid.simulations(opened.config)):
        if shared in selected and not grid.is_simulated(opened, shared):
            where = _place(opened, cell, opened.simulations_record(shared))
            tasks.append({**where, **shared._asdict(), "method": None, "seed": None})
    return tasks


def _missing_scores(opened: Benchmark, selection: Selection) -> list[JobTask]:
    """Those whose simulations are there."""
    selected, tasks = set(grid.jobs(opened.config, selection)), []
    for cell, job in enumerate(grid.jobs(opened.config)):
        if job not in selected or _is_scored(opened, job):
            continue
        if grid.is_simulated(opened, SharedSimulations(job.task, job.budget)):
            where = _place(opened, cell, opened.score_record(job))
            tasks.append({**where, **job._asdict()})
    return tasks


def _place(opened: Benchmark, cell: int, record: Path) -> JobTask:
    return {"run": str(opened.folder.resolve()), "cell": cell, "record": str(record.resolve())}


def _simulate(opened: Benchmark, shared: SharedSimulations) -> SimulationRecord:
    project, start = grid.simulations_project(opened, shared), time.perf_counter()
    simulate.simulate(project, Silent())
    identity = grid.simulations_identity(project.config.simulate, project.data_hash)
    record = SimulationRecord(identity, time.perf_counter() - start)
    put_json(opened.simulations_record(shared), asdict(record))
    return record


def _score(opened: Benchmark, job: BenchmarkJob) -> ScoreRecord:
    config, project = opened.config, complete(grid.job_project(opened, job), Silent())
    scored = BenchmarkRun(project)
    sets, references = reference_sets(job.task, opened.references, config.observations)
    identity = grid.score_identity(config, project, references)
    observed = scored.observed(sets)
    simulated = opened.simulations_record(SharedSimulations(job.task, job.budget))
    seconds = {"train": scored.train()}
    posterior = posterior_of(project, Silent())
    seconds |= scored.train_likelihoods()
    draws, seconds["draws"] = _timed(
        lambda: scored.draws(posterior, observed, config.draws, job.seed)
    )
    pairs, before = job_scores.pairs_of(sets, draws, config.draws), grid.read_score(opened, job)
    scores = job_scores.judge(pairs, job_scores.wanted(config), before)
    seconds |= scores.seconds
    put_provenance(
        project.run.path, seconds=sum(seconds.values()), facts={"versions": json.dumps(versions())}
    )
    seconds["simulate"] = read_typed(SimulationRecord, simulated).seconds
    record = ScoreRecord(
        identity,
        *job,
        observations=[reference.number for reference in sets],
        c2st=scores.c2st,
        nlpd=scored.nlpd(posterior),
        seconds=seconds,
        further=scores.further,
    )
    put_json(opened.score_record(job), asdict(record))
    return record


def _timed(compute: Callable[[], T]) -> tuple[T, float]:
    """A result, and the seconds it took."""
    start = time.perf_counter()
    result = compute()
    return result, time.perf_counter() - start
