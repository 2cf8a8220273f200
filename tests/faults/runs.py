"""Rows 8 to 12: two runs at once, another problem on resume, how it is cut into tasks, damage, and
HDF5 from an enemy."""

from __future__ import annotations

import io
import os
import resource
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from sbiwb.files import put_json, read_json, sha256
from sbiwb.store.shard_record import ShardIdentity, record_path
from tests.cluster.conftest import SIMULATOR
from tests.faults.bench import (
    POOL,
    Bench,
    Fault,
    Seen,
    ended,
    environment,
    finished,
    lost,
    undisturbed,
)
from tests.faults.crashes import workers_of
from tests.faults.same import rows
from tests.tiny import Tiny

GIGABYTE = 1 << 30


def at_once(bench: Bench, *, changes: Mapping[str, Any]) -> Seen:
    """Two commands from the same moment on."""
    tiny = bench.tiny(changes)
    with environment(TINY_SLEEP="0.02"):
        told = [ended(child) for child in [bench.begin(tiny, at_once=True) for _ in range(2)]]
    return bench.again(tiny, max(told))


def one_of_two(bench: Bench) -> Seen:
    """Two commands, one of which is killed."""
    tiny = bench.tiny()
    with environment(TINY_SLEEP="0.05"):
        first, second = (bench.begin(tiny) for _ in range(2))
    killed = first.kill_after(0.5)
    told = ended(second)
    return bench.again(tiny, f"{killed}, the other {told}")


def changed(bench: Bench, *, changes: Mapping[str, Any] | None = None, code: str = "") -> Seen:
    """A run that died half way is gone on with as another problem, and then as what it was."""
    tiny = bench.halfway()
    if code:
        tiny.simulator(code)
    tiny.change(changes or {})
    kept = finished(tiny)
    told = bench.run(tiny)
    assert finished(tiny) == kept

    def mend() -> None:
        tiny.simulator(SIMULATOR)
        tiny.change({})

    return bench.again(tiny, told, mend=mend)


def changed_meanwhile(bench: Bench) -> Seen:
    """The simulator file is saved while a pool runs, and a worker that is started later would read
    it."""
    tiny = bench.tiny(POOL)
    with environment(TINY_SLEEP="0.3"):
        child = bench.begin(tiny, at_once=True)
    while not tiny.shards() and not child.ended:
        time.sleep(0.01)
    tiny.simulator(SIMULATOR.replace("return {", "mu = mu + 1\n    return {"))
    os.kill(workers_of(child.pid)[0], 9)
    return bench.again(tiny, ended(child), mend=lambda: tiny.simulator(SIMULATOR))


def workers(bench: Bench) -> Seen:
    """The same shards from 1, 2 and 4 workers."""
    for count in (1, 2, 4) if bench.full else (2,):
        tiny = bench.tiny(
            {"machine": {"executor": {"kind": "pool", "workers": count}}}, name=str(count)
        )
        told = bench.run(tiny, at_once=True)
        seen = Seen(told, equal=tiny.shards() == undisturbed(tiny))
        if not seen.equal:
            break
    return seen


def sizes(bench: Bench) -> Seen:
    """The same rows in shards of another size."""
    tiny = bench.tiny(name="first")
    told = bench.run(tiny)
    others = [
        bench.tiny({"simulate": {"shard_size": size}}, name=str(size)) for size in (32, 96, 100_000)
    ]
    for other in others:
        assert bench.run(other).startswith("0 ") and len(other.shards()) != len(tiny.shards())
    return Seen(told, equal=all(rows(other) == rows(tiny) for other in others))


def resized(bench: Bench) -> Seen:
    """A run that died half way is gone on with in shards of another size: its own stay, and the
    rows are the same."""
    tiny, plain = bench.halfway(), bench.tiny(name="plain")
    kept = finished(tiny)
    tiny.change({"simulate": {"shard_size": 96}})
    told = bench.run(tiny)
    bench.run(plain)
    return Seen(told, lost(kept, tiny), rows(tiny) == rows(plain))


def shares(bench: Bench) -> Seen:
    """`sbiwb worker` in 3 shares after a run in 1 that died, in no order."""
    tiny, told = bench.halfway(), ""
    kept = finished(tiny)
    for index in (2, 0, 1):
        told = bench.worker(tiny, str(index), "--of", "3")
        assert told.startswith("0 "), told
    return Seen(told, lost(kept, tiny), tiny.shards() == undisturbed(tiny))


def flip(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 8
    shard.write_bytes(data)


def foreign(shard: Path) -> None:
    """A shard of the same name from a run with another seed, record and all."""
    tiny = Tiny.write(shard.parents[5] / "other", {"simulate": {"seed": 4}}, SIMULATOR)
    assert ended(tiny.fork("simulate")).startswith("0 ")
    for suffix in (".h5", ".json"):
        shutil.copy(
            tiny.run / "data/train" / shard.with_suffix(suffix).name, shard.with_suffix(suffix)
        )


def without(name: str, shard: Path) -> None:
    (shard.parents[1] / name).unlink()


def torn(name: str, shard: Path) -> None:
    (shard.parents[1] / name).write_bytes(b"\0" * 40)


def damaged(
    bench: Bench,
    *,
    damage: Callable[[Path], object],
    verify: bool = True,
    mend: Callable[[Path], object] | None = None,
) -> Seen:
    """`verify` tells it, `simulate` mends it, and then `verify` finds all whole."""
    tiny = bench.tiny()
    assert bench.run(tiny).startswith("0 ")
    shard = tiny.run / "data/train/shard-000002.h5"
    damage(shard)
    told = bench.verify(tiny) if verify else bench.run(tiny)
    seen = bench.again(tiny, told, mend=lambda: mend(shard) if mend else None)
    after = bench.verify(tiny)
    return (
        seen
        if after.startswith("0 ")
        else Seen(f"{told}; and after mending: {after}", seen.lost, equal=False)
    )


def move_away(shard: Path) -> None:
    shard.unlink()
    record_path(shard).unlink()


def hostile(make: Callable[[h5py.File], object], shard: Path) -> None:
    """A file with a record that fits it, as only somebody makes who means it."""
    record, buffer = read_json(record_path(shard)), io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(
            {"format": 1, **{one.name: record[one.name] for one in fields(ShardIdentity)}}
        )
        make(file)
    data = buffer.getvalue()
    shard.write_bytes(data)
    put_json(record_path(shard), {**record, "bytes": len(data), "sha256": sha256(data)})


def bomb(file: h5py.File) -> None:
    """8 GB of zeros in 8 MB of file."""
    dataset = file.create_dataset(
        "x/y", (GIGABYTE,), "f8", chunks=(1 << 24,), compression="gzip", compression_opts=1
    )
    piece = zlib.compress(bytes(8 << 24), 1)
    for start in range(0, GIGABYTE, 1 << 24):
        dataset.id.write_direct_chunk((start,), piece)


def spare_memory() -> None:
    """This process may take 2 GB more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + 2 * GIGABYTE, resource.RLIM_INFINITY)
    )


def enemy(bench: Bench, *, make: Callable[[h5py.File], object]) -> Seen:
    """`verify` refuses it without reading what it points to; once it is moved away, the run goes
    on."""
    tiny = bench.tiny()
    assert bench.run(tiny).startswith("0 ")
    shard = tiny.run / "data/train/shard-000002.h5"
    hostile(make, shard)
    told = bench.verify(tiny, first=spare_memory)
    return bench.again(tiny, told, mend=lambda: move_away(shard))


def locking(bench: Bench, *, value: str) -> Seen:
    tiny = bench.halfway()
    with environment(HDF5_USE_FILE_LOCKING=value):
        return bench.again(tiny, bench.run(tiny))


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "the seed": ({"simulate": {"seed": 4}}, r"simulate.seed: 3 -> 4"),
    "the block size": ({"simulate": {"block_size": 16}}, r"simulate.block_size: 32 -> 16"),
    "a prior": (
        {"problem": {"parameters": {"mu": {"kind": "normal", "scale": 2.0}}}},
        r"problem.parameters.mu.scale: 1.0 -> 2.0",
    ),
    "a constant": ({"problem": {"constants": {"n": 5}}}, r"problem.constants.n: 4 -> 5"),
}
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (flip, "^2 .*its checksum differs"),
    "a cut shard": (lambda shard: os.truncate(shard, 900), "^2 .*has 900 bytes, its record says"),
    "a shard of no bytes": (lambda shard: os.truncate(shard, 0), "^2 .*has 0 bytes"),
    "a lost shard": (Path.unlink, "^2 .*is missing, though it has a record"),
    "a lost record": (
        lambda shard: record_path(shard).unlink(),
        "^0 .*its record was lost and is written again",
    ),
    "a torn record": (
        lambda shard: record_path(shard).write_bytes(b"\0" * 50),
        "^0 .*its record was lost and is written again",
    ),
    "a lost manifest": (partial(without, "manifest.json"), "^0 .*was lost and is written again"),
    "a torn manifest": (partial(torn, "manifest.json"), "^0 .*is written again"),
}
ENEMIES: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "HDF5 that claims 4 TiB": (
        lambda file: file.create_dataset("x/y", (1 << 39,), "f8", chunks=(1 << 10,)),
        "^2 .*claims shape",
    ),
    "HDF5 with an external link": (
        lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")),
        "^2 .*is a link",
    ),
    "HDF5 that reads another file": (
        lambda file: file.create_dataset("x/y", (8,), "u1", external=[("/etc/passwd", 0, 8)]),
        "^2 .*points outside the file",
    ),
    "HDF5 bomb, 8 GB in 8 MB": (bomb, "^2 .*claims shape"),
}
FAST = {
    "a flipped bit",
    "a lost record",
    "a lost manifest",
    "HDF5 that claims 4 TiB",
    "HDF5 with an external link",
}
FAULTS = [
    Fault("8", "two runs into one folder at once", partial(at_once, changes={}), "^0 "),
    Fault(
        "8", "two pools into one folder at once", partial(at_once, changes=POOL), "^0 ", slow=True
    ),
    Fault("8", "two runs into one folder, one killed", one_of_two, "^-9, the other 0 ", slow=True),
    *(
        Fault(
            "9",
            f"{name} changed on resume",
            partial(changed, changes=changes),
            f"^2 .*another problem: {told}",
        )
        for name, (changes, told) in CHANGES.items()
    ),
    Fault(
        "9",
        "the simulator changed between two runs",
        partial(changed, code=SIMULATOR.replace("mu[:, None] +", "mu[:, None] -")),
        "^2 .*problem.simulator code changed",
    ),
    Fault(
        "9",
        "the simulator changed while a pool runs",
        changed_meanwhile,
        "^2 .*changed while it was simulated",
        slow=True,
    ),
    Fault("10", "1, 2 and 4 workers", workers, "^0 ", slow=True),
    Fault("10", "shards of other sizes: the same rows", sizes, "^0 "),
    Fault("10", "another shard size on resume: the same rows", resized, "^0 ", slow=True),
    Fault("10", "another number of tasks on resume", shares, "^0 ", slow=True),
    *(
        Fault("11", name, partial(damaged, damage=damage), told, name not in FAST)
        for name, (damage, told) in DAMAGE.items()
    ),
    Fault(
        "11",
        "a flipped bit, on resume",
        partial(damaged, damage=flip, verify=False),
        "^0 .*kept as shard-000002.h5.damaged",
    ),
    Fault(
        "11",
        "a lost plan, on resume",
        partial(damaged, damage=partial(without, "plan.json"), verify=False),
        "^0 ",
        slow=True,
    ),
    Fault(
        "11",
        "a torn plan, on resume",
        partial(
            damaged,
            damage=partial(torn, "plan.json"),
            verify=False,
            mend=lambda shard: without("plan.json", shard),
        ),
        "^0 .*is not JSON.*kept as plan.json.damaged, and written anew",
    ),
    Fault(
        "11",
        "a shard of another problem",
        partial(damaged, damage=foreign, mend=move_away),
        "^2 .*belongs to another problem",
    ),
    *(
        Fault("12", name, partial(enemy, make=make), told, name not in FAST)
        for name, (make, told) in ENEMIES.items()
    ),
    *(
        Fault("+", f"HDF5_USE_FILE_LOCKING={value}", partial(locking, value=value), "^0 ")
        for value in ("TRUE", "FALSE")
    ),
]
