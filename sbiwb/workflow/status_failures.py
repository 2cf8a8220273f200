"""The failure ledger of a run, gathered: why simulations failed, and where in the prior."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sbiwb.contracts import Reporter
from sbiwb.errors import DiskError, RunError
from sbiwb.files import put
from sbiwb.intervals import binomial_interval
from sbiwb.report import to_both
from sbiwb.report.failure_map import Profile, failures_picture, profiles
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.store import hdf5, manifest
from sbiwb.store.arrays import failure_reasons, ledger_of
from sbiwb.store.shards import read_bytes
from sbiwb.workflow.run_folder import open_run_folder, simulate_section

MAX_VALID = 20_000  # simulations that came out and stand for all of them
MAX_PROFILES = 8  # in the picture
PARAMETER_GROUPS = ("theta/", "context/")

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

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of p(valid)."""
        return binomial_interval(self.simulated - len(self.failed), self.simulated)


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
    run = open_run_folder(path)
    data = simulate_section(run).data_run(run)
    table = gather(data, reporter)
    if not len(table.failed):
        return FailureReport((), None)
    along = tuple(profiles(table.valid, table.failed, table.names, table.weight))
    png, svg = to_both(_picture(run, table, along))
    try:
        put(data.failures_picture, png)
        put(data.failures_picture.with_suffix(".svg"), svg)
    except DiskError as error:
        reporter.warn(f"the picture cannot be written: {error}")
        return FailureReport(along, None)
    return FailureReport(along, data.failures_picture)


def _picture(run: RunDir, table: FailureTable, along: Sequence[Profile]) -> Figure:
    low, high = table.interval
    count = f"{len(table.failed):,} of {table.simulated:,} simulations failed"
    title = f"{run.name}: {count}, p(valid) {low:.4f} to {high:.4f} (95 %)"
    return failures_picture(
        table.valid,
        table.failed,
        table.names,
        along[:MAX_PROFILES],
        reasons=table.reasons,
        title=title,
    )


@dataclass
class _Gathered:
    """Columns of failed simulations, and of some that came out, shard by shard."""

    failed: list[Columns] = field(default_factory=list)
    valid: list[Columns] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    rows: int = 0

    def add(self, arrays: Mapping[str, np.ndarray], most: int) -> None:
        """Takes the ledger of a shard, and its first rows."""
        ledger = ledger_of(arrays)
        if ledger:
            self.failed.append(_columns(ledger))
            self.reasons.update(failure_reasons(ledger))
        first = {name: array[:most] for name, array in arrays.items() if _is_parameter(name)}
        self.valid.append(_columns(first))
        self.rows += len(next(iter(first.values())))


def gather(data: RunDir, reporter: Reporter) -> FailureTable:
    """Reads the ledgers of all shards that have one, and as many others as it compares with.

    Raises:
        RunError: Nothing is simulated.
        CorruptFile: A shard is cut or altered.
    """
    shards = [shard for split in SPLITS for shard in manifest.shards(data.split(split))]
    if not shards:
        todo = "Run `sbiwb simulate` on the config first."
        raise RunError("nothing is simulated yet", where=data.path, todo=todo)
    rows_per_shard = max(1, -(-MAX_VALID // len(shards)))
    gathered = _Gathered()
    with reporter.task("read", len(shards), unit="shards") as ticker:
        for shard in shards:
            ticker.advance()
            if shard.record.failed or gathered.rows < MAX_VALID:
                data_bytes = read_bytes(shard.path, shard.record)
                gathered.add(hdf5.read(data_bytes, shard.path), rows_per_shard)
    names = tuple(gathered.valid[0])
    return FailureTable(
        names,
        _stacked(gathered.failed, names),
        _stacked(gathered.valid, names),
        sum(shard.record.simulated for shard in shards),
        dict(gathered.reasons.most_common()),
    )


def _is_parameter(name: str) -> bool:
    return name.startswith(PARAMETER_GROUPS)


def _columns(arrays: Mapping[str, np.ndarray]) -> Columns:
    """Parameters and design variables as columns by name, `w[0]`, `w[1]`, ... of a vector."""
    columns: Columns = {}
    for full, array in arrays.items():
        if not _is_parameter(full):
            continue
        name = full.partition("/")[2]
        if array.ndim == 1:
            columns[name] = array.astype(float)
            continue
        for number, column in enumerate(array.reshape(len(array), -1).T):
            columns[f"{name}[{number}]"] = column.astype(float)
    return columns


def _stacked(parts: Sequence[Columns], names: Sequence[str]) -> np.ndarray:
    """(N, D)."""
    rows = [np.stack([part[name] for name in names], axis=1) for part in parts]
    return np.concatenate([np.zeros((0, len(names))), *rows])
