"""Rows 31 and 32: where a command is run, and from what."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path

from sbiwb import files
from tests.faults.bench import (
    SMALL,
    Bench,
    Fault,
    Seen,
    finished,
    lost,
    small_disk,
    undisturbed,
    use,
)
from tests.tiny import SBIWB, Tiny

TEN_YEARS_S = 3.2e8


def read_only(bench: Bench) -> Seen:
    """The disk becomes read-only after a run that died half way."""
    with small_disk(bench.folder / "small", "8m") as change:
        if change is None:
            return Seen("", needs="root, to mount a small disk")
        tiny = Tiny(shutil.copytree(bench.halfway().folder, bench.folder / "small" / "it"))
        change("ro")
        return bench.again(tiny, bench.run(tiny), mend=lambda: change("rw"))


def blocked(bench: Bench, *, where: str, folder: bool = False) -> Seen:
    """Something of the wrong kind stands at a path of the run."""
    tiny = bench.tiny()
    path = tiny.run / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if folder else path.write_text("")
    told = bench.run(tiny)
    return bench.again(tiny, told, mend=lambda: path.rmdir() if folder else path.unlink())


def removed(bench: Bench) -> Seen:
    """The run folder is removed by somebody between two runs."""
    tiny = bench.halfway()
    shutil.rmtree(tiny.run)
    return bench.again(tiny, bench.run(tiny))


class RemoveAfter(files.Disk):
    """Removes a whole run folder when a file in it is safe."""

    def __init__(self, name: str, run: Path) -> None:
        self.name, self.run, self.due = name, run, False

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self.due = target.name == self.name

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        if self.due:
            shutil.rmtree(self.run)
            self.due = False


def removed_meanwhile(bench: Bench) -> Seen:
    """The run folder is removed by somebody while it is written."""
    tiny = bench.tiny()
    return bench.again(
        tiny, bench.run(tiny, first=lambda: use(RemoveAfter("shard-000002.json", tiny.run)))
    )


def shell(bench: Bench, *, line: str, bare: bool = False, odd: str = "") -> Seen:
    """The real command in a shell: its exit code is the last part's that failed."""
    tiny = bench.tiny(SMALL, name=odd or "it")
    words = {"SBIWB": SBIWB, "CONFIG": str(tiny.yaml), "RUNS": str(tiny.folder / "runs")}
    kept = {} if bare else dict(os.environ)
    done = subprocess.run(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            line.replace("sbiwb simulate", '"$SBIWB" simulate "$CONFIG" --runs "$RUNS"'),
        ],
        capture_output=True,
        timeout=120,
        env={**kept, **words, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        if bare
        else {**kept, **words},
    )
    told = f"{done.returncode} {done.stderr.decode(errors='replace')}"
    return bench.again(tiny, told)


def closed_input(bench: Bench) -> Seen:
    tiny = bench.tiny()
    return bench.again(tiny, bench.run(tiny, first=lambda: os.close(0)))


def no_terminal(bench: Bench) -> Seen:
    tiny = bench.tiny()
    told = bench.run(tiny, first=os.setsid)
    assert "\x1b" not in told and "\r" not in told
    return bench.again(tiny, told)


def not_utf8(bench: Bench) -> Seen:
    tiny = bench.halfway()
    text = tiny.yaml.read_bytes()
    tiny.yaml.write_bytes(text + b"# na\xefve\n")
    told = bench.run(tiny)
    return bench.again(tiny, told, mend=lambda: tiny.yaml.write_bytes(text))


def clock(bench: Bench, *, by_s: float) -> Seen:
    """The clock jumps after a run that died half way, and jumps back after the next one."""
    tiny, real = bench.halfway(), time.time
    for path in tiny.run.rglob("*"):
        os.utime(path, (real() - by_s, real() - by_s))
    kept = finished(tiny)
    told = bench.run(tiny, first=lambda: setattr(time, "time", lambda: real() + by_s))
    seen = bench.again(tiny, told)
    return Seen(told, lost(kept, tiny), seen.equal and tiny.shards() == undisturbed(tiny))


FAULTS = [
    Fault(
        "31",
        "the disk becomes read-only",
        read_only,
        "^2 .*The file system is read-only: choose another folder with --runs DIR",
    ),
    Fault("31", "the run folder is removed between two runs", removed, "^0 "),
    Fault("31", "the run folder is removed while it is written", removed_meanwhile, "^2 "),
    Fault(
        "31",
        "a file where the run folder should be",
        partial(blocked, where=""),
        "^2 .*A file stands where a folder should be",
    ),
    Fault(
        "31",
        "a file where a split should be",
        partial(blocked, where="data/train"),
        "^2 .*A file stands where a folder should be",
    ),
    Fault(
        "31",
        "a folder where a shard should be",
        partial(blocked, where="data/train/shard-000002.h5", folder=True),
        "^2 .*A folder stands where a file should be",
    ),
    Fault(
        "31",
        "a folder where a record should be",
        partial(blocked, where="data/train/shard-000002.json", folder=True),
        "^2 .*A folder stands where a file should be",
    ),
    Fault(
        "31",
        "no HOME, no environment, C locale",
        partial(shell, line="sbiwb simulate", bare=True),
        "^0 ",
        slow=True,
    ),
    Fault(
        "31",
        "output into `head -1`",
        partial(shell, line="sbiwb simulate | head -1"),
        "^(0|141) ",
        slow=True,
    ),
    Fault(
        "31",
        "errors into `head -1`",
        partial(shell, line="sbiwb simulate 2>&1 | head -1"),
        "^(0|141) ",
        slow=True,
    ),
    Fault(
        "31",
        "input and outputs closed",
        partial(shell, line="sbiwb simulate <&- >&- 2>&-"),
        "^0 ",
        slow=True,
    ),
    Fault(
        "31",
        "a folder with blanks, quotes and other letters",
        partial(shell, line="sbiwb simulate", odd="é 'a\" $b%a"),
        "^0 ",
        slow=True,
    ),
    Fault("31", "input closed", closed_input, "^0 "),
    Fault("31", "no terminal", no_terminal, "^0 "),
    Fault("31", "YAML that is not UTF-8", not_utf8, "^2 .*UTF-8"),
    Fault("31", "the clock jumps ten years ahead", partial(clock, by_s=TEN_YEARS_S), "^0 "),
    Fault(
        "31", "the clock jumps ten years back", partial(clock, by_s=-TEN_YEARS_S), "^0 ", slow=True
    ),
]
