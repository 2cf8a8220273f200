"""The verb `worker`: one of many processes that simulate one run, whoever starts them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from sbiwb.contracts import Reporter
from sbiwb.errors import RunError, SbiwbError, Stopped
from sbiwb.executors.pool import PoolExecutor
from sbiwb.executors.slurm import note, put_failure
from sbiwb.project.opening import open_run
from sbiwb.project.plan import Plan, read_plan
from sbiwb.project.project import Project
from sbiwb.rundir import Provenance, has_provenance
from sbiwb.start_counter import MAX_FRUITLESS_STARTS, StartCounter
from sbiwb.steps.pairs.tasks import ShardTask, Share, missing_tasks
from sbiwb.store import manifest
from sbiwb.workflow.benchmark import PLAN, share
from sbiwb.workflow.simulate import follow, put_data_provenance, recorded_failures
from sbiwb.workflow.simulate_plan import grids_of


def worker(path: Path, reporter: Reporter, *, index: int, count: int, workers: int = 1) -> int:
    """Simulates the missing shards among the cells index, index + count, ...

    Alone (count 1) it ends with the manifest.

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
        FailureRateError: More simulations of the whole run fail than allowed, also by the records
            of other processes.
        Stopped: By a signal; the same command goes on.
        SbiwbError: What a shard failed of; it is noted in the run folder too.
    """
    if not 0 <= index < count:
        todo = f"INDEX is 0 to {count - 1}."
        raise RunError(f"there is no share {index} of {count}", where="sbiwb worker", todo=todo)
    if (path / PLAN).is_file():
        return share(path, reporter, index=index, count=count)
    project, start = open_run(str(path.resolve())), time.perf_counter()
    grids = grids_of(project, plan_of(project))
    own = Share(index, count)
    tasks = missing_tasks(project.run, grids, project.data_hash, reporter, own)
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
        manifest.write_manifest(project.run)
        if tasks or not has_provenance(project.run.data, Provenance):
            put_data_provenance(project, time.perf_counter() - start)
    return len(tasks)


def plan_of(project: Project) -> Plan:
    """The plan of a run.

    Raises:
        RunError: There is none, or it is another problem's.
        CorruptFile: It cannot be read.
    """
    plan = read_plan(project.run)
    if plan.data_hash != project.data_hash:
        todo = f"Run `sbiwb simulate {project.run.path}`: it says what has changed."
        raise RunError("holds simulations of another problem", where=project.run.data, todo=todo)
    return plan


def _count_start(noted: Path, missing: int) -> None:
    """Notes how much is missing at this start, so that requeueing without progress ends.

    Raises:
        RunError: As much was missing at the starts before.
    """
    counter = StartCounter(noted)
    number = counter.next_start(missing)
    if number > MAX_FRUITLESS_STARTS:
        counter.clear()
        raise RunError(
            f"was begun {MAX_FRUITLESS_STARTS} times with {missing} shards missing and stopped"
            " each time before the next one was done",
            where=noted.with_suffix(""),
            todo="Ask for more time (machine.cluster.time_min) or make the shards smaller"
            " (simulate.shard_size); then submit again.",
        )
    counter.put(missing, number)


def _simulate(
    project: Project, tasks: Sequence[ShardTask], workers: int, reporter: Reporter
) -> None:
    """Has the shards made, and judges the failures of all shards of the run.

    Raises:
        FailureRateError: Already before, or after one of these shards, there are too many.
        SbiwbError: What a shard failed of.
    """
    failures = recorded_failures(project)
    failures.look()
    if tasks:
        follow(project, PoolExecutor(workers), tasks, failures, reporter)
    failures.look()
