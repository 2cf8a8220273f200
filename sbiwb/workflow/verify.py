"""The verb `verify`: every shard against its record, the records against the plan, splits against
each other, every checkpoint against its checksum; what can be mended is."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from sbiwb.contracts import Reporter
from sbiwb.errors import CorruptFile, DiskError
from sbiwb.files import read_json
from sbiwb.project.plan import Plan, PlannedIdentity, read_identity, read_plan
from sbiwb.rundir import SPLITS, RunDir, versions
from sbiwb.simulation.blocks import FailureCounter, Problem, simulate_block
from sbiwb.steps.pairs.verified import Verified
from sbiwb.store import manifest
from sbiwb.store.arrays import Arrays, failure_reasons, flatten
from sbiwb.store.audit import (
    AuditedShard,
    ExpectedShard,
    ExpectedVariable,
    audit,
    shared_rows,
)
from sbiwb.store.manifest import Shard
from sbiwb.store.shard_record import ShardRecord, put_record, record_path
from sbiwb.store.shards import read_failures, read_shard
from sbiwb.workflow.run_folder import open_run_folder, simulate_section
from sbiwb.workflow.verify_networks import check_networks

ORPHAN_S = 3600.0  # no writer needs that long
MAX_RANGES = 5  # of missing blocks, named in a message


Whole = dict[str, list[AuditedShard]]
"""The whole shards of each split, each with its record."""


def verify(path: Path, reporter: Reporter, *, deep: bool = False) -> Verified:
    """Checks all simulations of a run, and its trained networks.

    Args:
        path: The run folder.
        reporter: Where progress goes.
        deep: Whether a block of each split is simulated again and compared with what is stored.

    Raises:
        RunError: No run folder, or no plan in it.
        CorruptFile: The plan cannot be read, or was altered.
    """
    run = open_run_folder(path)
    section = simulate_section(run)
    data = section.data_run(run)
    plan, identity = read_plan(data), read_identity(data)
    result = Verified(data.path, data.path == run.path, _again(plan, data.path))
    expected = {split: _expected(plan, identity, split) for split in SPLITS}
    listed = {split: _listed(data.split(split)) for split in SPLITS}
    whole: Whole = {split: [] for split in SPLITS}
    with reporter.task("verify", sum(map(len, listed.values())), unit="shards") as ticker:
        for split in SPLITS:
            for shard in listed[split]:
                whole[split] += _checked(audit(shard, expected[split]), result)
                ticker.advance(wrong=len(result.troubles))
            blocks = -(-section.pairs[split] // identity.simulate.block_size)
            _check_blocks(held_shards(whole[split]), blocks, data.split(split), result)
    _check_rows(whole, data, result)
    check_networks(run, result, reporter)
    if result.is_own:
        _remove_orphans(data, result)
        _check_manifest(data, whole, result)
    if deep and plan.imported is not None:
        _compare_files(plan, result)
    elif deep:
        _compare_blocks(path, whole, plan, result, reporter)
    return result


def _again(plan: Plan, path: Path) -> str:
    """The command that makes lost rows again."""
    if plan.imported is not None:
        return "Run the same `sbiwb import` again: it makes the same shards."
    return f"Run `sbiwb simulate {path}`: it makes the same rows again."


def _expected(plan: Plan, identity: PlannedIdentity, split: str) -> ExpectedShard:
    problem = identity.problem
    layout = {
        name: ExpectedVariable(observable.dtype, observable.shape, observable.ragged)
        for name, observable in plan.layout.items()
    }
    return ExpectedShard(
        plan.data_hash,
        split,
        identity.simulate.block_size,
        layout,
        theta=tuple(name for name, _ in problem.parameters),
        context=tuple(name for name, _ in problem.context),
    )


def _listed(folder: Path) -> list[Path]:
    """Every shard that has a file or a record."""
    files, records = manifest.stems(folder)
    return [folder / f"{stem}.h5" for stem in sorted({*files, *records})]


def _checked(shard: AuditedShard, result: Verified) -> list[AuditedShard]:
    """The shard, its record written again where it was lost; or nothing, and why it is no good."""
    if shard.foreign:
        todo = f"Move it and {shard.path.stem}.json elsewhere; then: {result.again}"
        result.trouble(shard.path, shard.trouble, todo)
        return []
    if shard.trouble or shard.record is None:
        result.trouble(shard.path, shard.trouble)
        return []
    result.count(shard.record)
    if not shard.lost:
        return [shard]
    return [replace(shard, record=_mended_record(shard.path, shard.record, result))]


def _mended_record(shard: Path, record: ShardRecord, result: Verified) -> ShardRecord:
    """A record made from its shard, written where that is allowed."""
    if record.failed:
        ledger = read_failures(shard, record)
        reasons = Counter(failure_reasons(ledger)).most_common()
        example = ledger["message"][-1].decode(errors="replace")
        record = replace(record, reasons=dict(reasons), example=example)
    path = record_path(shard)
    if not result.is_own:
        todo = f"Run `sbiwb verify {result.path}`."
        result.trouble(path, "is missing or cannot be read", todo)
        return record
    write = partial(put_record, shard, record)
    _mend(path, write, "its record was lost", "is written again from the shard", result)
    return record


def _mend(path: Path, write: Callable[[], None], what: str, how: str, result: Verified) -> None:
    """Writes a file that can be made from others; where that fails nothing is lost."""
    try:
        write()
        result.mended.append(f"{path}  {what} and {how}")
    except DiskError as error:
        result.mended.append(f"{path}  {what}; left alone ({error.what})")


def held_shards(shards: Iterable[AuditedShard]) -> list[Shard]:
    """Whole shards as the manifest counts them."""
    return [Shard(shard.path, shard.record) for shard in shards if shard.record is not None]


def _check_blocks(held: Sequence[Shard], blocks: int, folder: Path, result: Verified) -> None:
    """Whether every block up to the number asked for is there."""
    gaps = manifest.missing(held, blocks)
    if not gaps:
        return
    ranges = manifest.runs(gaps, longest=blocks)
    named = ", ".join(_range(piece) for piece in ranges[:MAX_RANGES])
    if len(ranges) > MAX_RANGES:
        named += f" and {len(ranges) - MAX_RANGES} more ranges"
    result.trouble(folder, f"{len(gaps)} of {blocks} blocks are missing: {named}")


def _range(piece: range) -> str:
    if len(piece) == 1:
        return str(piece.start)
    return f"{piece.start} to {piece.stop - 1}"


def _check_rows(whole: Whole, data: RunDir, result: Verified) -> None:
    """No row in two splits, or twice in one."""
    digests = {split: _distinct_blocks(shards) for split, shards in whole.items()}
    for shared in shared_rows(digests):
        what = f"{shared.rows} rows are in {shared.first} and in {shared.second}"
        if shared.first == shared.second:
            what = f"{shared.rows} rows of {shared.first} come twice"
        todo = (
            "What is judged on rows that were trained on cannot be trusted: delete these two"
            " folders, and make their rows again."
        )
        result.trouble(data.data, what, todo)


def _distinct_blocks(shards: Sequence[AuditedShard]) -> np.ndarray:
    """Digests of the rows of a split; blocks that two shards both hold count once."""
    parts, stop = [np.zeros(0, np.uint64)], 0
    digests_of = {shard.path: shard.digests for shard in shards}
    for shard in manifest.in_order(held_shards(shards)):
        record, blocks = shard.record, shard.blocks
        counted = min(max(0, stop - blocks.start), record.blocks)
        parts.append(digests_of[shard.path][counted * (record.rows // record.blocks) :])
        stop = max(stop, blocks.stop)
    return np.concatenate(parts)


def _remove_orphans(data: RunDir, result: Verified) -> None:
    """Removes the temporary files of killed processes."""
    for folder in (data.data, *map(data.split, SPLITS)):
        for path in sorted(folder.glob(".*.tmp")):
            try:
                if time.time() - path.stat().st_mtime > ORPHAN_S:
                    path.unlink()
                    result.mended.append(f"{path}  was left by a killed process and is removed")
            except FileNotFoundError:
                continue  # its writer has just renamed it
            except OSError as error:
                why = os.strerror(error.errno or 0)
                result.mended.append(f"{path}  was left by a killed process; left alone ({why})")


def _check_manifest(data: RunDir, whole: Whole, result: Verified) -> None:
    """The manifest says what the records say; it is made from them wherever it does not."""
    counts = {split: manifest.summary(held_shards(shards)) for split, shards in whole.items()}
    written: object = None
    try:
        if data.manifest.is_file():
            written = read_json(data.manifest).get("splits")
    except CorruptFile:
        written = None
    if written == manifest.splits_json(counts):
        return
    what = "differed from the records" if written else "was lost"
    write = partial(manifest.put_manifest, data, counts)
    _mend(data.manifest, write, what, "is written again from the records", result)


def _compare_files(plan: Plan, result: Verified) -> None:
    """Whether imported files are still what they were."""
    from sbiwb.project.imported import changed_files

    assert plan.imported is not None
    result.compared = 0
    todo = f"Import it into a run of another `name`; {result.path} holds what it was."
    for path in changed_files(plan.imported):
        result.trouble(path, "has changed since it was imported", todo)


def _compare_blocks(
    path: Path, whole: Whole, plan: Plan, result: Verified, reporter: Reporter
) -> None:
    """Makes one block of each split again: other bytes mean that code or a library has changed."""
    from sbiwb.project.fingerprint import differences
    from sbiwb.project.opening import open_run

    project = open_run(str(path.resolve()))
    if project.data_hash != plan.data_hash:
        changed = "; ".join(differences(plan.identity, project.data_identity))
        todo = "Change that back; or, if it changes no row: `sbiwb simulate --accept-code-change`."
        result.trouble(result.path, f"the problem has changed since: {changed}", todo)
        return
    result.compared = 0
    problem = replace(project.problem, simulator=project.isolated)
    middles = {split: _middle(shards) for split, shards in whole.items() if shards}
    with reporter.task("simulate", len(middles), unit="blocks") as ticker:
        for split, shard in middles.items():
            _compare(shard, partial(_block, problem, split), result)
            ticker.advance()


def _middle(shards: Sequence[AuditedShard]) -> Shard:
    held = held_shards(shards)
    return held[len(held) // 2]


def _block(problem: Problem, split: str, block: int, rows: int) -> Arrays:
    """One block as it is simulated now."""
    pairs, _ = simulate_block(problem, split, block, rows, FailureCounter(max_rate=1.0))
    return flatten(pairs)


def _compare(shard: Shard, simulate: Callable[[int, int], Arrays], result: Verified) -> None:
    """Whether the first block of a shard comes out with other bytes now."""
    record = shard.record
    rows = record.rows // record.blocks
    stored = flatten(read_shard(shard.path, record).take(np.arange(rows)))
    now = simulate(record.first_block, rows)
    differing = [name for name in stored if not _same_bytes(stored[name], now[name])]
    if not differing:
        result.compared = (result.compared or 0) + 1
        return
    what = f"block {record.first_block} comes out differently now ({', '.join(differing)})"
    todo = "Go back to the versions in its record, or give the run another `name`."
    result.trouble(shard.path, f"{what}; {_changed_versions(record.versions)}", todo)


def _same_bytes(then: np.ndarray, now: np.ndarray) -> bool:
    """Whether two arrays are the same in a type that holds both: a shard's holds its widest row."""
    dtype = np.result_type(then, now)
    return then.astype(dtype).tobytes() == now.astype(dtype).tobytes()


def _changed_versions(then: Mapping[str, str]) -> str:
    now = versions()
    changed = []
    for name, old in then.items():
        if now.get(name) != old:
            changed.append(f"{name} {old} -> {now.get(name, 'none')}")
    if changed:
        return f"versions since: {', '.join(changed)}"
    return "the versions are the same: does it draw from elsewhere than `rng`?"
