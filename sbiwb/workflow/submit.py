"""The verb `submit`: the steps of a run as batch jobs of SLURM, each waiting for the one before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbiwb.contracts import Reporter
from sbiwb.errors import RunError
from sbiwb.executors import STEPS, Cluster, Job, JobCommand, Step, job_name, script, slurm
from sbiwb.files import put_json, read_json
from sbiwb.project.opening import write_config
from sbiwb.project.project import Project
from sbiwb.rundir import RunDir
from sbiwb.steps.pairs.prepare import borrow, cells, prepare
from sbiwb.steps.pairs.tasks import missing_tasks
from sbiwb.workflow.worker import plan_of


@dataclass(frozen=True)
class Submitted:
    """One job.

    Args:
        step: Its step.
        script: Its batch script.
        id: Its number in the queue; empty where it was not submitted.
        after: What it waits for, as sbatch says it; empty for the first.
        elements: Of its array; 0: no array.
        text: The script's text.
    """

    step: Step
    script: Path
    id: str
    after: str
    elements: int
    text: str


def submit(
    project: Project, reporter: Reporter, *, what: str = "all", dry_run: bool = False
) -> list[Submitted]:
    """Writes the batch scripts into the run folder, and submits them one after the other.

    Args:
        project: The run.
        reporter: Where progress goes.
        what: A step, or `all`.
        dry_run: Whether nothing is written or submitted.

    Raises:
        RunError: Unknown step, no SLURM here, or jobs of this run are in the queue already.
    """
    if what not in (*STEPS, "all"):
        raise RunError(
            f"no step '{what}'", where="sbiwb submit", todo=f"One of: {', '.join((*STEPS, 'all'))}."
        )
    cluster = project.config.machine.cluster
    if dry_run:
        return _chain(
            project, _jobs(project, what, _guessed_array(project, cluster)), cluster, submit=False
        )
    _check_queue(project.run)
    array = _array(project, cluster, reporter) if what in ("simulate", "all") else ((), 1)
    write_config(project)
    return _chain(project, _jobs(project, what, array), cluster, submit=True)


Array = tuple[
    Sequence[int], int
]  # elements with something to do, and elements among which all cells are dealt out


def _array(project: Project, cluster: Cluster, reporter: Reporter) -> Array:
    """The array that simulates what is missing, after a preflight where there is no plan yet."""
    if project.data_run.path != project.run.path:
        borrow(project, reporter)
        return (), 1
    plan = prepare(project, reporter)
    count = slurm.elements(cluster, cells(project, plan))
    return sorted({task["cell"] % count for task in missing_tasks(project, plan, reporter)}), count


def _guessed_array(project: Project, cluster: Cluster) -> Array:
    """The same without writing or asking anything: every cell of the plan, or as many elements as are allowed."""
    if project.data_run.path != project.run.path:
        return (), 1
    count = (
        min(cluster.array, cells(project, plan_of(project)))
        if project.run.plan.is_file()
        else cluster.array
    )
    return range(count), count


def _jobs(project: Project, what: str, array: Array) -> list[Job]:
    """The jobs of a step, or of all that have something to do."""
    run, folder, cluster = project.run.path.resolve(), Path.cwd(), project.config.machine.cluster
    own_data = project.data_run.path == project.run.path
    whole = JobCommand(
        (*slurm.SBIWB, "worker", str(run), "0", "--of", "1")
    )  # checks all shards, and makes again what was lost
    commands: dict[Step, tuple[JobCommand, ...]] = {
        "train": (
            *[whole] * own_data,
            JobCommand((*slurm.SBIWB, "train", str(run)), everywhere=True),
        ),
        "diagnose": (JobCommand((*slurm.SBIWB, "diagnose", str(run), "--gate")),),
        "sample": (JobCommand((*slurm.SBIWB, "sample", str(run))),),
        "report": (JobCommand((*slurm.SBIWB, "report", str(run))),),
    }
    named = {
        step: Job(job_name(run.name, step), step, words, folder, slurm.log(run, step))
        for step, words in commands.items()
    }
    if array[0]:
        named["simulate"] = slurm.array_job(run, folder, cluster, *array)
    if what != "all":
        return [named[one] for one in STEPS if one == what and one in named]
    idle = set() if project.config.problem.observations else {"sample"}
    return [named[one] for one in STEPS if one in named and one not in idle]


def _chain(
    project: Project, jobs: Sequence[Job], cluster: Cluster, *, submit: bool
) -> list[Submitted]:
    """Each job after the one before; the report comes whatever became of that."""
    run, done = project.run.path.resolve(), list[Submitted]()
    for job in jobs:
        before = done[-1] if done else None
        name = before and (before.id or f"${before.step}")
        after = f"{'afterany' if job.step == 'report' else 'afterok'}:{name}" if name else ""
        path, number = slurm.jobs_folder(run) / f"{job.step}.sh", ""
        if submit:
            _forget_notes(run, job)
            number = slurm.submit(slurm.put_script(job, cluster, run), after=after or None)
        done.append(
            Submitted(job.step, path, number, after, len(job.elements), script(job, cluster))
        )
        if submit:
            _remember(run, done)
    return done


def _forget_notes(run: Path, job: Job) -> None:
    """Elements start afresh: what earlier ones noted about their failures is over."""
    if job.step == "simulate":
        for path in slurm.jobs_folder(run).glob("element-*.json"):
            path.unlink(missing_ok=True)


def _remember(run: Path, jobs: Sequence[Submitted]) -> None:
    """Writes which jobs were submitted, for `status` and for the next submission."""
    path = jobs_file(RunDir(run))
    before = read_json(path)["jobs"] if path.is_file() else {}
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    facts = {
        job.step: {"id": job.id, "after": job.after, "elements": job.elements, "submitted": now}
        for job in jobs
    }
    put_json(path, {"jobs": {**before, **facts}})


def jobs_file(run: RunDir) -> Path:
    """`{"jobs": {STEP: {id, after, elements, submitted}}}`: the latest job of each step."""
    return slurm.jobs_folder(run.path) / "jobs.json"


def _check_queue(run: RunDir) -> None:
    """Two jobs of one step would do the same work twice.

    Raises:
        RunError: Jobs of this run wait or run.
    """
    path = jobs_file(run)
    known: dict[str, Any] = read_json(path)["jobs"] if path.is_file() else {}
    there = slurm.queued([job["id"] for job in known.values()]) if known else []
    if there:
        raise RunError(
            f"jobs of this run are in the queue: {', '.join(there)}",
            where=run.path,
            todo=f"Wait for them (squeue --jobs={','.join(there)}), or end them: scancel {' '.join(there)}",
        )
