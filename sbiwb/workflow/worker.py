"""The verb `worker`: one of many processes that simulate one run; each takes its share of what is missing, whoever starts them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sbiwb.contracts import Reporter
from sbiwb.errors import RunError, SbiwbError, Stopped
from sbiwb.executors.pool import PoolExecutor
from sbiwb.executors.slurm import note, put_failure
from sbiwb.files import put_json, read_json
from sbiwb.project.opening import open_run
from sbiwb.project.project import Project
from sbiwb.rundir import put_provenance
from sbiwb.steps.pairs.tasks import missing_tasks, results, write_manifest
from sbiwb.workflow.benchmark import PLAN, share

FRUITLESS = 3


def worker(path: Path, reporter: Reporter, *, index: int, count: int, workers: int = 1) -> int:
    """Simulates the missing shards among the cells index, index + count, ...; alone (count 1) it ends with the manifest.

    Args:
        path: The run folder, planned by `simulate` or `submit`.
        reporter: Where progress goes.
        index: Which share, from 0.
        count: Shares in all.
        workers: Processes.

    Returns:
        Shards made.

    Raises:
        RunError: No plan, no such share, or three starts without a single new shard.
        Stopped: By a signal; the same command goes on.
        SbiwbError: What a shard failed of; it is noted in the run folder too.
    """
    if not 0 <= index < count:
        raise RunError(
            f"there is no share {index} of {count}",
            where="sbiwb worker",
            todo=f"INDEX is 0 to {count - 1}.",
        )
    if (path / PLAN).is_file():
        return share(path, reporter, index=index, count=count)
    project, start = open_run(str(path.resolve())), time.perf_counter()
    tasks = missing_tasks(project, plan_of(project), reporter, index=index, count=count)
    noted = note(path, index, count)
    if tasks:
        _count_start(noted, len(tasks))
        try:
            _simulate(project, tasks, workers, reporter)
        except Stopped:
            raise
        except SbiwbError as error:
            put_failure(noted, error)
            raise
    noted.unlink(missing_ok=True)
    if count == 1:
        _close(project, time.perf_counter() - start if tasks else None)
    return len(tasks)


def plan_of(project: Project) -> dict[str, Any]:
    """The plan of a run.

    Raises:
        RunError: There is none, or it is another problem's.
    """
    if not project.run.plan.is_file():
        todo = f"Run `sbiwb submit {project.run.path}` or `sbiwb simulate {project.run.path}` once: they try the simulator and write the plan."
        raise RunError("has no plan yet", where=project.run.data, todo=todo)
    plan = read_json(project.run.plan)
    if plan["data_hash"] != project.data_hash:
        todo = f"Run `sbiwb simulate {project.run.path}`: it says what has changed."
        raise RunError("holds simulations of another problem", where=project.run.data, todo=todo)
    return plan


def _count_start(noted: Path, missing: int) -> None:
    """Notes how much is missing at this start, so that requeueing for ever without progress ends with an error.

    Raises:
        RunError: As much was missing at the starts before.
    """
    before = read_json(noted) if noted.is_file() else {}
    starts = before["starts"] + 1 if before.get("missing") == missing else 1
    if starts > FRUITLESS:
        noted.unlink(missing_ok=True)
        raise RunError(
            f"was begun {FRUITLESS} times with {missing} shards missing and stopped each time before the next one was done",
            where=noted.with_suffix(""),
            todo="Ask for more time (machine.cluster.time_min) or make the shards smaller (simulate.shard_size); then submit again.",
        )
    put_json(noted, {"missing": missing, "starts": starts})


def _simulate(
    project: Project, tasks: list[dict[str, Any]], workers: int, reporter: Reporter
) -> None:
    with reporter.task("simulate", len(tasks), unit="shards") as ticker:
        for _, result in results(PoolExecutor(workers), tasks):
            if isinstance(result, SbiwbError):
                raise result
            ticker.advance(failed=result["failed"])


def _close(project: Project, seconds: float | None) -> None:
    """The manifest, and who made what was made here."""
    write_manifest(project.run)
    if seconds is not None or not (project.run.data / "provenance.json").is_file():
        facts = {"data_hash": project.data_hash, "seed": project.config.simulate.seed}
        put_provenance(project.run.data, seconds=seconds or 0.0, facts=facts)
