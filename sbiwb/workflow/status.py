"""The verb `status`: how far a run is, from its files alone; needs no torch and loads no arrays."""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sbiwb.document import read_run_config
from sbiwb.errors import RunError
from sbiwb.files import read_json
from sbiwb.rundir import SPLITS, RunDir

RECENT_S = 900.0  # a shard takes about five minutes of one worker: nobody simulates where none came for this long
Z_95 = 1.959964
COUNTED = {"rows", "failed", "simulated"}


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
        """95 % interval of p(valid), Wilson's score (1927, https://doi.org/10.1080/01621459.1927.10502953)."""
        return wilson(self.simulated - self.failed, self.simulated)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share; it stays inside [0, 1], also where hits is 0 or n."""
    share, z2 = hits / n, Z_95**2
    centre, half = (
        share + z2 / (2 * n),
        Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)),
    )
    return max(0.0, (centre - half) / (1 + z2 / n)), min(1.0, (centre + half) / (1 + z2 / n))


@dataclass(frozen=True)
class Pace:
    """Simulating, as its latest records tell.

    Args:
        rows_per_s: Pairs a second lately.
        left_s: Seconds until all are there at this pace.
        age_s: Seconds since the latest shard.
    """

    rows_per_s: float
    left_s: float
    age_s: float


@dataclass(frozen=True)
class Status:
    """What a run folder holds.

    Args:
        path: The run folder.
        simulated: (pairs there, pairs asked for, shards, failed) by split.
        training: Last validation, or None.
        trained: How training ended, or None.
        verdict: Verdict and sentence of the diagnosis, or None.
        samples: Observations inferred.
        todo: What comes next.
        valid: How often simulations come out; None where there are none.
        pace: How fast shards came lately; None where none did, or none is missing.
        jobs: Of the batch system, as `submit` noted them: (step, number, elements, when).
        broken: Records that cannot be read.
        imported: Files that the pairs come from; empty where they are simulated.
    """

    path: Path
    simulated: dict[str, tuple[int, int, int, int]]
    training: dict[str, Any] | None
    trained: dict[str, Any] | None
    verdict: tuple[str, str] | None
    samples: list[str] = field(default_factory=list)
    todo: str = ""
    valid: Valid | None = None
    pace: Pace | None = None
    jobs: tuple[tuple[str, str, int, str], ...] = ()
    broken: tuple[Path, ...] = ()
    imported: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Records:
    """The records of one split, and when each was written."""

    records: Sequence[dict[str, Any]]
    times: Sequence[float]
    broken: Sequence[Path]

    def sum(self, name: str) -> int:
        return sum(one[name] for one in self.records)


def status(path: Path) -> Status:
    """How far a run is.

    Raises:
        RunError: No run folder.
    """
    run = RunDir(path)
    if not run.config.is_file():
        raise RunError(
            "is no run folder: it holds no config.yaml",
            where=path,
            todo="Name a folder under runs/.",
        )
    simulate, data = simulate_section(run)
    found = {split: _records(data.split(split)) for split in SPLITS}
    simulated = {
        split: (one.sum("rows"), simulate[split], len(one.records), one.sum("failed"))
        for split, one in found.items()
    }
    is_trained = (run.train / "provenance.json").is_file() and run.best.is_file()
    trained = read_json(run.train / "provenance.json") if is_trained else None
    numbers = read_json(run.numbers) if run.numbers.is_file() and is_trained else None
    samples = sorted(one.parent.name for one in (path / "sample").glob("*/posterior.nc"))
    verdict = (numbers["verdict"], numbers["summary"]) if numbers else None
    imported = (
        read_json(data.plan).get("imported", {}).get("files", {}) if data.plan.is_file() else {}
    )
    return Status(
        path,
        simulated,
        _last_metrics(run),
        trained,
        verdict,
        samples,
        _todo(path, simulated, trained, verdict, samples, bool(imported)),
        valid=_valid(found.values()),
        pace=_pace(
            found.values(), sum(max(0, wanted - there) for there, wanted, *_ in simulated.values())
        ),
        jobs=_jobs(run),
        broken=tuple(path for one in found.values() for path in one.broken),
        imported=tuple(imported),
    )


def simulate_section(run: RunDir) -> tuple[dict[str, Any], RunDir]:
    """The section `simulate`, and the run that holds the shards."""
    read = read_run_config(run.config)["simulate"]
    try:
        section = {"from": read.get("from"), **{split: int(read[split]) for split in SPLITS}}
        os.fspath(section["from"] or "")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunError(
            "is not the config of a run",
            where=run.config,
            todo="Run `sbiwb simulate` on your own YAML: it writes it anew.",
        ) from error
    return section, RunDir((run.path / section["from"]).resolve()) if section.get("from") else run


def _records(folder: Path) -> _Records:
    """One listing and one small read a shard; a record that is being replaced counts the next time."""
    records, times, broken = [], [], []
    try:
        entries = [
            one
            for one in os.scandir(folder)
            if one.name.startswith("shard-") and one.name.endswith(".json")
        ]
    except OSError:
        entries = []
    for entry in entries:
        try:
            with open(entry.path, "rb") as file:
                record = json.loads(file.read())
            if not record.keys() >= COUNTED:
                raise ValueError
            times.append(entry.stat().st_mtime)
            records.append(record)
        except (ValueError, AttributeError, OSError):
            broken.append(Path(entry.path))
    return _Records(records, times, broken)


def _valid(found: Iterable[_Records]) -> Valid | None:
    splits = list(found)
    simulated = sum(one.sum("simulated") for one in splits)
    reasons: Counter[str] = Counter()
    for split in splits:
        for record in split.records:
            reasons.update(
                record.get("reasons")
                or ({"not recorded": record["failed"]} if record["failed"] else {})
            )
    return (
        Valid(simulated, sum(one.sum("failed") for one in splits), dict(reasons.most_common()))
        if simulated
        else None
    )


def _pace(found: Iterable[_Records], missing: int) -> Pace | None:
    """Rows of the shards that ended within the last quarter of an hour, per second since the first of them ended."""
    now = time.time()
    recent = sorted(
        (when, record["rows"])
        for one in found
        for when, record in zip(one.times, one.records, strict=True)
        if now - when < RECENT_S
    )
    if not missing or len(recent) < 2:
        return None
    rate = sum(rows for _, rows in recent[1:]) / max(1e-3, now - recent[0][0])
    return Pace(rate, missing / rate, max(0.0, now - recent[-1][0]))


def _jobs(run: RunDir) -> tuple[tuple[str, str, int, str], ...]:
    """What `submit` noted."""
    path = run.path / "jobs" / "jobs.json"
    jobs = read_json(path).get("jobs", {}) if path.is_file() else {}
    return tuple(
        (step, str(one.get("id")), int(one.get("elements") or 0), str(one.get("submitted", "")))
        for step, one in jobs.items()
    )


def _last_metrics(run: RunDir) -> dict[str, Any] | None:
    lines = run.metrics.read_text(encoding="utf-8").splitlines() if run.metrics.is_file() else []
    try:
        return json.loads(lines[-1]) if lines else None
    except ValueError:
        return None  # the last line is being written


def _todo(
    path: Path,
    simulated: dict[str, Any],
    trained: Any,
    verdict: Any,
    samples: list[str],
    is_imported: bool,
) -> str:
    if any(there < wanted for there, wanted, *_ in simulated.values()):
        return f"sbiwb verify {path}" if is_imported else f"sbiwb simulate {path}"
    if trained is None:
        return f"sbiwb train {path}"
    if verdict is None:
        return f"sbiwb diagnose {path}"
    return "" if samples else f"sbiwb sample {path}"
