"""The verb `status`: how far a run is, from its files alone; needs no torch and loads no arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sbiwb.errors import RunError
from sbiwb.files import read_json
from sbiwb.rundir import SPLITS, RunDir


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
    """

    path: Path
    simulated: dict[str, tuple[int, int, int, int]]
    training: dict[str, Any] | None
    trained: dict[str, Any] | None
    verdict: tuple[str, str] | None
    samples: list[str] = field(default_factory=list)
    todo: str = ""


def status(path: Path) -> Status:
    """How far a run is.

    Raises:
        RunError: No run folder.
    """
    run = RunDir(path)
    if not run.config.is_file():
        raise RunError("is no run folder: it holds no config.yaml", where=path, todo="Name a folder under runs/.")
    simulate, data = _simulate_section(run)
    simulated = {split: _split(data, split, simulate[split]) for split in SPLITS}
    is_trained = (run.train / "provenance.json").is_file() and run.best.is_file()
    trained = read_json(run.train / "provenance.json") if is_trained else None
    numbers = read_json(run.numbers) if run.numbers.is_file() and is_trained else None
    samples = sorted(one.parent.name for one in (path / "sample").glob("*/posterior.nc"))
    verdict = (numbers["verdict"], numbers["summary"]) if numbers else None
    return Status(path, simulated, _last_metrics(run), trained, verdict, samples, _todo(path, simulated, trained, verdict, samples))


def _simulate_section(run: RunDir) -> tuple[dict[str, Any], RunDir]:
    """The section `simulate`, and the run that holds the shards."""
    import yaml

    try:
        section = yaml.safe_load(run.config.read_text(encoding="utf-8"))["simulate"]
        section = {"from": section.get("from"), **{split: int(section[split]) for split in SPLITS}}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            "is not the config of a run", where=run.config, todo="Run `sbiwb simulate` on your own YAML: it writes it anew."
        ) from error
    return section, RunDir((run.path / section["from"]).resolve()) if section.get("from") else run


def _split(run: RunDir, split: str, wanted: int) -> tuple[int, int, int, int]:
    records = [json.loads(path.read_bytes()) for path in run.split(split).glob("shard-*.json")]
    return sum(one["rows"] for one in records), wanted, len(records), sum(one["failed"] for one in records)


def _last_metrics(run: RunDir) -> dict[str, Any] | None:
    lines = run.metrics.read_text(encoding="utf-8").splitlines() if run.metrics.is_file() else []
    try:
        return json.loads(lines[-1]) if lines else None
    except ValueError:
        return None  # the last line is being written


def _todo(path: Path, simulated: dict[str, Any], trained: Any, verdict: Any, samples: list[str]) -> str:
    if any(there < wanted for there, wanted, *_ in simulated.values()):
        return f"sbiwb simulate {path}"
    if trained is None:
        return f"sbiwb train {path}"
    if verdict is None:
        return f"sbiwb diagnose {path}"
    return "" if samples else f"sbiwb sample {path}"
