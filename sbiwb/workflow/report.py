"""The verb `report`: one HTML page from the files of a run; needs no torch and changes nothing but that page."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sbiwb.document import read_run_config
from sbiwb.errors import DiskError, RunError
from sbiwb.files import put_text, read_json, sha256
from sbiwb.report import loss_picture, to_svg
from sbiwb.report.page import Facts, Inferred, Picture, page
from sbiwb.rundir import RunDir

SUFFIXES = (".svg", ".png")  # the first there is shown
PAGE = "report.html"


def report(path: Path) -> Path:
    """Writes the report of a run.

    Args:
        path: The run folder.

    Returns:
        The page, `report.html` in the run folder.

    Raises:
        RunError: No run folder, or nothing is done in it yet.
        CorruptFile: A file of the run cannot be read.
    """
    run = RunDir(path)
    facts = _facts(run)
    if not (facts.splits or facts.provenance or facts.metrics or facts.numbers):
        raise RunError(
            "holds nothing to report yet", where=path, todo=f"Run `sbiwb run {path}` first."
        )
    put_text(path / PAGE, page(facts))
    return path / PAGE


def _facts(run: RunDir) -> Facts:
    yaml, config = _config(run)
    data = _data_run(run, config)
    provenance = _provenance(run, data)
    metrics = _metrics(run)
    return Facts(
        name=str(config.get("name") or run.name),
        path=str(run.path),
        config=config,
        yaml=yaml,
        splits=_json(data.manifest).get("splits", {}),
        failures=_failures(data),
        provenance=provenance,
        metrics=metrics,
        loss=_loss(metrics, provenance.get("train", {})),
        numbers=_json(run.numbers) or None,
        pictures=_pictures(run.diagnose),
        inferred=tuple(
            Inferred(name, _json(run.sample(name) / "summary.json"), _pictures(run.sample(name)))
            for name in _samples(run)
        ),
        notices=tuple(_notices(run, provenance)),
    )


def _config(run: RunDir) -> tuple[str, dict[str, Any]]:
    if not run.config.is_file():
        raise RunError(
            "is no run folder: it holds no config.yaml",
            where=run.path,
            todo="Name a folder under runs/.",
        )
    config = read_run_config(run.config)
    return run.config.read_text(encoding="utf-8"), config


def _data_run(run: RunDir, config: Mapping[str, Any]) -> RunDir:
    """The run that holds the shards: another one where `simulate.from` names it."""
    source = (config.get("simulate") or {}).get("from")
    return RunDir((run.path / source).resolve()) if source else run


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _samples(run: RunDir) -> list[str]:
    return sorted(path.parent.name for path in (run.path / "sample").glob("*/summary.json"))


def _provenance(run: RunDir, data: RunDir) -> dict[str, dict[str, Any]]:
    """Who made what, by step, in the order of the steps."""
    folders = {"simulate": data.data, "train": run.train, "diagnose": run.diagnose}
    folders |= {f"sample {name}": run.sample(name) for name in _samples(run)}
    found = {step: _json(folder / "provenance.json") for step, folder in folders.items()}
    return {step: one for step, one in found.items() if one}


def _metrics(run: RunDir) -> list[dict[str, Any]]:
    """Validations of the training; the last line may be half written."""
    lines = (
        run.metrics.read_text(encoding="utf-8", errors="replace").splitlines()
        if run.metrics.is_file()
        else []
    )
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [one for one in found if isinstance(one, dict)]


def _loss(metrics: list[dict[str, Any]], trained: Mapping[str, Any]) -> Picture | None:
    keys = ("step", "train_loss", "validation_loss")
    losses = [
        [one[key] for key in keys]
        for one in metrics
        if all(isinstance(one.get(key), int | float) for key in keys)
    ]
    if not losses:
        return None
    best = trained.get("best_step") or min(losses, key=lambda one: one[2])[0]
    return Picture("loss", ".svg", to_svg(loss_picture(losses, int(best))))


def _pictures(folder: Path) -> tuple[Picture, ...]:
    """The pictures of a folder by name, each once: the SVG where there is one."""
    found = {path.stem: path for suffix in reversed(SUFFIXES) for path in folder.glob(f"*{suffix}")}
    try:
        return tuple(
            Picture(name, path.suffix, path.read_bytes()) for name, path in sorted(found.items())
        )
    except OSError as error:
        raise DiskError.of(error, folder) from error


def _failures(data: RunDir) -> dict[str, int]:
    """Failed simulations by kind, from the ledgers of the shards that have one; no other part of a shard is read."""
    import h5py

    found: Counter[str] = Counter()
    for record in sorted(data.data.glob("*/shard-*.json")):
        shard = record.with_suffix(".h5")
        if _json(record).get("failed") and shard.is_file():
            with contextlib.suppress(OSError, KeyError), h5py.File(shard, "r") as file:
                found.update(kind.decode(errors="replace") for kind in file["failures/kind"][:])
    return dict(found.most_common())


def _notices(run: RunDir, provenance: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was made with other weights than those that lie in the run now."""
    weights = sha256(run.best.read_bytes()) if run.best.is_file() else None
    said = []
    for step, one in provenance.items():
        if weights and one.get("weights") not in (None, weights):
            what = (
                "The verdict and its pictures are"
                if step == "diagnose"
                else f"What is said about {step.removeprefix('sample ')} is"
            )
            said.append(
                f"{what} of other weights than those trained last: run `sbiwb {step.split()[0]} {run.path}` again."
            )
    return said
