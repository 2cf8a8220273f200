"""What every fault needs: a tiny project, the command in a fork, and the comparison with a run that
nothing disturbed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from sbiwb import files
from sbiwb.errors import CorruptFile
from sbiwb.store.shard_record import read_record
from sbiwb.store.shards import read_bytes
from sbiwb.workflow import simulate as module
from tests.cluster.conftest import SIMULATOR
from tests.tiny import Child, Tiny, _main, digest

LONGEST_S = 150.0  # of one command
SMALL: dict[str, Any] = {"simulate": {"train": 64, "validation": 32, "test": 32, "shard_size": 32}}
POOL: dict[str, Any] = {"machine": {"executor": {"kind": "pool", "workers": 2}}}


@dataclass(frozen=True)
class Seen:
    """What a fault did.

    Args:
        output: Exit code and all that was said.
        lost: Finished shards that had to be made again; None where that is not the question.
        equal: Whether, once mended, all shards have the bytes of the undisturbed run; None where
            that is not the question.
        needs: What this machine lacks, so that nothing was tried.
    """

    output: str
    lost: int | None = 0
    equal: bool | None = True
    needs: str = ""

    @property
    def line(self) -> str:
        """Exit code and the line that says most: of an error, of something mended, of a warning, or
        of how far it came."""
        code, _, rest = self.output.partition(" ")
        lines = [line for line in rest.splitlines() if line.strip()]
        for sign in (
            "^(error|wrong|bug|Interrupted)",
            "written again",
            "^warning",
            "simulations",
            "",
        ):
            found = [line for line in lines if re.search(sign, line)]
            if found:
                return re.sub(
                    r"(?<!\w)/\S*/(?=[\w.-])",
                    "",
                    f"{code} {found[-1 if sign == 'simulations' else 0]}",
                ).replace("  ", " ")
        return code


@dataclass(frozen=True)
class Fault:
    """One row of the matrix.

    Args:
        number: In the fault matrix; M for a mutant, + for what the matrix does not list.
        name: What goes wrong.
        work: Does it, mends it as the message says, and compares.
        expect: Pattern that must be found in what was told.
        slow: Whether it takes seconds, and `make test` has another case of its kind.
    """

    number: str
    name: str
    work: Callable[[Bench], Seen]
    expect: str
    slow: bool = False

    def verdict(self, seen: Seen) -> str:
        """What is not as expected; empty where all is."""
        if seen.needs:
            return ""
        if not re.search(self.expect, seen.output, re.DOTALL):
            return f"expected {self.expect!r}, told {seen.output!r}"
        if seen.lost:
            return f"{seen.lost} shards lost"
        return "" if seen.equal in (True, None) else "other bytes than the undisturbed run"


@dataclass(frozen=True)
class Bench:
    """A fault's folder.

    Args:
        folder: Empty.
        full: Whether there is time for every case, or for a sample.
    """

    folder: Path
    full: bool = False

    def times(self, few: int, many: int) -> int:
        return many if self.full else few

    def tiny(
        self, changes: Mapping[str, Any] | None = None, simulator: str = SIMULATOR, name: str = "it"
    ) -> Tiny:
        return Tiny.write(self.folder / name, changes or {}, simulator)

    def begin(
        self, tiny: Tiny, *more: str, first: Callable[[], object] = bool, at_once: bool = False
    ) -> Child:
        """`simulate` in a fork, after `first` there; `at_once`: with its executor, however little
        there is to do."""
        with mock.patch.object(
            module, "NOT_WORTH_A_POOL_S", 0.0 if at_once else module.NOT_WORTH_A_POOL_S
        ):
            return self._fork(tiny.arguments("simulate", *more), first)

    def _fork(self, arguments: list[str], first: Callable[[], object] = bool) -> Child:
        return Child.start(
            lambda: (os.chdir(self.folder), first(), _main(arguments))[2],
            self.folder / f"fork-{time.monotonic_ns()}.txt",
        )

    def run(self, tiny: Tiny, *more: str, **options: Any) -> str:
        """Exit code and output of the command, run to its end."""
        return ended(self.begin(tiny, *more, **options))

    def verify(self, tiny: Tiny, *, first: Callable[[], object] = bool) -> str:
        """The same of `verify`."""
        return ended(self._fork(["verify", str(tiny.run)], first))

    def worker(self, tiny: Tiny, *more: str) -> str:
        """The same of `worker`."""
        return ended(self._fork(["worker", str(tiny.run), *more]))

    def again(
        self,
        tiny: Tiny,
        told: str,
        *more: str,
        mend: Callable[[], object] = bool,
        executor: str = "serial",
    ) -> Seen:
        """Mends, runs the same command again, and compares; `executor` makes the undisturbed
        run."""
        mend()
        kept = finished(tiny)
        last = self.run(tiny, *more)
        if not last.startswith("0 "):
            return Seen(f"{told}; and again: {last}", lost(kept, tiny), equal=False)
        return Seen(told, lost(kept, tiny), tiny.shards() == undisturbed(tiny, executor))

    def halfway(self, changes: Mapping[str, Any] | None = None) -> Tiny:
        """A run that was killed when its second shard was done."""
        tiny = self.tiny(changes)
        told = self.run(tiny, first=lambda: use(KillAfter("shard-000002.json")))
        assert told.startswith("-9 "), told
        return tiny


def ended(child: Child) -> str:
    """Exit code and output of a command that has to end by itself."""
    late = time.monotonic() + LONGEST_S
    while not child.ended:
        if time.monotonic() > late:
            child.kill_after(0)
            return f"hangs {child.output}"
        time.sleep(0.01)
    return f"{child.wait()} {child.output}"


def use(disk: files.Disk) -> None:
    """This process writes to that disk from now on."""
    files.disk = disk


class KillAfter(files.Disk):
    """Kills the process just after the rename of a file."""

    def __init__(self, name: str) -> None:
        self.name = name

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        if target.name == self.name:
            os.kill(os.getpid(), 9)


def finished(tiny: Tiny, run: Path | None = None) -> dict[str, tuple[str, int, int]]:
    """Shards that count and hold what their record says, each with its sha256 and who it is: made
    again, it is another file."""
    found = {}
    for path in sorted((run or tiny.run).glob("data/*/*.h5")):
        try:
            record = read_record(path)
            if record is None:
                continue
            read_bytes(path, record)
        except CorruptFile:
            continue
        status = path.stat()
        found[f"{path.parent.name}/{path.name}"] = (digest(path), status.st_ino, status.st_mtime_ns)
    return found


def lost(before: Mapping[str, object], tiny: Tiny, run: Path | None = None) -> int:
    """Finished shards that are gone, or are not the files they were."""
    now = finished(tiny, run)
    return sum(now.get(name) != one for name, one in before.items())


def beside(tiny: Tiny, executor: str) -> dict[str, str]:
    """The same in a run folder beside the disturbed one, with the same simulator file, whose path
    failures tell."""
    other = tiny.folder / "undisturbed"
    told = ended(
        tiny.fork("simulate", "--runs", str(other), "--set", f"machine.executor={executor}")
    )
    assert told.startswith("0 "), told
    return {f"data/{name}": one[0] for name, one in finished(tiny, other / "tiny").items()}


def undisturbed(tiny: Tiny, executor: str = "serial") -> dict[str, str]:
    """sha256 by name of the shards of the same problem, simulated in one go; `pool` keeps a deadly
    simulator in a process of its own."""
    document = yaml.safe_load(tiny.yaml.read_text())
    document["machine"] = {**document["machine"], "executor": executor}
    return _undisturbed(
        yaml.safe_dump(document, sort_keys=False), (tiny.folder / "tiny.py").read_text()
    )


@cache
def _undisturbed(document: str, simulator: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="undisturbed-") as folder:
        tiny = Tiny.write(Path(folder) / "it", {}, simulator)
        tiny.yaml.write_text(document)
        told = ended(tiny.fork("simulate"))
        assert told.startswith("0 "), told
        return tiny.shards()


@contextmanager
def environment(**values: str) -> Iterator[None]:
    with mock.patch.dict(os.environ, values):
        yield


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None] | None]:
    """A file system of that size at a folder, and a function that changes its options; None where
    nobody may mount."""
    folder.mkdir()
    if (
        os.geteuid() != 0
        or shutil.which("mount") is None
        or os.system(f"mount -t tmpfs -o size={size} none '{folder}' 2>/dev/null")
    ):
        yield None
        return
    try:
        yield lambda options: _remount(folder, options)
    finally:
        os.system(f"umount '{folder}'")


def _remount(folder: Path, options: str) -> None:
    assert os.system(f"mount -o remount,{options} '{folder}'") == 0
