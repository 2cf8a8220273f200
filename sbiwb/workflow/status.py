"""The verb `status`: how far a run is, from its files alone; needs no torch, loads no arrays."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sbiwb.errors import CorruptFile, DiskError
from sbiwb.files import read_typed
from sbiwb.intervals import binomial_interval
from sbiwb.numbers import read_numbers
from sbiwb.rundir import SPLITS, PosteriorDir, RunDir, TrainProvenance, read_provenance
from sbiwb.store.shard_progress import ShardProgress, running_shards
from sbiwb.store.shard_record import ShardRecord
from sbiwb.submitted_jobs import SubmittedJob, read_jobs
from sbiwb.workflow.run_folder import open_run_folder, simulate_section
from sbiwb.workflow.status_training import (
    LastValidation,
    LikelihoodStatus,
    last_validation,
    likelihood_states,
)

# a shard takes about five minutes of a worker: where none came for this long nobody simulates
RECENT_S = 900.0


@dataclass(frozen=True)
class Valid:
    """How often a simulation comes out.

    Args:
        simulated: Simulations, failed ones included.
        failed: Failures among them.
        reasons: Failures by reason, most frequent first.
    """

    simulated: int
    failed: int
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def p(self) -> float:
        return 1 - self.failed / self.simulated

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of p(valid)."""
        return binomial_interval(self.simulated - self.failed, self.simulated)


@dataclass(frozen=True)
class Pace:
    """Simulating, as the running shards tell, or the latest finished ones.

    Args:
        rows_per_s: Pairs a second lately.
        left_s: Seconds until all are there at this pace.
        age_s: Seconds since the latest word.
    """

    rows_per_s: float
    left_s: float
    age_s: float


class SplitCount(NamedTuple):
    """Pairs of a split that are there, pairs asked for, shards, and failed simulations."""

    rows: int
    wanted: int
    shards: int
    failed: int


@dataclass(frozen=True)
class Status:
    """What a run folder holds.

    Args:
        path: The run folder.
        simulated: Counts by split.
        training: Last validation, or None.
        trained: How training ended, or None.
        verdict: Verdict and sentence of the diagnosis, or None.
        samples: Observations inferred.
        todo: What comes next.
        valid: How often simulations come out; None where there are none.
        pace: How fast pairs come; None where nobody simulates, or none is missing.
        running: Pairs done in shards that are being simulated.
        jobs: Of the batch system by step, as `submit` noted them.
        broken: Records that cannot be read.
        imported: Files that the pairs come from; empty where they are simulated.
        likelihoods: How far those are that are learned beside the posterior.
    """

    path: Path
    simulated: dict[str, SplitCount]
    training: LastValidation | None
    trained: TrainProvenance | None
    verdict: tuple[str, str] | None
    samples: list[str] = field(default_factory=list)
    todo: str = ""
    valid: Valid | None = None
    pace: Pace | None = None
    running: int = 0
    jobs: Mapping[str, SubmittedJob] = field(default_factory=dict)
    broken: tuple[Path, ...] = ()
    imported: tuple[str, ...] = ()
    likelihoods: tuple[LikelihoodStatus, ...] = ()


def status(path: Path) -> Status:
    """How far a run is.

    Raises:
        RunError: No run folder.
        CorruptFile: Its config, or a file of a later step, cannot be read.
    """
    run = open_run_folder(path)
    section = simulate_section(run)
    data = section.data_run(run)
    splits = {split: _records(data.split(split)) for split in SPLITS}
    simulated = {split: _count(splits[split], section.pairs[split]) for split in SPLITS}
    running = [progress for split in SPLITS for progress in _running(data.split(split))]
    left = sum(max(0, count.wanted - count.rows) for count in simulated.values())
    trained, verdict = _trained(run)
    samples = [folder.name for folder in _sampled(run)]
    imported = _imported_files(data)
    likelihoods = tuple(likelihood_states(run))
    is_trained = trained is not None and all(one.trained for one in likelihoods)
    todo = _next_command(path, left, is_trained, verdict, samples, imported)
    if section.is_likelihood:
        todo = _next_command_of_likelihood(run, data, is_trained, verdict)
    return Status(
        path,
        simulated,
        last_validation(run),
        trained,
        verdict,
        samples,
        todo,
        valid=_valid(splits.values()),
        pace=_running_pace(running, left) or _recent_pace(splits.values(), left),
        running=sum(progress.rows for progress in running),
        jobs=read_jobs(run),
        broken=tuple(broken for split in splits.values() for broken in split.broken),
        imported=imported,
        likelihoods=likelihoods,
    )


@dataclass(frozen=True)
class _Records:
    """The records of one split, and when each was written."""

    records: Sequence[ShardRecord]
    times: Sequence[float]
    broken: Sequence[Path]


def _records(folder: Path) -> _Records:
    """One listing and one small read a shard; what is being replaced counts the next time."""
    records, times, broken = list[ShardRecord](), list[float](), list[Path]()
    for entry in _record_files(folder):
        path = Path(entry.path)
        try:
            records.append(read_typed(ShardRecord, path))
            times.append(entry.stat().st_mtime)
        except (CorruptFile, DiskError, OSError):
            broken.append(path)
    return _Records(records, times, broken)


def _record_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("shard-") and entry.name.endswith(".json"):
            yield entry


def _count(split: _Records, wanted: int) -> SplitCount:
    rows = sum(record.rows for record in split.records)
    failed = sum(record.failed for record in split.records)
    return SplitCount(rows, wanted, len(split.records), failed)


def _valid(splits: Iterable[_Records]) -> Valid | None:
    """How often simulations come out, and of the failed ones why not."""
    simulated, failed = 0, 0
    reasons: Counter[str] = Counter()
    for split in splits:
        for record in split.records:
            simulated, failed = simulated + record.simulated, failed + record.failed
            reasons.update(record.reasons)
    if failed > reasons.total():
        reasons["not recorded"] += failed - reasons.total()
    if not simulated:
        return None
    return Valid(simulated, failed, dict(reasons.most_common()))


def _running(folder: Path) -> list[ShardProgress]:
    """How far the shards of a split are that are being simulated."""
    return [progress for _, progress in running_shards(folder)]


def _running_pace(running: Sequence[ShardProgress], left: int) -> Pace | None:
    """The pace of the shards that are being simulated."""
    rate = sum(progress.rows / max(1e-3, progress.seconds) for progress in running)
    if not left or not rate:
        return None
    missing = max(0, left - sum(progress.rows for progress in running))
    return Pace(rate, missing / rate, 0.0)


def _recent_pace(splits: Iterable[_Records], left: int) -> Pace | None:
    """Rows of the shards that ended lately, per second since the first of them ended."""
    now = time.time()
    recent: list[tuple[float, int]] = []
    for split in splits:
        for when, record in zip(split.times, split.records, strict=True):
            if now - when < RECENT_S:
                recent.append((when, record.rows))
    recent.sort()
    if not left or len(recent) < 2:
        return None
    rate = sum(rows for _, rows in recent[1:]) / max(1e-3, now - recent[0][0])
    if not rate:
        return None
    return Pace(rate, left / rate, max(0.0, now - recent[-1][0]))


Verdict = tuple[str, str]
"""Word and sentence."""


def _trained(run: RunDir) -> tuple[TrainProvenance | None, Verdict | None]:
    """How training ended, and what the diagnosis says of it."""
    if not run.best.is_file():
        return None, None
    trained = read_provenance(run.train, TrainProvenance)
    numbers = read_numbers(run)
    if trained is None or numbers is None:
        return trained, None
    return trained, (numbers.verdict, numbers.summary)


def _sampled(run: RunDir) -> list[Path]:
    folders = sorted(run.samples.glob("*/"))
    return [folder for folder in folders if PosteriorDir(folder).posterior.is_file()]


@dataclass(frozen=True)
class _ImportedFiles:
    files: dict[str, str]


@dataclass(frozen=True)
class _PlanFile:
    imported: _ImportedFiles | None = None


def _imported_files(data: RunDir) -> tuple[str, ...]:
    """Files that the pairs come from, by the plan; it is read whole by the verbs that need it."""
    if not data.plan.is_file():
        return ()
    todo = "Run `sbiwb simulate`, or the same `sbiwb import`, again: it writes the plan anew."
    plan = read_typed(_PlanFile, data.plan, todo=todo)
    if plan.imported is None:
        return ()
    return tuple(plan.imported.files)


def _next_command(
    path: Path,
    left: int,
    is_trained: bool,
    verdict: Verdict | None,
    samples: Sequence[str],
    imported: Sequence[str],
) -> str:
    """What comes next; empty where all is done."""
    if left and imported:
        return f"sbiwb verify {path}"
    if left:
        return f"sbiwb simulate {path}"
    if not is_trained:
        return f"sbiwb train {path}"
    if verdict is None:
        return f"sbiwb diagnose {path}"
    if not samples:
        return f"sbiwb sample {path}"
    return ""


def _next_command_of_likelihood(
    run: RunDir, data: RunDir, is_trained: bool, verdict: Verdict | None
) -> str:
    """What comes next for the run of a likelihood, most of it by the run it belongs to."""
    if not is_trained:
        return f"sbiwb train {data.path}"
    if verdict is None:
        return f"sbiwb diagnose {run.path}"
    return ""
