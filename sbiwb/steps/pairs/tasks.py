"""Tasks of a plan: which blocks no shard holds, and one shard made from its task."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sbiwb.contracts import Executor, Reporter
from sbiwb.errors import CorruptFile, RunError, SbiwbError
from sbiwb.executors import WorkerDied
from sbiwb.files import remove_orphans
from sbiwb.project.opening import open_run
from sbiwb.records import Pairs
from sbiwb.rundir import RunDir, versions
from sbiwb.simulation.blocks import Failure, FailureCounter, Problem, simulate_block
from sbiwb.steps.pairs.shard_grid import ShardGrid
from sbiwb.store import manifest
from sbiwb.store.manifest import Shard
from sbiwb.store.rows import RowBuffer
from sbiwb.store.shard_progress import ProgressNote
from sbiwb.store.shard_record import (
    ShardFacts,
    ShardRecord,
    named_block,
    read_record,
    record_path,
    shard_path,
)
from sbiwb.store.shards import check_shard, write_shard

MACHINE_VERSIONS = ("python", "numpy", "scipy", "h5py", "sbiwb")


@dataclass(frozen=True)
class ShardTask:
    """One shard to be simulated, as plain data that goes to any process as JSON.

    Args:
        run: The run folder.
        split: train, validation or test.
        first_block: Number of its first block.
        blocks: How many.
        cell: Its number among the shards of all splits, by which tasks are dealt out.
        file: The shard that is written.
        record: The record that is written after it.
        data_hash: Of the problem as it was when the task was made.
        isolated: Whether the simulator has to be kept in a process of its own.
    """

    run: str
    split: str
    first_block: int
    blocks: int
    cell: int
    file: str
    record: str
    data_hash: str
    isolated: bool = False

    @property
    def shard(self) -> Path:
        return Path(self.file)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Share:
    """The cells index, index + count, ... of all."""

    index: int = 0
    count: int = 1

    def has(self, cell: int) -> bool:
        return cell % self.count == self.index


def missing_tasks(
    run: RunDir,
    grids: Sequence[ShardGrid],
    data_hash: str,
    reporter: Reporter,
    share: Share = Share(),
) -> list[ShardTask]:
    """Tasks for the blocks that no valid shard holds.

    Args:
        run: The run folder.
        grids: How its splits are cut.
        data_hash: Of the problem.
        reporter: Hears of damaged shards, which are set aside first.
        share: The cells that this process answers for.

    Raises:
        RunError: A shard of another problem lies there.
    """
    tasks = []
    for grid in grids:
        folder = run.split(grid.split).resolve()
        if share.index == 0:
            remove_orphans(folder)
        held = _held(folder, grid, data_hash, reporter, share)
        gaps = manifest.missing(held, grid.blocks)
        for piece in manifest.runs(gaps, grid.shard_blocks):
            if share.has(grid.cell(piece.start)):
                tasks.append(_task(run, grid, piece, data_hash))
    return tasks


def _held(
    folder: Path, grid: ShardGrid, data_hash: str, reporter: Reporter, share: Share
) -> list[Shard]:
    """The shards of a split that count; damaged ones of this share are set aside."""
    held = []
    for path in manifest.shard_files(folder):
        is_own = share.has(grid.cell(named_block(path) or 0))
        try:
            record = read_record(path)
            if record is None:
                continue
            manifest.refuse_other(path, record, data_hash)
            if is_own:
                check_shard(path, record)
        except CorruptFile as error:
            if is_own:
                _set_aside(path, error, reporter)
            continue
        held.append(Shard(path, record))
    return held


def _set_aside(path: Path, error: CorruptFile, reporter: Reporter) -> None:
    aside = manifest.set_aside(path)
    what = f"{error.where} {error.what}"
    reporter.warn(f"{what}; kept as {aside.name}, its rows are simulated again.")


def _task(run: RunDir, grid: ShardGrid, piece: range, data_hash: str) -> ShardTask:
    shard = shard_path(run.split(grid.split).resolve(), piece.start)
    return ShardTask(
        run=str(run.path.resolve()),
        split=grid.split,
        first_block=piece.start,
        blocks=len(piece),
        cell=grid.cell(piece.start),
        file=str(shard),
        record=str(record_path(shard)),
        data_hash=data_hash,
    )


def simulate_tasks(
    executor: Executor, tasks: Sequence[ShardTask]
) -> Iterator[tuple[ShardTask, ShardRecord]]:
    """The shards as they are done.

    Those whose worker died come last, their simulator isolated, so that the guilty rows are found.

    Raises:
        SbiwbError: What a shard failed of.
    """
    died = []
    for task, result in _run(executor, tasks):
        if isinstance(result, WorkerDied) and not task.isolated:
            died.append(replace(task, isolated=True))
        else:
            yield task, _record_of(task, result)
    for task, result in _run(executor, died):
        yield task, _record_of(task, result)


def _run(executor: Executor, tasks: Sequence[ShardTask]) -> Iterator[tuple[ShardTask, object]]:
    values = [task.to_json() for task in tasks]
    for value, result in executor.run(simulate_shard, values):
        yield ShardTask(**value), result


def _record_of(task: ShardTask, result: object) -> ShardRecord:
    """The record that came back as JSON, from another process or read by an executor."""
    if isinstance(result, SbiwbError):
        raise result
    assert isinstance(result, Mapping)
    return ShardRecord.of(result, task.record)


def simulate_shard(value: dict[str, Any]) -> dict[str, Any]:
    """One shard, in any process of any machine that sees the run folder.

    Args:
        value: A `ShardTask` as JSON.

    Returns:
        Its record as JSON.

    Raises:
        RunError: This process began after the simulator, or the config, was changed: its rows
            would be another problem's.
        FailureRateError: Already in this shard more simulations fail than allowed.
    """
    task = ShardTask(**value)
    project, start = open_run(task.run), time.perf_counter()
    if project.data_hash != task.data_hash:
        raise RunError(
            "the problem was changed while it was simulated",
            where=project.source.path,
            todo="Run the same command again: it says what has changed.",
        )
    problem, failures = project.problem, project.config.simulate.failures
    if task.isolated or _cannot_time(failures.timeout_s):
        problem = replace(problem, simulator=project.isolated)
    counter = FailureCounter(failures.max_rate)
    pairs, failed = _simulate_blocks(task, problem, project.block_size, counter)
    facts = ShardFacts(
        data_hash=task.data_hash,
        split=task.split,
        first_block=task.first_block,
        blocks=task.blocks,
        simulated=counter.simulated,
        seconds=round(time.perf_counter() - start, 4),
        reasons=count_reasons(failed),
        failed_s=tuple(round(failure.seconds, 4) for failure in failed),
        versions=machine_versions(),
        example=_last(counter.examples),
    )
    return dict(write_shard(task.shard, pairs, failed, facts).to_json())


def _cannot_time(timeout_s: float | None) -> bool:
    """Whether this thread cannot keep a time limit: the alarm rings in the main thread alone."""
    is_main = threading.current_thread() is threading.main_thread()
    return timeout_s is not None and not is_main


def _simulate_blocks(
    task: ShardTask, problem: Problem, block_size: int, counter: FailureCounter
) -> tuple[Pairs, list[Failure]]:
    """The pairs of a shard, and the failed simulations that they replace."""
    rows, failures = RowBuffer(task.blocks * block_size), list[Failure]()
    note = ProgressNote(task.shard)
    try:
        for block in range(task.first_block, task.first_block + task.blocks):
            pairs, failed = simulate_block(problem, task.split, block, block_size, counter)
            rows.add(pairs)
            failures += failed
            note.tell(rows.done)
    finally:
        note.clear()
    return rows.pairs(), failures


def count_reasons(failures: Sequence[Failure]) -> dict[str, int]:
    """Failures by reason, the most frequent first."""
    return dict(Counter(failure.reason for failure in failures).most_common())


def _last(texts: Sequence[str]) -> str:
    return texts[-1] if texts else ""


@lru_cache(maxsize=1)
def machine_versions() -> dict[str, str]:
    """Of what can change a row; looking them up takes as long as 20 simulations of 1 ms."""
    installed = versions()
    return {name: installed[name] for name in MACHINE_VERSIONS if name in installed}
