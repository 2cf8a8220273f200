"""Rows 1 to 3: crashes, power cuts and kills; and mutants of our own writing, which this campaign
must notice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from sbiwb import files
from sbiwb.errors import SbiwbError
from sbiwb.workflow.simulate import simulate
from tests.faults.bench import (
    POOL,
    SMALL,
    Bench,
    Fault,
    KillAfter,
    Seen,
    ended,
    environment,
    finished,
    lost,
    undisturbed,
    use,
)
from tests.store.faulty import Crash, CrashDisk
from tests.store.test_crash import campaign
from tests.tiny import Child, Recorder, Tiny

EVERY = range(1, 10_000)  # ends with the first operation at which there is no crash any more


class DeadDisk(CrashDisk):
    """Stays dead after its crash."""

    def _tick(self) -> None:
        self.count += 1
        if self.count >= self.at:
            raise Crash


class NoSync(DeadDisk):
    """A mutant that never syncs a file."""

    def __init__(self, at: int) -> None:
        super().__init__(at, skip="file")


class RenameFirst(NoSync):
    """A mutant that renames a file, and syncs it then."""

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self.torn.discard(target)


@dataclass
class Crashes:
    """Crashes of the whole command, and the runs that they harmed."""

    points: int = 0
    lost: int = 0
    refused: int = 0
    unequal: int = 0
    torn: int = 0  # files under their final names, which were set aside

    @property
    def harmed(self) -> int:
        return self.lost + self.refused + self.unequal + self.torn

    def output(self) -> str:
        return f"{self.points} crashes: {self.lost} shards lost, {self.refused} runs refused, {self.unequal} with other bytes, {self.torn} torn files"


def crash(bench: Bench, disk: type[DeadDisk], *, undo: bool | None, at: Iterable[int]) -> Crashes:
    """Crashes `simulate` at these operations, and runs it again.

    Args:
        bench: Where.
        disk: What crashes.
        undo: Whether a power cut undoes unsynced renames too; None: the process dies, the power
            stays on.
        at: Numbers of operations.
    """
    found = Crashes()
    for number in at:
        tiny, broken, recorder = bench.tiny(SMALL, name=str(number)), disk(number), Recorder()
        with mock.patch.object(files, "disk", broken):
            crashed = _crashes(tiny, recorder)
        if undo is not None:
            broken.power_cut(undo)
        found.points += 1
        found.lost += max(0, recorder.advanced.get("simulate", 0) // 32 - len(finished(tiny)))
        _heal(tiny, found)
        if not crashed:
            break
    return found


def _crashes(tiny: Tiny, recorder: Recorder) -> bool:
    try:
        simulate(tiny.open(), recorder)
    except Crash:
        return True
    return False


def _heal(tiny: Tiny, found: Crashes) -> None:
    try:
        simulate(tiny.open(), Recorder())
    except SbiwbError:
        found.refused += 1
    else:
        found.unequal += tiny.shards() != undisturbed(tiny)
    found.torn += len(list(tiny.run.rglob("*.damaged*")))


def crashed(bench: Bench, *, undo: bool | None) -> Seen:
    found = crash(bench, DeadDisk, undo=undo, at=EVERY[:: bench.times(13, 1)])
    return Seen(found.output(), found.lost, found.harmed == found.lost)


def crashed_writer(bench: Bench) -> Seen:
    with pytest.MonkeyPatch.context() as monkeypatch:
        tried, gone = campaign(bench.folder, monkeypatch)
    return Seen(f"{tried} crashes of the writer of shards", gone)


def mutant_writer(bench: Bench, *, skip: str) -> Seen:
    with pytest.MonkeyPatch.context() as monkeypatch:
        tried, gone = campaign(bench.folder, monkeypatch, skip)
    return _noticed(gone, f"shards lost after {tried} crashes")


def mutant_command(bench: Bench, *, disk: type[DeadDisk]) -> Seen:
    found = crash(bench, disk, undo=False, at=range(1, bench.times(12, 60)))
    return _noticed(found.harmed, found.output())


def _noticed(harm: int, told: str) -> Seen:
    return Seen(f"{'noticed' if harm else 'not noticed'}: {harm} {told}", None, None)


def between(bench: Bench, *, name: str) -> Seen:
    tiny = bench.tiny()
    told = bench.run(tiny, first=lambda: use(KillAfter(name)))
    assert list(tiny.run.rglob(name)) and not (tiny.run / "data/train/shard-000002.json").exists()
    return bench.again(tiny, told)


def killed(bench: Bench) -> Seen:
    dice, early, gone, tries = random.Random(3), 0, 0, bench.times(3, 20)
    for number in range(-(-tries // 5)):
        tiny = bench.tiny(name=str(number))
        for _ in range(min(5, tries)):
            kept = finished(tiny)
            with environment(TINY_SLEEP="0.1"):
                early += bench.begin(tiny).kill_after(dice.uniform(0, 1)) == -signal.SIGKILL
            gone += lost(kept, tiny)
        seen = bench.again(tiny, f"-9 {early} of {tries} times before the end")
        if not seen.equal:
            return seen
    return Seen(seen.output, gone)


def killed_children(bench: Bench) -> Seen:
    """Twice in each run, for a task that three processes died of is given up."""
    dice, dead, gone = random.Random(5), 0, 0
    for number in range(bench.times(1, 10)):
        tiny = bench.tiny(POOL, name=str(number))
        with environment(TINY_SLEEP="0.2"):
            child = bench.begin(tiny, at_once=True)
        dead += sum(_kills_one(child, dice) for _ in range(2))
        seen = bench.again(tiny, ended(child))
        gone += seen.lost or 0
        if not seen.output.startswith("0 ") or not seen.equal:
            return seen
    return Seen(f"{seen.output}\nwarning: {dead} children killed in {number + 1} runs", gone)


def _kills_one(child: Child, dice: random.Random) -> bool:
    """Whether a worker was there to be killed, after a while."""
    time.sleep(dice.uniform(0.2, 1.0))
    while not child.ended and not workers_of(child.pid):
        time.sleep(0.01)
    found = [] if child.ended else workers_of(child.pid)
    if found:
        os.kill(dice.choice(found), signal.SIGKILL)
    return bool(found)


def workers_of(pid: int) -> list[int]:
    """Spawned processes of a process."""
    import psutil

    found = []
    for one in psutil.Process(pid).children(recursive=True):
        try:
            found += [one.pid] * ("spawn_main" in " ".join(one.cmdline()))
        except psutil.Error:
            continue  # it has just ended
    return found


def stopped(bench: Bench, *, number: signal.Signals) -> Seen:
    tiny = bench.tiny()
    with environment(TINY_SLEEP="0.1"):
        child = bench.begin(tiny)
    while not tiny.shards() and not child.ended:
        time.sleep(0.01)
    os.kill(child.pid, number)
    return bench.again(tiny, ended(child))


FAULTS = [
    Fault(
        "1",
        "crash at every operation of the command",
        partial(crashed, undo=None),
        "0 shards lost, 0 runs refused",
    ),
    Fault(
        "1",
        "killed between the shard's rename and its record",
        partial(between, name="shard-000002.h5"),
        "^-9",
    ),
    Fault(
        "1",
        "killed between the plan and the first shard",
        partial(between, name="plan.json"),
        "^-9",
        slow=True,
    ),
    Fault(
        "2",
        "power cut, unsynced data torn",
        partial(crashed, undo=False),
        "0 shards lost, 0 runs refused",
        slow=True,
    ),
    Fault(
        "2",
        "power cut, unsynced renames undone too",
        partial(crashed, undo=True),
        "0 shards lost, 0 runs refused",
    ),
    Fault(
        "2",
        "crash and power cut at every operation of the writer",
        crashed_writer,
        r"[7-9]\d crashes",
        slow=True,
    ),
    Fault(
        "M",
        "mutant: no fsync of the file",
        partial(mutant_writer, skip="file"),
        "^noticed",
        slow=True,
    ),
    Fault(
        "M",
        "mutant: no fsync of the folder",
        partial(mutant_writer, skip="folder"),
        "^noticed",
        slow=True,
    ),
    Fault(
        "M",
        "mutant: no fsync in the whole command",
        partial(mutant_command, disk=NoSync),
        "^noticed",
        slow=True,
    ),
    Fault(
        "M",
        "mutant: rename before the fsync",
        partial(mutant_command, disk=RenameFirst),
        "^noticed",
    ),
    Fault("3", "kill -9 of the command at random times", killed, r"^-9 [1-9]\d* of"),
    Fault(
        "3",
        "kill -9 of a pool's children at random times",
        killed_children,
        r"^0 .*[1-9]\d* children killed",
        slow=True,
    ),
    *(
        Fault(
            "14",
            f"{number.name} while simulating",
            partial(stopped, number=number),
            f"^75 .*stopped by {number.name}",
            number != signal.SIGTERM,
        )
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    ),
    Fault(
        "14",
        "Ctrl-C while simulating",
        partial(stopped, number=signal.SIGINT),
        "^130 .*Interrupted. What is finished is kept",
    ),
]
