"""The verb `simulate`: a plan from a preflight, then whatever blocks no shard holds yet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sbiwb.contracts import Executor, Reporter
from sbiwb.executors.serial import SerialExecutor
from sbiwb.project.opening import open_run
from sbiwb.project.plan import Plan, heal_plan
from sbiwb.project.project import Project
from sbiwb.rundir import Provenance, has_provenance, put_provenance
from sbiwb.steps.pairs.recorded_failures import RecordedFailures
from sbiwb.steps.pairs.row_ticker import RowTicker, looking
from sbiwb.steps.pairs.tasks import ShardTask, missing_tasks, simulate_tasks
from sbiwb.store import manifest
from sbiwb.store.manifest import Summaries
from sbiwb.words import duration
from sbiwb.workflow.simulate_plan import Planner

NOT_WORTH_A_POOL_S = 10.0


def simulate(
    project: Project,
    reporter: Reporter,
    *,
    more: str = "",
    accept_code_change: bool = False,
    needs_observations: bool = False,
) -> Summaries:
    """Simulates what is missing; finished shards stay as they are.

    Args:
        project: What to simulate.
        reporter: Where progress goes.
        more: Pairs to extend the run by, as `Planner.extended` reads them.
        accept_code_change: Whether the simulator's code, changed since the shards were made, is
            taken to give the same rows.
        needs_observations: Whether an observation that cannot be read is an error, and no warning.

    Returns:
        The manifest: counts by split.

    Raises:
        RunError: The run folder holds another problem's shards.
        DataError: An observation cannot be read, and is needed.
        FailureRateError: More simulations fail than allowed; finished shards are kept.
    """
    if more:
        project = Planner(project, reporter).extended(more)
    planner, maker = Planner(project, reporter), ShardMaker(project, reporter)
    if project.data_run.path != project.run.path:
        return planner.borrow()
    start = time.perf_counter()
    heal_plan(project.run, reporter)
    if project.is_imported:
        reporter.say("The pairs of this run are imported: nothing is simulated.")
    if accept_code_change:
        planner.accept_code()
    plan = planner.prepare(needs_observations=needs_observations)
    tasks = missing_tasks(project.run, planner.grids(plan), project.data_hash, reporter)
    failures = maker.recorded_failures()
    failures.look()
    if tasks:
        maker.make(plan, tasks, failures)
    if tasks or not has_provenance(project.run.data, Provenance):
        maker.put_provenance(time.perf_counter() - start)
    return manifest.write_manifest(project.run)


@dataclass(frozen=True)
class ShardMaker:
    """Has the shards of a run made.

    Args:
        project: The run.
        reporter: Where progress goes.
    """

    project: Project
    reporter: Reporter

    def recorded_failures(self) -> RecordedFailures:
        """Counts the failures of all shards of the run; those of an import were judged with it."""
        max_rate = self.project.config.simulate.failures.max_rate
        if self.project.is_imported:
            max_rate = 1.0
        return RecordedFailures(self.project.run, self.project.data_hash, max_rate)

    def put_provenance(self, seconds: float) -> None:
        """Who made the shards."""
        facts = {"data_hash": self.project.data_hash, "seed": self.project.config.simulate.seed}
        put_provenance(self.project.run.data, seconds=seconds, facts=facts)

    def make(self, plan: Plan, tasks: Sequence[ShardTask], failures: RecordedFailures) -> None:
        """Has shards made by the executor of the YAML.

        Raises:
            FailureRateError: More simulations of the run fail than allowed.
            SbiwbError: What a shard failed of.
        """
        project = self.project
        rows = sum(task.blocks for task in tasks) * project.block_size
        seconds, executor = rows * plan.seconds_per_row, project.config.machine.build_executor()
        if seconds < NOT_WORTH_A_POOL_S and not isinstance(executor, SerialExecutor):
            # the same rows, without the seconds that processes take to start
            executor = SerialExecutor()
            tasks = [replace(task, isolated=True) for task in tasks]
        self.reporter.say(
            f"{rows:,} simulations in {len(tasks)} shards: about"
            f" {duration(seconds / executor.workers)} and {rows * plan.bytes_per_row / 1e6:.1f} MB."
        )
        try:
            self.follow(executor, tasks, failures)
        finally:
            manifest.write_manifest(project.run)
            open_run(tasks[0].run).isolated.close()
        _warn_of_failures(failures, self.reporter)

    def follow(
        self, executor: Executor, tasks: Sequence[ShardTask], failures: RecordedFailures
    ) -> None:
        """Has shards made, and shows how far they are.

        Raises:
            FailureRateError: More simulations of the run fail than allowed.
            SbiwbError: What a shard failed of.
        """
        size = self.project.block_size
        rows = {(task.split, task.shard.stem): task.blocks * size for task in tasks}
        total = sum(rows.values())
        with self.reporter.task("simulate", total, unit="simulations") as ticker:
            shown = RowTicker(ticker, self.project.run, rows)
            with looking(shown):
                for task, record in simulate_tasks(executor, tasks):
                    failures.add(task.shard, record)
                    shown.finished(task.split, task.shard.stem, failed=failures.counter.failed)


def _warn_of_failures(failures: RecordedFailures, reporter: Reporter) -> None:
    counter = failures.counter
    if not counter.failed:
        return
    reporter.warn(
        f"{counter.failed} of {counter.simulated} simulations failed (p(valid) ="
        f" {1 - counter.failed / counter.simulated:.4f}) and were replaced by new pairs;"
        f" for example: {counter.examples[-1]}"
    )
