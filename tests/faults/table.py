"""The table of all faults, and how it is printed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import crashes, damage, disks, places, runs, simulators
from tests.faults.bench import Bench, Fault, Seen

FAULTS: list[Fault] = [
    fault for room in (crashes, damage, disks, simulators, runs, places) for fault in room.FAULTS
]
TOLD = 72  # letters of what happened


@dataclass(frozen=True)
class Row:
    """One fault, tried."""

    fault: Fault
    seen: Seen
    verdict: str
    seconds: float


def is_meant(fault: Fault, words: Sequence[str]) -> bool:
    """Whether it has this number, or this word in its name; no words mean all."""
    return not words or any(
        word == fault.number or (word in fault.name and not word.isdigit()) for word in words
    )


def tried(fault: Fault, *, full: bool) -> Row:
    """Runs one fault in a folder of its own."""
    folder, start = Path(tempfile.mkdtemp(prefix="fault-")), time.perf_counter()
    try:
        seen = fault.work(Bench(folder, full))
        verdict = fault.verdict(seen)
    except Exception as error:  # one row that fails must not hide the others
        seen, verdict = (
            Seen(f"{type(error).__name__}: {error}", None, False),
            f"{type(error).__name__}: {error}",
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Row(fault, seen, verdict, time.perf_counter() - start)


HEAD = f"{'':4}{'fault':52} {'what happened':{TOLD}} {'lost':>4} {'bytes equal':11} {'s':>5}"


def line(row: Row) -> str:
    """One line of the table, and a second where the row is not as expected."""
    seen = row.seen
    told = seen.line
    lost = "–" if seen.lost is None else str(seen.lost)
    equal = {None: "–", True: "yes", False: "NO"}[seen.equal]
    if seen.needs:
        told, lost, equal = f"needs {seen.needs}", "–", "–"
    text = (
        f"{row.fault.number:4}{row.fault.name[:52]:52} {told[:TOLD]:{TOLD}}"
        f" {lost:>4} {equal:11} {row.seconds:5.1f}"
    )
    if row.verdict:
        text += f"\n    NOT AS EXPECTED: {row.verdict}"
    return text


def summary(rows: Iterable[Row]) -> str:
    """What was not as expected with all that it said, for a log may keep its end alone; then the
    counts."""
    rows = list(rows)
    odd = [row for row in rows if row.verdict]
    lacking = sum(bool(row.seen.needs) for row in rows)
    lost = sum(row.seen.lost or 0 for row in rows)
    seconds = sum(row.seconds for row in rows)
    return "\n".join(
        [
            *(f"{line(row)}\n{row.seen.output}" for row in odd),
            f"{len(rows)} faults, {len(odd)} not as expected, {lost} shards lost,"
            f" {lacking} not tried here, {seconds:.0f} s",
        ]
    )
