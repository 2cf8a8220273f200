"""Shard writing against plain h5py, and the memory of a worker in shards.

    python -m tests.bench.shards

Ours: image in memory, Fletcher-32, sha256, one write, fsync, rename, fsync of the folder, and the
record the same way. Theirs: h5py writing the same arrays into a file, without checksums; once as it
is, once synced as well. Both in turn, so that a busy disk hits both.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from sbiwb.records import Pairs
from sbiwb.store.arrays import flatten
from sbiwb.store.shard_record import ShardFacts, shard_path
from sbiwb.store.shards import write_shard

MEBI = 1 << 20
SIZES = (4, 16, 64)
TURNS = 7
SIMULATOR = """import numpy as np


def simulate(mu, *, rng, n):
    y = rng.standard_normal((len(mu), n))
    y += mu[:, None]
    return {"y": y}
"""


def pairs_of(megabytes: float) -> Pairs:
    """Two parameters and a series of 100 steps."""
    rows = int(megabytes * MEBI / (8 * 102))
    rng = np.random.default_rng(0)
    return Pairs({"a": rng.random(rows), "b": rng.random(rows)}, {}, {"y": rng.random((rows, 100))})


def ours(folder: Path, pairs: Pairs) -> tuple[float, float]:
    """Seconds, and those of the processor."""
    shutil.rmtree(
        folder / "ours", ignore_errors=True
    )  # freeing an old file is no part of writing a new one
    (folder / "ours").mkdir()
    facts = {
        "data_hash": "h" * 64,
        "split": "train",
        "first_block": 0,
        "blocks": 1,
        "simulated": len(pairs),
        "seconds": 0.0,
    }
    start, busy = time.perf_counter(), time.process_time()
    write_shard(shard_path(folder / "ours", 0), pairs, [], ShardFacts(**facts))
    return time.perf_counter() - start, time.process_time() - busy


def theirs(folder: Path, pairs: Pairs, *, synced: bool) -> tuple[float, float]:
    path, arrays = folder / "plain.h5", flatten(pairs)
    path.unlink(missing_ok=True)
    start, busy = time.perf_counter(), time.process_time()
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    if synced:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - start, time.process_time() - busy


def speeds(folder: Path) -> None:
    print(f"{'MiB':>4} {'ours':>9} {'h5py':>9} {'synced':>9}   (MiB/s; medians of {TURNS})")
    for size in SIZES:
        pairs = pairs_of(size)
        turns = [
            (
                ours(folder, pairs),
                theirs(folder, pairs, synced=False),
                theirs(folder, pairs, synced=True),
            )
            for _ in range(TURNS)
        ]
        mine, plain, synced = (np.array(one) for one in zip(*turns, strict=True))  # (turns, 2) each
        rates = [size / np.median(one[:, 0]) for one in (mine, plain, synced)]
        to_plain, to_synced = np.median(plain / mine, axis=0), np.median(synced / mine, axis=0)
        told = f"{to_plain[0]:.0%} of h5py, {to_synced[0]:.0%} of h5py with a sync; by processor seconds {to_plain[1]:.0%}, {to_synced[1]:.0%}"
        print(f"{size:4} {rates[0]:9.0f} {rates[1]:9.0f} {rates[2]:9.0f}   {told}")


def memory(megabytes: int) -> None:
    """In a process of its own: growth of its largest size over one shard, in shards."""
    from sbiwb.contracts import Silent
    from sbiwb.steps.pairs.tasks import missing_tasks, simulate_shard
    from sbiwb.workflow.simulate_plan import Planner
    from tests.tiny import Tiny

    with tempfile.TemporaryDirectory() as folder:
        rows = megabytes * MEBI // (8 * 101)
        blocks = rows // 256
        changes = {
            "problem": {"constants": {"n": 100}, "observations": {}},
            "simulate": {
                "train": blocks * 256,
                "validation": 256,
                "test": 256,
                "block_size": 256,
                "shard_size": blocks * 256,
            },
        }
        tiny = Tiny.write(Path(folder), changes, SIMULATOR)
        project = tiny.open()
        planner = Planner(project, Silent())
        grids = planner.grids(planner.prepare())
        tasks = missing_tasks(project.run, grids, project.data_hash, Silent())
        task = {one.split: one.to_json() for one in tasks}
        simulate_shard(task["validation"])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        record = simulate_shard(task["train"])
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
        shard = record["bytes"] / MEBI
        print(
            f"one shard of {shard:.1f} MiB: the worker grew by {grown:.1f} MiB, {grown / shard:.2f} shards"
        )


def main() -> None:
    if len(sys.argv) > 1:
        memory(int(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        speeds(Path(folder))
    for size in SIZES[1:]:
        subprocess.run([sys.executable, "-m", "tests.bench.shards", str(size)], check=True)


if __name__ == "__main__":
    main()
