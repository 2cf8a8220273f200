"""Tasks of a plan: which blocks no shard holds, and one shard made from its task."""

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
from sbiwb.errors import CorruptFile, RunError
from sbiwb.executors import WorkerDied
from sbiwb.files import put_json, remove_orphans
from sbiwb.project.opening import open_run
from sbiwb.project.project import Project
from sbiwb.rundir import SPLITS, RunDir, versions
from sbiwb.simulation.blocks import Failure, FailureCounter, simulate_block
from sbiwb.steps.pairs.prepare import blocks, shard_blocks
from sbiwb.store import manifest
from sbiwb.store.rows import RowBuffer
from sbiwb.store.shards import read_bytes, read_record, record_path, shard_path, write_shard

MACHINE_VERSIONS = ("python", "numpy", "scipy", "h5py", "sbiwb")


def missing_tasks(
    project: Project, plan: dict[str, Any], reporter: Reporter, *, index: int = 0, count: int = 1
) -> list[dict[str, Any]]:
    """Tasks for the blocks that no valid shard holds, in the cells index, index + count, ...; damaged shards there are set aside first."""
    tasks, first_cell = [], 0
    for split in SPLITS:
        folder, length = project.run.split(split).resolve(), shard_blocks(project, plan, split)
        if index == 0:
            remove_orphans(folder)
        for path in folder.glob("shard-*.h5"):
            first_block = path.stem.partition("-")[2]
            if (
                first_cell + (int(first_block) // length if first_block.isdecimal() else 0)
            ) % count == index:
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
    shard = shard_path(project.run.split(split).resolve(), piece.start)
    files = {"file": str(shard), "record": str(record_path(shard))}
    place = {"split": split, "first_block": piece.start, "blocks": len(piece), "cell": cell}
    return {"run": str(run), **place, **files, "data_hash": project.data_hash}


def _set_damaged_aside(path: Path, data_hash: str, reporter: Reporter) -> None:
    try:
        record = read_record(path)
        if record is not None and record["data_hash"] == data_hash:
            read_bytes(path, record)
    except CorruptFile as error:
        aside = manifest.set_aside(path)
        reporter.warn(f"{path} {error.what}; kept as {aside.name}, its rows are simulated again.")


def _example(result: dict[str, Any]) -> str:
    """What a failure of a shard said; where its record alone came back, as from an array job, the reasons."""
    return result.get("example") or ", ".join(result.get("reasons", ()))


def results(
    executor: Executor, tasks: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], Any]]:
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
    tally = FailureCounter(project.config.simulate.failures.max_rate)
    rows, failures = RowBuffer(task["blocks"] * project.block_size), []
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
    record = write_shard(
        shard_path(project.run.split(task["split"]), task["first_block"]),
        rows.pairs(),
        failures,
        facts,
    )
    return {**record, "example": tally.examples[-1] if tally.examples else ""}


def _cannot_time(project: Project) -> bool:
    """Whether there is a time limit that this thread cannot keep: the alarm rings in the main thread alone."""
    return (
        project.config.simulate.failures.timeout_s is not None
        and threading.current_thread() is not threading.main_thread()
    )


def _of_failures(failures: Sequence[Failure]) -> dict[str, Any]:
    """What a record tells of its shard's ledger: counts by reason, and seconds, which are others every time."""
    if not failures:
        return {}
    return {
        "reasons": dict(Counter(one.reason for one in failures).most_common()),
        "failed_s": [round(one.seconds, 4) for one in failures],
    }


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
