"""What simulating costs beside the bare simulator, and what a second worker brings, as ratios
within one run.

    python -m tests.bench.simulation                  four minutes; --shards SHARDS --json FILE

The simulator is vectorised and waits a known time for each row (it sleeps: the cores stay free, so
that two workers are not measured against other processes' load). `bare` calls it on whole blocks
and keeps nothing; `shards` is the work of a worker: seeds, prior, checks, HDF5 image, checksum,
write and sync, in the temporary folder. Each pair of tries alternates, `overhead` is the median of
their ratios less one. `cpu` is the same overhead in processor time, as a share of the bare wall
time: it does not suffer from what else the machine does. `speed-up` is the wall time with one
worker over that with two, both less the seconds that processes take to start and end, which are
shown: the workers' own time is what is compared, and beside it the ratio with all of that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.executors.pool import PoolExecutor
from sbiwb.project.opening import open_run
from sbiwb.rundir import SPLITS
from sbiwb.workflow import simulate as module
from tests.tiny import Recorder, Tiny

PAUSE = "SBIWB_BENCH_PAUSE_S"
SIMULATOR = f"""import os, time


def simulate(mu, *, rng, n):
    y = mu[:, None] + rng.standard_normal((len(mu), n))
    time.sleep(float(os.environ["{PAUSE}"]) * len(mu))
    return {{"y": y}}
"""
BLOCK, BLOCKS, PAIRS = (
    256,
    4,
    5,
)  # a shard of 4 blocks is what `shard_size: auto` gives for 20,000 pairs


def tiny_of(folder: Path) -> Tiny:
    """A project with a plan, made without a pause."""
    os.environ[PAUSE] = "0"
    simulate = {"train": BLOCK, "validation": 1, "test": 1, "block_size": BLOCK, "seed": 0}
    tiny = Tiny.write(
        folder,
        {"simulate": simulate, "problem": {"constants": {"n": 50}, "observations": {}}},
        SIMULATOR,
    )
    module.simulate(tiny.open(), Recorder())
    return tiny


def tasks_of(tiny: Tiny, shards: int, start: int) -> list[dict[str, Any]]:
    """Shards that no try has made before."""
    firsts = range(start, start + shards * BLOCKS, BLOCKS)
    return [
        {"run": str(tiny.run), "split": SPLITS[0], "first_block": block, "blocks": BLOCKS}
        for block in firsts
    ]


@contextmanager
def timed(found: list[tuple[float, float]]) -> Iterator[None]:
    """Notes wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    found.append((time.perf_counter() - wall, time.process_time() - cpu))


def overhead(tiny: Tiny, pause_s: float, shards: int, start: int) -> dict[str, float]:
    """Of `shards` shards beside as many calls of the bare function."""
    os.environ[PAUSE] = repr(pause_s)
    problem = open_run(str(tiny.run)).problem
    bare: list[tuple[float, float]] = []
    ours: list[tuple[float, float]] = []
    for number in range(PAIRS + 1):
        rng = np.random.default_rng(number)
        theta = problem.draw(rng, BLOCK).theta
        with timed(bare):
            for _ in range(shards * BLOCKS):
                problem.simulator.source.simulate(**theta, rng=rng, n=50)
        with timed(ours):
            for task in tasks_of(tiny, shards, start + number * shards * BLOCKS):
                module.simulate_shard(task)
    pairs = list(zip(ours, bare, strict=True))[1:]  # the first warms up
    ratios = [one[0] / other[0] - 1 for one, other in pairs]
    cpu = [(one[1] - other[1]) / other[0] for one, other in pairs]
    return {
        "overhead": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "cpu": statistics.median(cpu),
    }


def speed_up(tiny: Tiny, pause_s: float, shards: int) -> dict[str, float]:
    """Of two workers over one."""
    os.environ[PAUSE] = repr(pause_s)
    walls, starts = {}, {}
    for workers in (1, 2):
        began = time.perf_counter()
        spent = [
            result["seconds"]
            for _, result in PoolExecutor(workers).run(
                module.simulate_shard, tasks_of(tiny, shards, 5000 * workers)
            )
        ]
        walls[workers] = time.perf_counter() - began
        starts[workers] = walls[workers] - sum(spent) / workers
    return {
        "speed-up": (walls[1] - starts[1]) / (walls[2] - starts[2]),
        "speed-up with the start": walls[1] / walls[2],
        "start and end, 1 worker (s)": starts[1],
        "start and end, 2 workers (s)": starts[2],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shards", type=int, default=8, help="shards for two workers, an even number"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tiny = tiny_of(Path(folder) / "one")
        found = {
            "1 ms a row": overhead(tiny, 0.001, 2, 100),
            "10 ms a row": overhead(tiny, 0.01, 1, 1000),
            "two workers, 10 ms a row": speed_up(tiny, 0.01, asked.shards),
        }
    for name, numbers in found.items():
        print(f"{name:26s}", "  ".join(f"{key} {value:.4f}" for key, value in numbers.items()))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
