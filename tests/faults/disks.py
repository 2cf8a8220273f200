"""Rows 4 and 5: full disks and errors of input and output, real ones where this machine can make
them."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

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
from tests.store.faulty import RefusingDisk

ROOT = Path(__file__).parents[2]
BIG = {"simulate": {"train": 8192, "shard_size": 1024}}


def full(bench: Bench) -> Seen:
    """ENOSPC of the kernel."""
    tiny = bench.tiny(BIG)
    with small_disk(bench.folder / "small", "200k") as change:
        if change is None:
            return Seen("", needs="root, to mount a small disk")
        where = ("--runs", str(bench.folder / "small"))
        told = bench.run(tiny, *where)
        run = bench.folder / "small" / "tiny"
        kept = finished(tiny, run)
        assert kept and not list(run.rglob("*.tmp"))
        change("size=8m")
        last = bench.run(tiny, *where)
        same = {f"data/{name}": one[0] for name, one in finished(tiny, run).items()} == undisturbed(
            tiny
        )
        return Seen(told, lost(kept, tiny, run), same and last.startswith("0 "))


def limited(bench: Bench) -> Seen:
    """EFBIG of the kernel, in the middle of a shard."""
    tiny = bench.tiny()
    told = bench.run(
        tiny,
        first=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY)),
    )
    assert not list(tiny.run.rglob("*.tmp"))
    return bench.again(tiny, told)


def refused(bench: Bench, *, operation: str, number: int) -> Seen:
    """One operation fails, each time another one; the same run goes on through all of them."""
    seen, hit, gone = Seen("not reached"), 0, 0
    for at in range(1, 60)[:: bench.times(14, 1)]:
        tiny = bench.tiny(SMALL, name=str(at))
        told = bench.run(tiny, first=lambda at=at: use(RefusingDisk(operation, number, at)))
        if told.startswith("0 "):
            break
        seen = bench.again(tiny, told)
        hit, gone = hit + 1, gone + (seen.lost or 0)
        if not seen.output.startswith("2 ") or "Traceback" in seen.output or not seen.equal:
            return seen
    return Seen(f"{seen.output}\n({hit} places)", gone, seen.equal)


def unread(bench: Bench) -> Seen:
    """The disk fails under the simulator file after a run that died half way."""
    tiny, real = bench.halfway(), Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "tiny.py":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path)

    return bench.again(tiny, bench.run(tiny, first=lambda: setattr(Path, "read_bytes", read)))


INJECTED = """
import ctypes, os, sys
from tests.tiny import _main
before, arguments = sys.argv[3].split("|"), sys.argv[4].split("|")
assert _main(before) == 0  # so that all is imported
fiu = ctypes.CDLL("libfiu.so.0")
fiu.fiu_enable_random(sys.argv[1].encode(), -1, ctypes.c_void_p(5), 0, ctypes.c_float(float(sys.argv[2])))
code = _main(arguments)
fiu.fiu_disable(sys.argv[1].encode())
os._exit(code)
"""


def injected(bench: Bench, *, point: str) -> Seen:
    """Errors between this program and the C library, by libfiu
    (https://blitiri.com.ar/p/libfiu/)."""
    if shutil.which("fiu-run") is None:
        return Seen("", needs="fiu-run (apt-get install fiu-utils)")
    tiny, warm, told, gone = bench.tiny(SMALL), bench.tiny(SMALL, name="warm"), [], 0
    for _ in range(bench.times(1, 4)):
        kept = finished(tiny)
        words = [
            point,
            "0.15",
            "|".join(warm.arguments("simulate")),
            "|".join(tiny.arguments("simulate")),
        ]
        done = subprocess.run(
            ["fiu-run", "-x", sys.executable, "-c", INJECTED, *words],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        told.append(f"{done.returncode} {done.stderr}")
        gone += lost(kept, tiny)
    seen = bench.again(tiny, min(told) if any(one.startswith("1") for one in told) else max(told))
    return Seen(seen.output, gone + (seen.lost or 0), seen.equal)


FAULTS = [
    Fault("4", "disk full (a real one of 200 kB)", full, "^2 .*The disk is full: free some space"),
    Fault("4", "file larger than allowed (RLIMIT_FSIZE)", limited, "^2 .*File too large"),
    Fault(
        "4",
        "disk full at each write",
        partial(refused, operation="write", number=errno.ENOSPC),
        "^2 .*The disk is full",
    ),
    Fault(
        "4",
        "quota used up at each write",
        partial(refused, operation="write", number=errno.EDQUOT),
        "^2 .*Your quota is used up",
        slow=True,
    ),
    *(
        Fault(
            "5",
            f"input/output error in each {name}",
            partial(refused, operation=name, number=errno.EIO),
            "^2 .*Input/output error",
            slow,
        )
        for name, slow in (
            ("write", True),
            ("replace", False),
            ("sync_folder", True),
            ("make_folder", True),
        )
    ),
    *(
        Fault(
            "5",
            f"{name} fails at random below Python",
            partial(injected, point=f"posix/io/{point}"),
            "^[02] ",
            slow=True,
        )
        for name, point in (("fsync", "sync/fsync"), ("rename", "dir/rename"))
    ),
    Fault(
        "5",
        "open fails at random below Python",
        partial(injected, point="posix/io/oc/open"),
        "^[012] ",
        slow=True,
    ),
    Fault("5", "the simulator file cannot be read", unread, "^2 .*Input/output error", slow=True),
]
