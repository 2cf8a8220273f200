"""The verb `simulate`: a plan from a preflight, then whatever blocks no shard holds yet."""

from __future__ import annotations

import time
from typing import Any

from sbiwb.contracts import Reporter
from sbiwb.errors import SbiwbError
from sbiwb.executors.serial import SerialExecutor
from sbiwb.project.opening import open_run
from sbiwb.project.project import Project
from sbiwb.rundir import put_provenance
from sbiwb.simulation.blocks import FailureCounter
from sbiwb.steps.pairs.more import extended
from sbiwb.steps.pairs.prepare import _accept, borrow, prepare
from sbiwb.steps.pairs.tasks import _example, missing_tasks, results, write_manifest
from sbiwb.words import duration

NOT_WORTH_A_POOL_S = 10.0


def simulate(
    project: Project,
    reporter: Reporter,
    *,
    more: str = "",
    accept_code_change: bool = False,
    needs_observations: bool = False,
) -> dict[str, Any]:
    """Simulates what is missing; finished shards stay as they are.

    Args:
        project: What to simulate.
        reporter: Where progress goes.
        more: Pairs to extend the run by, as `extended` reads them.
        accept_code_change: Whether the simulator's code, changed since the shards were made, is taken to give the same rows.
        needs_observations: Whether an observation that cannot be read is an error, and no warning.

    Returns:
        The manifest: counts by split.

    Raises:
        RunError: The run folder holds another problem's shards.
        DataError: An observation cannot be read, and is needed.
        FailureRateError: More simulations fail than allowed; finished shards are kept.
    """
    if more:
        project = extended(project, more, reporter)
    if project.data_run.path != project.run.path:
        return borrow(project, reporter)
    if project.is_imported:
        reporter.say("The pairs of this run are imported: nothing is simulated.")
    start = time.perf_counter()
    if accept_code_change:
        _accept(project, reporter)
    plan = prepare(project, reporter, needs_observations=needs_observations)
    tasks = missing_tasks(project, plan, reporter)
    if tasks:
        _run(project, plan, tasks, reporter)
        put_provenance(
            project.run.data,
            seconds=time.perf_counter() - start,
            facts={"data_hash": project.data_hash, "seed": project.config.simulate.seed},
        )
    return write_manifest(project.run)


def _run(
    project: Project, plan: dict[str, Any], tasks: list[dict[str, Any]], reporter: Reporter
) -> None:
    rows = sum(task["blocks"] for task in tasks) * project.block_size
    executor = project.config.machine.build_executor()
    if rows * plan["seconds_per_row"] < NOT_WORTH_A_POOL_S and not isinstance(
        executor, SerialExecutor
    ):
        executor = (
            SerialExecutor()
        )  # the same rows, without the seconds that processes take to start
        tasks = [{**task, "isolated": True} for task in tasks]
    seconds, megabytes = (
        rows * plan["seconds_per_row"] / executor.workers,
        rows * plan["bytes_per_row"] / 1e6,
    )
    reporter.say(
        f"{rows:,} simulations in {len(tasks)} shards: about {duration(seconds)} and {megabytes:.1f} MB."
    )
    tally = FailureCounter(project.config.simulate.failures.max_rate)
    try:
        with reporter.task("simulate", rows, unit="simulations") as ticker:
            for task, result in results(executor, tasks):
                if isinstance(result, SbiwbError):
                    raise result
                tally.add(result["simulated"], result["failed"], _example(result))
                ticker.advance(task["blocks"] * project.block_size, failed=tally.failed)
    finally:
        write_manifest(project.run)
        for run in {task["run"] for task in tasks}:
            open_run(run).isolated.close()
    if tally.failed:
        reporter.warn(
            f"{tally.failed} of {tally.simulated} simulations failed (p(valid) = {1 - tally.failed / tally.simulated:.4f}) "
            f"and were replaced by new pairs; for example: {tally.examples[-1]}"
        )
