"""The verb `verify`: every shard against its record, the records against the plan, splits against each other; what can be mended is."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.contracts import Reporter
from sbiwb.errors import CorruptFile, DiskError, RunError
from sbiwb.files import put_json, read_json, stable_hash
from sbiwb.rundir import SPLITS, RunDir, versions
from sbiwb.simulation.blocks import FailureCounter, simulate_block
from sbiwb.simulation.layout import from_json
from sbiwb.store import manifest
from sbiwb.store.audit import ExpectedShard, Found, audit, twice
from sbiwb.store.shards import flatten, read_failures, read_shard, reasons, record_path
from sbiwb.workflow.status import simulate_section

ORPHAN_S = 3600.0


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong.

    Args:
        where: File or folder.
        what: What is wrong with it.
        todo: What to do.
    """

    where: Path
    what: str
    todo: str


@dataclass
class Verified:
    """What was found in a run's data.

    Args:
        path: The run that holds the shards.
        shards: Whole ones.
        rows: In them.
        bytes: In them.
        troubles: What is wrong.
        mended: What was put right, or left alone, in sentences.
        compared: Blocks simulated again and found equal; None without `deep`.
    """

    path: Path
    shards: int = 0
    rows: int = 0
    bytes: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    compared: int | None = None

    @property
    def is_whole(self) -> bool:
        return not self.troubles


def verify(path: Path, reporter: Reporter, *, deep: bool = False) -> Verified:
    """Checks all simulations of a run.

    Args:
        path: The run folder.
        reporter: Where progress goes.
        deep: Whether a block of each split is simulated again and compared with what is stored.

    Raises:
        RunError: No run folder, or no plan in it.
    """
    run = RunDir(path)
    if not run.config.is_file():
        raise RunError(
            "is no run folder: it holds no config.yaml",
            where=path,
            todo="Name a folder under runs/.",
        )
    section, data = simulate_section(run)
    plan = _plan(data)
    found = Verified(data.path)
    is_own = data.path == run.path
    _check_plan(plan, data, found)
    listed = {split: _listed(data.split(split)) for split in SPLITS}
    whole: dict[str, list[Found]] = {}
    with reporter.task("verify", sum(map(len, listed.values())), unit="shards") as ticker:
        for split in SPLITS:
            expected = _expected(plan, split)
            whole[split] = []
            for shard in listed[split]:
                one = audit(shard, expected)
                _tell(one, plan, is_own, found)
                if one.record is not None and not one.trouble:
                    whole[split].append(replace(one, record=_kept(one, is_own, found)))
                ticker.advance(wrong=len(found.troubles))
            _check_blocks(whole[split], section[split], expected, plan, data.split(split), found)
    _check_rows(whole, data, found)
    if is_own:
        _remove_orphans(data, found)
        _check_manifest(data, whole, found)
    if deep:
        _compare(path, whole, plan, found, reporter)
    return found


def _plan(data: RunDir) -> dict[str, Any]:
    if not data.plan.is_file():
        raise RunError(
            "has no plan, which says what its shards should be",
            where=data.plan,
            todo="Run `sbiwb simulate` (or `sbiwb import`) on the config: it writes the plan anew and keeps what fits.",
        )
    return read_json(data.plan)


def _check_plan(plan: dict[str, Any], data: RunDir, found: Verified) -> None:
    if stable_hash(plan["identity"]) != plan["data_hash"]:
        todo = "Delete it and run `sbiwb simulate` on the config: it writes it anew, and keeps the shards that fit."
        found.troubles.append(
            Trouble(data.plan, "was altered: its data_hash is not that of the problem in it", todo)
        )


def _expected(plan: dict[str, Any], split: str) -> ExpectedShard:
    problem = plan["identity"]["problem"]
    layout = {
        name: (one.dtype, one.shape, one.ragged) for name, one in from_json(plan["layout"]).items()
    }
    theta, context = (
        tuple(name for name, _ in problem[part]) for part in ("parameters", "context")
    )
    return ExpectedShard(
        plan["data_hash"], split, plan["identity"]["simulate"]["block_size"], layout, theta, context
    )


def _listed(folder: Path) -> list[Path]:
    """Every shard that has a file or a record."""
    files, records = manifest.names(folder)
    return [
        folder / f"{stem}.h5"
        for stem in sorted({*files, *records})
        if stem.partition("-")[2].isdigit()
    ]


def _again(plan: dict[str, Any], path: Path) -> str:
    """The command that makes lost rows again."""
    if "imported" in plan:
        return "Run the same `sbiwb import` again: it makes the same shards."
    return f"Run `sbiwb simulate {path}`: it makes the same rows again."


def _tell(one: Found, plan: dict[str, Any], is_own: bool, found: Verified) -> None:
    if one.foreign:
        todo = f"Move it and {one.path.stem}.json elsewhere; then: {_again(plan, found.path)}"
        found.troubles.append(Trouble(one.path, one.trouble, todo))
    elif one.trouble:
        found.troubles.append(Trouble(one.path, one.trouble, _again(plan, found.path)))
    elif one.lost and not is_own:
        found.troubles.append(
            Trouble(
                record_path(one.path),
                "is missing or cannot be read",
                f"Run `sbiwb verify {found.path}`.",
            )
        )


def _kept(one: Found, is_own: bool, found: Verified) -> dict[str, Any]:
    """The record of a whole shard, written again where it was lost; the shard is counted."""
    assert one.record is not None
    record = one.record
    found.shards, found.rows, found.bytes = (
        found.shards + 1,
        found.rows + record["rows"],
        found.bytes + record["bytes"],
    )
    if not one.lost:
        return record
    record = {name: value for name, value in record.items() if name != "format"}
    if record["failed"]:
        record["reasons"] = dict(Counter(reasons(read_failures(one.path, record))).most_common())
    if is_own:
        _put(
            record_path(one.path),
            record,
            "its record was lost and is written again from the shard",
            found,
        )
    return record


def _put(path: Path, value: dict[str, Any], told: str, found: Verified) -> None:
    """Writes a file that can be made from others; what cannot be written is told, and nothing is lost by it."""
    try:
        put_json(path, value)
        found.mended.append(f"{path}  {told}")
    except DiskError as error:
        found.mended.append(f"{path}  {told.split(' and ')[0]}; left alone ({error.what})")


def _check_blocks(
    whole: Sequence[Found],
    wanted: int,
    expected: ExpectedShard,
    plan: dict[str, Any],
    folder: Path,
    found: Verified,
) -> None:
    """Whether every block up to the number asked for is there."""
    shards = [manifest.Shard(one.path, one.record) for one in whole if one.record is not None]
    gaps = manifest.missing(shards, -(-wanted // expected.block_size))
    pieces = manifest.runs(gaps, 1 << 60)
    if pieces:
        told = ", ".join(
            f"{one.start} to {one.stop - 1}" if len(one) > 1 else str(one.start)
            for one in pieces[:5]
        )
        more = f" and {len(pieces) - 5} more ranges" if len(pieces) > 5 else ""
        what = (
            f"{len(gaps)} of {-(-wanted // expected.block_size)} blocks are missing: {told}{more}"
        )
        found.troubles.append(Trouble(folder, what, _again(plan, found.path)))


def _check_rows(whole: dict[str, list[Found]], data: RunDir, found: Verified) -> None:
    """No row in two splits, or twice in one; blocks that two shards both hold are compared once."""
    digests: dict[str, np.ndarray] = {}
    for split, shards in whole.items():
        parts, stop = [np.zeros(0, np.uint64)], 0
        for one in sorted(shards, key=lambda one: one.record["first_block"] if one.record else 0):
            assert one.record is not None
            first, length = one.record["first_block"], one.record["blocks"]
            skipped = min(max(0, stop - first), length) * (one.record["rows"] // length)
            parts.append(one.digests[skipped:])
            stop = max(stop, first + length)
        digests[split] = np.concatenate(parts)
    for a, b, rows in twice(digests):
        what = f"{rows} rows of {a} come twice" if a == b else f"{rows} rows are in {a} and in {b}"
        todo = "What is judged on rows that were trained on cannot be trusted: delete these two folders, and make their rows again."
        found.troubles.append(Trouble(data.data, what, todo))


def _remove_orphans(data: RunDir, found: Verified) -> None:
    """Temporary files of killed processes, older than an hour: no writer needs that long."""
    for path in sorted(
        path for folder in (data.data, *map(data.split, SPLITS)) for path in folder.glob(".*.tmp")
    ):
        try:
            if time.time() - path.stat().st_mtime > ORPHAN_S:
                path.unlink()
                found.mended.append(f"{path}  was left by a killed process and is removed")
        except FileNotFoundError:
            continue  # its writer has just renamed it
        except OSError as error:
            found.mended.append(
                f"{path}  was left by a killed process; left alone ({os.strerror(error.errno or 0)})"
            )


def _check_manifest(data: RunDir, whole: dict[str, list[Found]], found: Verified) -> None:
    """The manifest says what the records say; it is made from them wherever it does not."""
    counted = {
        split: [manifest.Shard(one.path, one.record) for one in shards if one.record]
        for split, shards in whole.items()
    }
    splits = {split: manifest.summary(shards) for split, shards in counted.items()}
    try:
        told = read_json(data.manifest).get("splits") if data.manifest.is_file() else None
    except CorruptFile:
        told = None
    if told != splits:
        what = "differed from the records" if told else "was lost"
        _put(
            data.manifest,
            {"splits": splits},
            f"{what} and is written again from the records",
            found,
        )


def _compare(
    path: Path,
    whole: dict[str, list[Found]],
    plan: dict[str, Any],
    found: Verified,
    reporter: Reporter,
) -> None:
    """Makes one block of each split again: other bytes mean that the code or a library has changed since."""
    if "imported" in plan:
        from sbiwb.project.imported import changed_files

        found.compared = 0
        found.troubles += [
            Trouble(file, what, todo) for file, what, todo in changed_files(plan, found.path)
        ]
        return
    from sbiwb.project.fingerprint import differences
    from sbiwb.project.opening import open_run

    project = open_run(str(path.resolve()))
    if project.data_hash != plan["data_hash"]:
        changed = "; ".join(differences(plan["identity"], project.data_identity))
        todo = "Change that back; or, if it changes no row: `sbiwb simulate --accept-code-change`."
        found.troubles.append(
            Trouble(found.path, f"the problem has changed since: {changed}", todo)
        )
        return
    found.compared = 0
    problem = replace(project.problem, simulator=project.isolated)
    with reporter.task("simulate", sum(map(bool, whole.values())), unit="blocks") as ticker:
        for split, shards in whole.items():
            for one in shards[len(shards) // 2 :][:1]:
                what = _differs(one, partial(_block, problem, split, rows=project.block_size))
                if what:
                    found.troubles.append(
                        Trouble(
                            one.path,
                            what,
                            "Go back to the versions in its record, or give the run another `name`.",
                        )
                    )
                else:
                    found.compared += 1
                ticker.advance()


def _block(problem: Any, split: str, block: int, *, rows: int) -> dict[str, np.ndarray]:
    return flatten(simulate_block(problem, split, block, rows, FailureCounter(max_rate=1.0))[0])


def _differs(one: Found, again: Callable[[int], dict[str, np.ndarray]]) -> str:
    """Whether the first block of a shard comes out with other bytes now; what differs, with versions."""
    assert one.record is not None
    first, rows = one.record["first_block"], one.record["rows"] // one.record["blocks"]
    then, now = flatten(read_shard(one.path, one.record).take(np.arange(rows))), again(first)
    differing = [name for name in then if not _same_bytes(then[name], now[name])]
    if not differing:
        return ""
    return f"block {first} comes out differently now ({', '.join(differing)}); {_changed_versions(one.record)}"


def _same_bytes(then: np.ndarray, now: np.ndarray) -> bool:
    """Whether two arrays are the same in a type that holds both: a shard's has that of its widest row."""
    dtype = np.result_type(then, now)
    return then.astype(dtype).tobytes() == now.astype(dtype).tobytes()


def _changed_versions(record: dict[str, Any]) -> str:
    now = versions()
    changed = [
        f"{name} {old} -> {now.get(name, 'none')}"
        for name, old in record.get("versions", {}).items()
        if now.get(name) != old
    ]
    return (
        f"versions since: {', '.join(changed)}"
        if changed
        else "the versions are the same: does it draw from elsewhere than `rng`?"
    )
