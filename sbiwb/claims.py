"""Claims: one process at a time works on a thing, on any number of machines, whoever of them dies.

A claim is a small file that names its owner. It is made so that one process alone can make it, and
its owner touches it every `BEAT_S` seconds, so that others see from any machine that it lives. The
claim of a process that died on this machine ends at once; of one that ran elsewhere, after
`STALE_S` seconds without a heartbeat, by the clock of the file system that both share.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread

from sbiwb.errors import DiskError, RunError
from sbiwb.files import temporary
from sbiwb.processes import is_alive

BEAT_S, STALE_S = 20.0, 300.0  # between heartbeats, and without one until a claim has ended
UNWRITTEN_S = 5.0  # after which a claim that names nobody is one whose owner died while writing it
TAKING_S = 30.0  # after which a takeover that was begun is one whose process died in it
LOOK_S = 0.2  # between two looks while waiting


@dataclass(frozen=True)
class Owner:
    """A process that holds a claim.

    Args:
        host: Name of its machine, for people.
        pid: Its number there.
        since: When it made its claim, for people.
        machine: Its machine's boot and its space of process numbers: where both are the same,
            `pid` means the same.
        started: When the process began, in the kernel's ticks; its number may be used again.
        token: Of this very claim.
    """

    host: str
    pid: int
    since: str = ""
    machine: str = ""
    started: str = ""
    token: str = ""

    @classmethod
    def here(cls) -> Owner:
        """This process, with a new token."""
        pid = os.getpid()
        since, started = time.strftime("%Y-%m-%d %H:%M:%S"), _process_start(pid) or ""
        return cls(socket.gethostname(), pid, since, machine(), started, uuid.uuid4().hex)

    @classmethod
    def read(cls, facts: object) -> Owner | None:
        """An owner from JSON; None where it names nobody."""
        if not isinstance(facts, Mapping):
            return None
        host, pid = facts.get("host"), facts.get("pid")
        if not isinstance(host, str) or not isinstance(pid, int):
            return None
        texts = {
            name: str(facts.get(name, "")) for name in ("since", "machine", "started", "token")
        }
        return cls(host, pid, **texts)

    @property
    def is_near(self) -> bool:
        """Whether it is a process of this machine, so that we can see whether it lives."""
        return bool(self.machine) and self.machine == machine()

    @property
    def is_dead(self) -> bool:
        """Whether it is a process of this machine that has ended; of others we cannot know."""
        if not self.is_near:
            return False
        start = _process_start(self.pid)
        return start is None or bool(self.started and start and start != self.started)

    def __str__(self) -> str:
        since = f" since {self.since}" if self.since else ""
        return f"process {self.pid} on {self.host}{since}"


@dataclass(frozen=True)
class Claim:
    """A claim that this process holds."""

    path: Path
    owner: Owner

    def check(self) -> None:
        """Looks whether the claim is still ours.

        Raises:
            RunError: This process was silent for so long that another one took it.
        """
        other = _owner_of(self.path)
        if other != self.owner:
            raise RunError(
                f"is claimed by {other or 'nobody'} now, as this process was silent too long",
                where=self.path.parent,
                todo="Let the other one go on, or run the same command again when it has ended.",
            )


@contextmanager
def hold(
    path: Path, doing: str, waiting: Callable[[str], None] = lambda text: None
) -> Iterator[Claim]:
    """Holds a claim, unless a living process does.

    Where only the heartbeat can tell whether the other one lives, as on another machine, this waits
    until it is heard or overdue.

    Args:
        path: The claim's file, in the folder of what is claimed.
        doing: What the owner does with that folder, for the message: `trains this run`.
        waiting: Hears, once, for whose heartbeat we wait.

    Raises:
        RunError: Another process holds it.
        DiskError: The claim cannot be written.
    """

    def refuse(owner: Owner) -> None:
        raise RunError(
            f"{owner} {doing} already",
            where=path.parent,
            todo=f"Let it finish, or stop it there (kill {owner.pid}) and run this again.",
        )

    with _held(path, refuse, waiting) as claim:
        yield claim


@contextmanager
def in_turn(path: Path) -> Iterator[Claim]:
    """Holds a claim as soon as the processes before are done or dead."""
    with _held(path, lambda owner: None, lambda text: None) as claim:
        yield claim


@contextmanager
def _held(
    path: Path, living: Callable[[Owner], None], waiting: Callable[[str], None]
) -> Iterator[Claim]:
    claim = Claim(path, Owner.here())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(claim, living, waiting)
    except OSError as error:
        raise DiskError.of(error, path) from error
    try:
        with heartbeat(path, lambda: _owner_of(path) == claim.owner):
            yield claim
    finally:
        with contextlib.suppress(OSError):  # what ended the work is the better message
            if _owner_of(path) == claim.owner:
                path.unlink()


def _acquire(claim: Claim, living: Callable[[Owner], None], waiting: Callable[[str], None]) -> None:
    """Makes the claim, or takes over a dead one's; `living` is called with an owner that lives."""
    heard: dict[Owner, float] = {}  # the first heartbeat that we saw
    while not _created(claim.path, claim.owner):
        with contextlib.suppress(FileNotFoundError):  # its owner is just leaving
            beat, text = claim.path.stat().st_mtime, claim.path.read_bytes()
            owner = _owner_in(text)
            if _is_over(claim.path, owner):
                _take_over(claim, text)
                continue
            if owner is not None and (owner.is_near or heard.get(owner, beat) != beat):
                living(owner)
            elif owner is not None and owner not in heard:
                waiting(f"Waiting for a sign of life of {owner}, {STALE_S:.0f} s at most.")
                heard[owner] = beat
        time.sleep(LOOK_S)


def _is_over(path: Path, owner: Owner | None) -> bool:
    """Whether a claim has ended although it stands there."""
    if owner is None:
        return seconds_silent(path) > UNWRITTEN_S
    return owner.is_dead or (not owner.is_near and seconds_silent(path) > STALE_S)


def _take_over(claim: Claim, dead: bytes) -> None:
    """Puts ours in the place of a dead one; of several processes that want to, one at a time."""
    marker = claim.path.with_name(f"{claim.path.name}.taking")
    if not _created(marker, claim.owner):
        with contextlib.suppress(FileNotFoundError):
            if seconds_silent(marker) > TAKING_S:
                marker.unlink()
        time.sleep(LOOK_S)
        return
    try:
        if claim.path.read_bytes() == dead:  # another one may have taken it over meanwhile
            claim.path.unlink()
    finally:
        marker.unlink(missing_ok=True)


def _created(path: Path, owner: Owner) -> bool:
    """Whether the file was not there and is now."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(json.dumps(asdict(owner)))
    except FileExistsError:
        return False
    return True


def _owner_of(path: Path) -> Owner | None:
    try:
        return _owner_in(path.read_bytes())
    except OSError:
        return None


def _owner_in(text: bytes) -> Owner | None:
    try:
        return Owner.read(json.loads(text))
    except (ValueError, RecursionError):
        return None


@contextmanager
def heartbeat(path: Path, ours: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Touches a file again and again while inside, as long as it is ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stop = Event()

    def beat() -> None:
        while not stop.wait(BEAT_S):
            with contextlib.suppress(OSError):  # a disk that is full or away for a while
                if ours():
                    path.touch()

    path.touch()
    thread = Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def seconds_silent(path: Path) -> float:
    """Since the last heartbeat, by the clock that stamps files, which may be a file server's."""
    clock = temporary(path.with_name("clock"))
    clock.touch()
    now = clock.stat().st_mtime
    clock.unlink(missing_ok=True)
    return now - path.stat().st_mtime


def machine() -> str:
    """This boot of this machine, and this space of process numbers: a container has its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _process_start(pid: int) -> str | None:
    """When a process of this machine began; empty where we cannot see it, None where it ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "" if is_alive(pid) else None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]  # a zombie has ended
