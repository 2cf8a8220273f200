"""The failure ledger of a run, gathered: why simulations failed, and where in the prior."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.contracts import Reporter
from sbiwb.errors import DiskError, RunError
from sbiwb.files import put
from sbiwb.report import to_both
from sbiwb.report.failure_map import Profile, failures_picture, profiles
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.store import hdf5, manifest
from sbiwb.store.shards import read_bytes, reasons
from sbiwb.workflow.status import simulate_section, wilson

MOST_VALID = 20_000  # simulations that came out and stand for all of them
MOST_DRAWN = 8
PICTURE = "failures"


Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class FailureTable:
    """Failed simulations of all splits, beside some that came out.

    Args:
        names: D columns of parameters and design variables.
        failed: Their values where a simulation failed, (F, D).
        valid: Values of some that came out, (V, D).
        simulated: Simulations in all.
        reasons: Failures by reason, most frequent first.
    """

    names: tuple[str, ...]
    failed: np.ndarray
    valid: np.ndarray
    simulated: int
    reasons: dict[str, int]

    @property
    def weight(self) -> float:
        """Simulations that each row of `valid` stands for."""
        return (self.simulated - len(self.failed)) / max(1, len(self.valid))


@dataclass(frozen=True)
class FailureReport:
    """Where failures gather.

    Args:
        profiles: Share of failures along each column, the one it depends on most first.
        picture: The file; None where nothing failed, or nothing can be written.
    """

    profiles: tuple[Profile, ...]
    picture: Path | None


def failures(path: Path, reporter: Reporter) -> FailureReport:
    """Draws where in the prior simulations fail, into `data/failures.png` of the run.

    Raises:
        RunError: No run folder, or nothing is simulated.
        CorruptFile: A shard is cut or altered.
    """
    run = RunDir(path)
    if not run.config.is_file():
        raise RunError(
            "is no run folder: it holds no config.yaml",
            where=path,
            todo="Name a folder under runs/.",
        )
    _, data = simulate_section(run)
    ledger = gather(data, reporter)
    if not len(ledger.failed):
        return FailureReport((), None)
    found = profiles(ledger.valid, ledger.failed, ledger.names, ledger.weight)
    low, high = wilson(ledger.simulated - len(ledger.failed), ledger.simulated)
    title = f"{run.name}: {len(ledger.failed):,} of {ledger.simulated:,} simulations failed, p(valid) {low:.4f} to {high:.4f} (95 %)"
    figure = failures_picture(
        ledger.valid,
        ledger.failed,
        ledger.names,
        found[:MOST_DRAWN],
        reasons=ledger.reasons,
        title=title,
    )
    png, svg = to_both(figure)
    picture = data.data / f"{PICTURE}.png"
    try:
        put(picture, png)
        put(picture.with_suffix(".svg"), svg)
    except DiskError as error:
        reporter.warn(f"the picture cannot be written: {error}")
        return FailureReport(tuple(found), None)
    return FailureReport(tuple(found), picture)


def gather(data: RunDir, reporter: Reporter) -> FailureTable:
    """Reads the ledgers of all shards that have one, and as many other shards as it needs for comparison.

    Raises:
        RunError: Nothing is simulated.
        CorruptFile: A shard is cut or altered.
    """
    shards = [shard for split in SPLITS for shard in manifest.shards(data.split(split))]
    if not shards:
        raise RunError(
            "nothing is simulated yet",
            where=data.path,
            todo="Run `sbiwb simulate` on the config first.",
        )
    failed, valid, held = list[Columns](), list[Columns](), 0
    count: Counter[str] = Counter()
    each = max(1, -(-MOST_VALID // len(shards)))
    with reporter.task("read", len(shards), unit="shards") as ticker:
        for shard in shards:
            ticker.advance()
            if not shard.record["failed"] and held >= MOST_VALID:
                continue
            arrays = hdf5.read(read_bytes(shard.path, shard.record), shard.path)
            ledger = {
                name.removeprefix("failures/"): array
                for name, array in arrays.items()
                if name.startswith("failures/")
            }
            count.update(reasons(ledger))
            if ledger:
                failed.append(_columns(ledger))
            some = _columns(
                {
                    name: array[:each]
                    for name, array in arrays.items()
                    if name.startswith(("theta/", "context/"))
                }
            )
            valid.append(some)
            held += len(next(iter(some.values())))
    names, simulated = tuple(valid[0]), sum(shard.record["simulated"] for shard in shards)
    return FailureTable(
        names, _stacked(failed, names), _stacked(valid, names), simulated, dict(count.most_common())
    )


def _columns(arrays: Mapping[str, np.ndarray]) -> Columns:
    """Parameters and design variables as columns by name, `w[0]`, `w[1]`, ... of a vector."""
    found: Columns = {}
    for full, array in arrays.items():
        group, _, name = full.partition("/")
        if group not in ("theta", "context"):
            continue
        table = array.reshape(len(array), -1)
        found |= {
            f"{name}[{k}]" if array.ndim > 1 else name: table[:, k].astype(float)
            for k in range(table.shape[1])
        }
    return found


def _stacked(parts: list[Columns], names: tuple[str, ...]) -> np.ndarray:
    """(N, D)."""
    rows = [np.stack([part[name] for name in names], axis=1) for part in parts]
    return np.concatenate(rows) if rows else np.zeros((0, len(names)))
