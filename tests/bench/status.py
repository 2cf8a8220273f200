"""How long `status`, the manifest and `verify` take with 100, 1,000 and 10,000 shards: the time a
shard must not grow.

    python -m tests.bench.status

The shards are real, of one row each; their number is what costs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from sbiwb import files
from sbiwb.contracts import Silent
from sbiwb.project.plan import read_plan
from sbiwb.records import Pairs
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.simulation.blocks import Failure
from sbiwb.steps.pairs.tasks import missing_tasks
from sbiwb.store import manifest
from sbiwb.store.shard_record import ShardFacts, shard_path
from sbiwb.store.shards import write_shard
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.simulate_plan import Planner
from sbiwb.workflow.status import status
from sbiwb.workflow.verify import verify
from tests.tiny import SBIWB, Tiny

COUNTS = (100, 1_000, 10_000)


class Quick(files.Disk):
    """Writes without waiting for the disk: this is about reading."""

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def sync_folder(self, folder: Path) -> None:
        """Nothing to wait for."""


def filled(folder: Path, count: int) -> Tiny:
    """A run whose training split has this many shards, as many failures, and one shard of each
    other split."""
    tiny = Tiny.write(
        folder,
        {
            "simulate": {
                "train": count,
                "validation": 1,
                "test": 1,
                "block_size": 1,
                "shard_size": 1,
            }
        },
    )
    small = tiny.open("simulate.train=1")
    simulate(small, Silent())
    project, target = tiny.open(), tiny.run / "data/train"
    rng = np.random.default_rng(0)
    for block in range(1, count):
        pairs = Pairs({"mu": rng.standard_normal(1)}, {}, {"y": rng.standard_normal((1, 4))})
        failed = [
            Failure(block, 0, 0, "not finite", "'y' is not finite", {"mu": np.float64(0)}, {}, 0.0)
        ] * (block % 7 == 0)
        facts = {
            "split": "train",
            "first_block": block,
            "blocks": 1,
            "data_hash": project.data_hash,
            "simulated": 1 + len(failed),
            "seconds": 1.0,
            "versions": {"python": "3.11", "numpy": "2.4"},
            **({"reasons": {"not finite": 1}} if failed else {}),
        }
        write_shard(shard_path(target, block), pairs, failed, ShardFacts(**facts))
    (tiny.run / "config.yaml").write_text(
        (tiny.run / "config.yaml").read_text().replace("train: 1\n", f"train: {count}\n", 1)
    )
    return tiny


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The best of a few."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    """Prints seconds for each number of shards."""
    print(
        f"{'shards':>7} {'status':>8} {'command':>8} {'manifest':>8} {'written':>8} "
        f"{'missing':>8} {'verify':>8}   (seconds)"
    )
    files.disk = Quick()
    for count in COUNTS:
        folder = Path(tempfile.mkdtemp(prefix="sbiwb-status-"))
        try:
            tiny = filled(folder, count)
            project, train = tiny.open(), tiny.run / "data/train"
            plan = replace(read_plan(RunDir(tiny.run)), shard_blocks=dict.fromkeys(SPLITS, 1))
            times = [
                seconds(lambda tiny=tiny: status(tiny.run)),
                seconds(
                    lambda tiny=tiny: subprocess.run(
                        [SBIWB, "status", str(tiny.run)], check=True, capture_output=True
                    )
                ),
                seconds(lambda train=train: manifest.summary(manifest.shards(train))),
                seconds(lambda project=project: manifest.write_manifest(project.run)),
                seconds(
                    lambda project=project, plan=plan: missing_tasks(
                        project.run,
                        Planner(project, Silent()).grids(plan),
                        project.data_hash,
                        Silent(),
                    ),
                    1,
                ),
                seconds(lambda tiny=tiny: verify(tiny.run, Silent()), 1),
            ]
            assert (
                RunDir(tiny.run).config.is_file()
                and status(tiny.run).simulated["train"][0] == count
            )
            print(f"{count:7,} " + " ".join(f"{one:8.3f}" for one in times), flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
