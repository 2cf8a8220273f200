"""The verb `simulate`: a plan from a preflight, then whatever blocks no shard holds yet."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sbiwb.contracts import Executor, Reporter
from sbiwb.errors import CorruptFile, DataError, RunError, SbiwbError
from sbiwb.executors._death import WorkerDied
from sbiwb.executors.serial import SerialExecutor
from sbiwb.files import put_json, read_json, remove_orphans
from sbiwb.rundir import SPLITS, RunDir, put_provenance, versions
from sbiwb.simulation.blocks import Failure, Problem, Tally, simulate_block
from sbiwb.simulation.layout import Layout, from_json, to_json
from sbiwb.simulation.preflight import Preflight, preflight
from sbiwb.store import manifest
from sbiwb.store.rows import Rows
from sbiwb.store.shards import read_bytes, read_record, record_path, shard_path, write_shard
from sbiwb.words import duration
from sbiwb.workflow.derived import check_derived
from sbiwb.workflow.estimator import check_variables, fit_adapter
from sbiwb.workflow.observe import observe
from sbiwb.workflow.project import Project, differences, open_run, write_config

SHARDS_PER_SPLIT = 16
SHARD_SECONDS, SHARD_BYTES = 300.0, 64 << 20
NOT_WORTH_A_POOL_S = 10.0
CODE_CHANGED = "problem.simulator code changed"
MACHINE_VERSIONS = ("python", "numpy", "scipy", "h5py", "sbiwb")


def simulate(project: Project, reporter: Reporter, *, accept_code_change: bool = False) -> dict[str, Any]:
    """Simulates what is missing; finished shards stay as they are.

    Args:
        project: What to simulate.
        reporter: Where progress goes.
        accept_code_change: Whether the simulator's code, changed since the shards were made, is taken to give the same rows.

    Returns:
        The manifest: counts by split.

    Raises:
        RunError: The run folder holds another problem's shards.
        FailureRateError: More simulations fail than allowed; finished shards are kept.
    """
    if project.data_run.path != project.run.path:
        return borrow(project, reporter)
    if project.is_imported:
        reporter.say("The pairs of this run are imported: nothing is simulated.")
    start = time.perf_counter()
    if accept_code_change:
        _accept(project, reporter)
    plan = prepare(project, reporter)
    tasks = missing_tasks(project, plan, reporter)
    if tasks:
        _run(project, plan, tasks, reporter)
        put_provenance(
            project.run.data,
            seconds=time.perf_counter() - start,
            facts={"data_hash": project.data_hash, "seed": project.config.simulate.seed},
        )
    return write_manifest(project.run)


def prepare(project: Project, reporter: Reporter) -> dict[str, Any]:
    """The plan, made now by a preflight where there is none, with the config beside it: all that a worker needs.

    Raises:
        RunError: The run folder holds another problem's shards.
    """
    plan = _plan(project, reporter)
    _check_later_steps(project, from_json(plan["layout"]), reporter)
    write_config(project)
    return plan


def counts(project: Project) -> dict[str, int]:
    """Pairs asked for, by split."""
    return {split: getattr(project.config.simulate, split) for split in SPLITS}


def blocks(project: Project, split: str) -> int:
    return -(-counts(project)[split] // project.block_size)


def _plan(project: Project, reporter: Reporter) -> dict[str, Any]:
    """The plan of this run: as it stands, or made now by a preflight."""
    path = project.run.plan
    if path.is_file():
        plan = read_json(path)
        if plan["data_hash"] == project.data_hash:
            return plan
        if any(manifest.shards(project.run.split(split)) for split in SPLITS):
            changed = differences(plan["identity"], project.data_identity)
            raise RunError(
                f"holds simulations of another problem: {'; '.join(changed)}",
                where=project.run.data,
                todo="Change that back, give the run another `name`, or delete the folder if its simulations are no longer wanted."
                + " If the new code gives the same rows: `sbiwb simulate --accept-code-change`." * (changed == [CODE_CHANGED]),
            )
    reporter.say("Trying the simulator on a few parameters ...")
    seen = try_simulator(project)
    fit_adapter(project.config.model, project.prior, seen.example)  # transforms and kinds of inputs, before hours are spent
    plan = {
        "data_hash": project.data_hash,
        "identity": project.data_identity,
        "layout": to_json(seen.layout),
        "seconds_per_row": seen.seconds_per_row,
        "bytes_per_row": seen.bytes_per_row,
        "shard_blocks": {split: _auto_blocks(project, split, seen.seconds_per_row, seen.bytes_per_row) for split in SPLITS},
    }
    put_json(path, plan)
    return plan


def try_simulator(project: Project) -> Preflight:
    """A few simulations; in a process of their own, unless the config asks for everything in this one.

    Raises:
        SimulatorError: As in `preflight`.
    """
    try:
        return preflight(_here(project), project.block_size)
    finally:
        project.isolated.close()


def _here(project: Project) -> Problem:
    """What is simulated in this process, or beside it: only under `serial` may the simulator end the command."""
    is_serial = project.config.machine.executor.kind == "serial"
    return project.problem if is_serial else replace(project.problem, simulator=project.isolated)


def _accept(project: Project, reporter: Reporter) -> None:
    """Notes in the plan that the code as it is now gives the rows of before.

    Raises:
        RunError: There is nothing to accept, or more than the code has changed.
    """
    path = project.run.plan
    plan = read_json(path) if path.is_file() else None
    changed = differences(plan["identity"], project.data_identity) if plan else []
    if plan is None or changed != [CODE_CHANGED]:
        raise RunError(
            f"not only the simulator's code has changed: {'; '.join(changed) or 'nothing has'}",
            where=project.run.data,
            todo="Run `sbiwb simulate` without --accept-code-change.",
        )
    put_json(path, {**plan, "accepted": [*plan.get("accepted", []), project.own_hash]})
    reporter.say("The new code is taken to give the same rows; noted in the run's plan.")


def _check_later_steps(project: Project, layout: Layout, reporter: Reporter) -> None:
    """What training and sampling would stumble over is told before hours are spent; an observation may still be mended meanwhile."""
    check_variables(project.config.model, set(layout), set(project.context))
    check_derived(project)
    shapes = {name: one.event for name, one in project.context.items()}
    for name, what in project.config.problem.observations.items():
        try:
            observe(name, what, project.base, layout, shapes)
        except DataError as error:
            reporter.warn(f"observation {name} cannot be read: {error}")


def _auto_blocks(project: Project, split: str, seconds_per_row: float, bytes_per_row: float) -> int:
    """Blocks a shard: a sixteenth of the split, 5 minutes and 64 MiB at most, rounded down to a power of two."""
    rows = min(counts(project)[split] / SHARDS_PER_SPLIT, SHARD_SECONDS / max(seconds_per_row, 1e-9), SHARD_BYTES / bytes_per_row)
    return 1 << max(0, int(rows / project.block_size).bit_length() - 1)


def shard_blocks(project: Project, plan: dict[str, Any], split: str) -> int:
    """Blocks a shard: from the YAML where it says so, else from the plan."""
    size = project.config.simulate.shard_size
    return max(1, size // project.block_size) if isinstance(size, int) else plan["shard_blocks"][split]


def cells(project: Project, plan: dict[str, Any]) -> int:
    """Places for a shard in all splits: where blocks are cut whatever exists already, so that they can be dealt out by number."""
    return sum(-(-blocks(project, split) // shard_blocks(project, plan, split)) for split in SPLITS)


def missing_tasks(project: Project, plan: dict[str, Any], reporter: Reporter, *, index: int = 0, count: int = 1) -> list[dict[str, Any]]:
    """Tasks for the blocks that no valid shard holds, in the cells index, index + count, ...; damaged shards there are set aside first."""
    tasks, first_cell = [], 0
    for split in SPLITS:
        folder, length = project.run.split(split).resolve(), shard_blocks(project, plan, split)
        if index == 0:
            remove_orphans(folder)
        for path in folder.glob("shard-*.h5"):
            first_block = path.stem.partition("-")[2]
            if (first_cell + (int(first_block) // length if first_block.isdecimal() else 0)) % count == index:
                _set_damaged_aside(path, project.data_hash, reporter)
        gaps = manifest.missing(manifest.shards(folder, project.data_hash), blocks(project, split))
        for piece in manifest.runs(gaps, length):
            cell = first_cell + piece.start // length
            if cell % count == index:
                tasks.append(_task(project, split, piece, cell))
        first_cell += -(-blocks(project, split) // length)
    return tasks


def _task(project: Project, split: str, piece: range, cell: int) -> dict[str, Any]:
    run = project.run.path.resolve()
    record = record_path(shard_path(project.run.split(split).resolve(), piece.start))
    place = {"split": split, "first_block": piece.start, "blocks": len(piece), "cell": cell}
    return {"run": str(run), **place, "record": str(record), "data_hash": project.data_hash}


def _set_damaged_aside(path: Path, data_hash: str, reporter: Reporter) -> None:
    try:
        record = read_record(path)
        if record is not None and record["data_hash"] == data_hash:
            read_bytes(path, record)
    except CorruptFile as error:
        aside = manifest.set_aside(path)
        reporter.warn(f"{path} {error.what}; kept as {aside.name}, its rows are simulated again.")


def _run(project: Project, plan: dict[str, Any], tasks: list[dict[str, Any]], reporter: Reporter) -> None:
    rows = sum(task["blocks"] for task in tasks) * project.block_size
    executor = project.config.machine.build_executor()
    if rows * plan["seconds_per_row"] < NOT_WORTH_A_POOL_S and not isinstance(executor, SerialExecutor):
        executor = SerialExecutor()  # the same rows, without the seconds that processes take to start
        tasks = [{**task, "isolated": True} for task in tasks]
    seconds, megabytes = rows * plan["seconds_per_row"] / executor.workers, rows * plan["bytes_per_row"] / 1e6
    reporter.say(f"{rows:,} simulations in {len(tasks)} shards: about {duration(seconds)} and {megabytes:.1f} MB.")
    tally = Tally(project.config.simulate.failures.max_rate)
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


def _example(result: dict[str, Any]) -> str:
    """What a failure of a shard said; where its record alone came back, as from an array job, the reasons."""
    return result.get("example") or ", ".join(result.get("reasons", ()))


def results(executor: Executor, tasks: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Any]]:
    """The shards as they are done; those whose worker died come last, their simulator isolated, so that the guilty rows are found."""
    died = []
    for task, result in executor.run(simulate_shard, tasks):
        if isinstance(result, WorkerDied) and not task.get("isolated"):
            died.append({**task, "isolated": True})
        else:
            yield task, result
    if died:
        yield from executor.run(simulate_shard, died)


def simulate_shard(task: dict[str, Any]) -> dict[str, Any]:
    """One shard, in any process of any machine that sees the run folder.

    Args:
        task: run, data_hash, split, first_block, blocks; isolated: whether the simulator has to be kept in a process of its own.

    Returns:
        Its record, with an example of a failure.

    Raises:
        RunError: This process began after the simulator, or the config, was changed: its rows would be another problem's.
    """
    project = open_run(task["run"])
    if project.data_hash != task.get("data_hash", project.data_hash):
        raise RunError(
            "the problem was changed while it was simulated",
            where=project.source.path,
            todo="Run the same command again: it says what has changed.",
        )
    problem, start = project.problem, time.perf_counter()
    if task.get("isolated") or _cannot_time(project):
        problem = replace(problem, simulator=project.isolated)
    tally = Tally(project.config.simulate.failures.max_rate)
    rows, failures = Rows(task["blocks"] * project.block_size), []
    for block in range(task["first_block"], task["first_block"] + task["blocks"]):
        pairs, failed = simulate_block(problem, task["split"], block, project.block_size, tally)
        rows.add(pairs)
        failures += failed
    facts = {
        **{name: task[name] for name in ("split", "first_block", "blocks")},
        "data_hash": project.data_hash,
        "simulated": tally.simulated,
        **_of_failures(failures),
        "seconds": round(time.perf_counter() - start, 4),
        "versions": _machine_versions(),
    }
    record = write_shard(shard_path(project.run.split(task["split"]), task["first_block"]), rows.pairs(), failures, facts)
    return {**record, "example": tally.examples[-1] if tally.examples else ""}


def _cannot_time(project: Project) -> bool:
    """Whether there is a time limit that this thread cannot keep: the alarm rings in the main thread alone."""
    return project.config.simulate.failures.timeout_s is not None and threading.current_thread() is not threading.main_thread()


def _of_failures(failures: Sequence[Failure]) -> dict[str, Any]:
    """What a record tells of its shard's ledger: counts by reason, and seconds, which are others every time."""
    if not failures:
        return {}
    return {"reasons": dict(Counter(one.reason for one in failures).most_common()), "failed_s": [round(one.seconds, 4) for one in failures]}


@lru_cache(maxsize=1)
def _machine_versions() -> dict[str, str]:
    """Of what can change a row; looked up once a process, for it takes as long as 20 simulations of a millisecond."""
    found = versions()
    return {name: found[name] for name in MACHINE_VERSIONS if name in found}


def write_manifest(run: RunDir) -> dict[str, Any]:
    """Gathers the records into one file for people and for `status`."""
    splits = {split: manifest.summary(manifest.shards(run.split(split))) for split in SPLITS}
    put_json(run.manifest, {"splits": splits})
    return splits


def borrow(project: Project, reporter: Reporter) -> dict[str, Any]:
    """Checks that the other run's shards are this problem's, and enough."""
    other = project.data_run
    if not other.plan.is_file():
        raise RunError("holds no simulations", where=other.path, todo="Run `sbiwb simulate` on that run first, or leave out simulate.from.")
    plan = read_json(other.plan)
    if plan["data_hash"] != project.data_hash:
        changed = differences(plan["identity"], project.data_identity)
        raise RunError(
            f"simulates another problem: {'; '.join(changed)}", where=other.path, todo="Make them equal, or leave out simulate.from."
        )
    write_config(project)
    for split in SPLITS:
        gaps = manifest.missing(manifest.shards(other.split(split), project.data_hash), blocks(project, split))
        if gaps:
            raise RunError(
                f"has fewer than {counts(project)[split]:,} pairs of {split}",
                where=other.path,
                todo=f"Leave out simulate.{split} to take what is there, or raise it there and run `sbiwb simulate` on that run.",
            )
    reporter.say(f"Using the simulations of {other.path}.")
    return {split: manifest.summary(manifest.shards(other.split(split))) for split in SPLITS}
