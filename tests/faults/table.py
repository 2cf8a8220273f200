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
    """One line of the table."""
    seen = row.seen
    told = f"needs {seen.needs}" if seen.needs else seen.line
    lost = "–" if seen.lost is None or seen.needs else str(seen.lost)
    equal = "–" if seen.equal is None or seen.needs else "yes" if seen.equal else "NO"
    mark = "" if not row.verdict else f"\n    NOT AS EXPECTED: {row.verdict}"
    return f"{row.fault.number:4}{row.fault.name[:52]:52} {told[:TOLD]:{TOLD}} {lost:>4} {equal:11} {row.seconds:5.1f}{mark}"


def summary(rows: Iterable[Row]) -> str:
    rows = list(rows)
    lacking = sum(bool(row.seen.needs) for row in rows)
    odd = sum(bool(row.verdict) for row in rows)
    lost = sum(row.seen.lost or 0 for row in rows)
    return f"{len(rows)} faults, {odd} not as expected, {lost} shards lost, {lacking} not tried here, {sum(r.seconds for r in rows):.0f} s"
