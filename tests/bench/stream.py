"""How fast pairs are fed from memory and from shards, beside a training step of a given length, and
the memory each takes.

    python -m tests.bench.stream                      minutes, 1 GiB in the temporary folder; prints
    a table python -m tests.bench.stream --json FILE          writes the numbers too

Every try is a fresh process that loads real shards (checksum, HDF5, a standardizing adapter) whose
pages were dropped from the cache (`--warm`: were not), and times the second epoch; the first,
untimed and without steps, also adapts each shard and spools it. A step is a chain of small matrix
products. `growth` is the peak of resident memory above that before the first shard was read, `data`
what all pairs take as tensors: two windows are a tenth of it, so that with a shard on its way all
stays below a quarter. Where `others` (cores that other processes use) is not near 0, compare `cpu
us/pair` instead of the speeds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch

from sbiwb.adapters import InputAdapter, InputPlan, family
from sbiwb.records import Pairs
from sbiwb.store import manifest
from sbiwb.store.shard_record import ShardFacts, shard_path
from sbiwb.store.shards import read_shard, write_shard
from sbiwb.training.sources import MemoryPairs, TensorPairs
from sbiwb.training.spool import DecodedShardCache
from sbiwb.training.stream import StreamedPairs

D, M, C = 4, 50, 2
PAIR_BYTES = 4 * (D + M * C)  # as float32 tensors; twice that on disk
SEED = 1


@dataclass(frozen=True)
class Case:
    """One process of the benchmark; `window` in pairs, `products` in each step."""

    regime: str
    batch_size: int
    step_ms: float
    folder: str
    window: int
    products: int
    threads: int
    warm: bool


@dataclass(frozen=True)
class Measured:
    """What a process measured; sizes in MiB, `cpu_us` of all its threads for each pair, `others` in
    cores that other processes used."""

    pairs_per_s: float
    first_epoch_s: float
    batch_us: float
    growth_mib: float
    data_mib: float
    cpu_us: float
    others: float


def write(folder: Path, shards: int, rows: int) -> None:
    """Shards of random pairs, each (D + M * C) float64 a pair."""
    for number in range(shards):
        rng = np.random.default_rng(number)
        theta = {f"p{column}": rng.standard_normal(rows) for column in range(D)}
        facts = {
            "data_hash": "bench",
            "split": "train",
            "first_block": number,
            "blocks": 1,
            "simulated": rows,
            "seconds": 0.0,
        }
        write_shard(
            shard_path(folder, number),
            Pairs(theta, {}, {"y": rng.standard_normal((rows, M, C))}),
            [],
            ShardFacts(**facts),
        )


def drop_cache(folder: Path) -> None:
    """Asks the system to forget the shards, so that they are read from the disk."""
    for path in folder.glob("*.h5"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def in_memory(folder: Path, adapter: InputAdapter, case: Case) -> MemoryPairs:
    found = manifest.shards(folder)
    pairs = manifest.load(found, sum(shard.record.rows for shard in found), folder)
    return MemoryPairs(to_tensors(adapter, pairs), case.batch_size, SEED)


def to_tensors(adapter: InputAdapter, pairs: Pairs) -> TensorPairs:
    return TensorPairs.of(
        np.column_stack([np.asarray(column) for column in pairs.theta.values()]),
        {"y": adapter.apply(pairs.variables)},
        "cpu",
    )


def streamed(folder: Path, adapter: InputAdapter, case: Case) -> StreamedPairs:
    found = manifest.shards(folder)

    def load(number: int) -> TensorPairs:
        return to_tensors(adapter, read_shard(found[number].path, found[number].record))

    rows = [shard.record.rows for shard in found]
    return StreamedPairs(
        DecodedShardCache(load, folder / "spool"),
        rows,
        batch_size=case.batch_size,
        seed=SEED,
        window=case.window,
    )


def measure(case: Case) -> Measured:
    """The second epoch, in this process."""
    torch.set_num_threads(case.threads)
    folder = Path(case.folder)
    if not case.warm:
        drop_cache(folder)
    rng = np.random.default_rng(0)
    adapter = InputAdapter.fit(
        InputPlan("series", ("y",), {"y": [family.parse("standardize")]}),
        {"y": rng.standard_normal((1000, M, C))},
    )
    work(500)
    before, start = memory_mib("VmRSS"), time.perf_counter()
    source: MemoryPairs | StreamedPairs = (
        in_memory(folder, adapter, case)
        if case.regime == "memory"
        else streamed(folder, adapter, case)
    )
    for step in range(source.steps_per_epoch):
        source.batch(step)
    began, others, cpu, feeding = time.perf_counter(), others_s(), time.process_time(), 0.0
    for step in range(source.steps_per_epoch, 2 * source.steps_per_epoch):
        asked = time.perf_counter()
        source.batch(step)
        feeding += time.perf_counter() - asked
        work(case.products)
    seconds, steps, others = (
        time.perf_counter() - began,
        source.steps_per_epoch,
        others_s() - others,
    )
    cpu = time.process_time() - cpu
    source.close()
    data = sum(shard.record.rows for shard in manifest.shards(folder)) * PAIR_BYTES / 2**20
    growth = memory_mib("VmHWM") - before
    pairs = steps * case.batch_size
    return Measured(
        pairs_per_s=pairs / seconds,
        first_epoch_s=began - start,
        batch_us=1e6 * feeding / steps,
        growth_mib=growth,
        data_mib=data,
        cpu_us=1e6 * cpu / pairs,
        others=others / seconds,
    )


def work(products: int) -> None:
    """A training step: many small operations, between which other Python threads may run, as in a
    real one."""
    a, b = torch.full((256, 64), 0.5), torch.eye(64)
    for _ in range(products):
        a = a @ b


def products_for(step_ms: float, threads: int) -> int:
    """How many products last that long with nothing else running: by CPU time, which others' load
    changes least."""
    torch.set_num_threads(threads)
    work(2000)
    start = time.process_time()
    work(20_000)
    return round(step_ms / 1e3 * threads / (time.process_time() - start) * 20_000)


def memory_mib(field: str) -> float:
    """VmRSS or VmHWM of this process. Not `getrusage`: its peak includes the parent's at the
    fork."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(field)
    )
    return int(line.split()[1]) / 1024


def others_s() -> float:
    """CPU seconds used by all but this process since the machine started; a machine that others use
    gives other numbers."""
    user, nice, system, _, _, *rest = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    own = os.times()
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def in_process(case: Case) -> Measured:
    command = [sys.executable, "-m", "tests.bench.stream", "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Measured(**json.loads(done.stdout))


HEADER = "regime  batch  step ms   pairs/s  of memory  us/batch  first s  growth MiB  data/growth  cpu us/pair  others"


def main() -> None:
    options = parse()
    if options.case:
        print(json.dumps(asdict(measure(Case(**json.loads(options.case))))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = int(options.shard_mib * 2**20 / (2 * PAIR_BYTES))
        shards = round(options.gib * 2**30 / (2 * PAIR_BYTES * rows))
        write(Path(folder), shards, rows)
        window = rows * shards // options.share
        print(
            f"{shards} shards of {rows:,} pairs, a window is {window:,} pairs, {options.threads} thread(s)\n{HEADER}"
        )
        results = [
            row
            for batch_size, step_ms in product(options.batch, options.step_ms)
            for row in compare(
                Case("", batch_size, step_ms, folder, window, 0, options.threads, options.warm),
                options.repeats,
            )
        ]
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


def compare(case: Case, repeats: int) -> list[dict]:
    """Both regimes with the same step, in turns, and the fastest try of each."""
    products, rows, speed = products_for(case.step_ms, case.threads), list[dict](), 0.0
    cases = [replace(case, regime=regime, products=products) for regime in ("memory", "disk")]
    tries = [[in_process(one) for one in cases] for _ in range(repeats)]
    for one, *founds in zip(cases, *tries, strict=True):
        found = max(founds, key=lambda found: found.pairs_per_s)
        speed = speed or found.pairs_per_s
        rows.append({**asdict(one), **asdict(found), "of_memory": found.pairs_per_s / speed})
        print(
            f"{one.regime:6} {case.batch_size:6} {case.step_ms:8} {found.pairs_per_s:9,.0f} {found.pairs_per_s / speed:10.1%} "
            f"{found.batch_us:9.1f} {found.first_epoch_s:8.2f} {found.growth_mib:11.0f} {found.data_mib / found.growth_mib:12.1f} "
            f"{found.cpu_us:12.2f} {found.others:7.2f}",
            flush=True,
        )
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file for the numbers")
    parser.add_argument(
        "--folder", help="where the shards are written; default: the temporary folder"
    )
    parser.add_argument("--gib", type=float, default=1.0, help="size of all shards on disk")
    parser.add_argument("--shard-mib", type=float, default=8.0)
    parser.add_argument(
        "--share", type=int, default=20, help="a window is this part of the pairs: two are a tenth"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--step-ms", type=float, nargs="+", default=[0.0, 2.0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--repeats", type=int, default=1, help="tries of each, of which the fastest counts"
    )
    parser.add_argument("--warm", action="store_true", help="leave the shards in the page cache")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
