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
from sbiwb.rundir import Provenance, has_provenance
from sbiwb.start_counter import MAX_FRUITLESS_STARTS, StartCounter
from sbiwb.steps.pairs.tasks import ShardTask, Share, missing_tasks
from sbiwb.store import manifest
from sbiwb.workflow.benchmark import PLAN, share
from sbiwb.workflow.simulate import ShardMaker
from sbiwb.workflow.simulate_plan import Planner


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
    planner, maker = Planner(project, reporter), ShardMaker(project, reporter)
    grids, own = planner.grids(planner.existing()), Share(index, count)
    tasks = missing_tasks(project.run, grids, project.data_hash, reporter, own)
    noted = note(path, index, count)
    if tasks:
        _count_start(noted, len(tasks))
    try:
        _simulate(maker, tasks, workers)
    except Stopped:
        raise
    except SbiwbError as error:
        put_failure(noted, error)
        raise
    noted.unlink(missing_ok=True)
    if count == 1:
        manifest.write_manifest(project.run)
        if tasks or not has_provenance(project.run.data, Provenance):
            maker.put_provenance(time.perf_counter() - start)
    return len(tasks)


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


def _simulate(maker: ShardMaker, tasks: Sequence[ShardTask], workers: int) -> None:
    """Has the shards made, and judges the failures of all shards of the run.

    Raises:
        FailureRateError: Already before, or after one of these shards, there are too many.
        SbiwbError: What a shard failed of.
    """
    failures = maker.recorded_failures()
    failures.look()
    if tasks:
        maker.follow(PoolExecutor(workers), tasks, failures)
    failures.look()
