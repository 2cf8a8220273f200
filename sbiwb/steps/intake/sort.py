"""Imported rows sorted into shards through scratch files, so that memory holds one shard at a time."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.contracts import Reporter
from sbiwb.errors import DiskError
from sbiwb.project.imported import IMPORTED
from sbiwb.project.project import Project
from sbiwb.records import Pairs, Ragged, Variable
from sbiwb.rundir import SPLITS, versions
from sbiwb.simulation.blocks import Failure
from sbiwb.simulation.layout import Layout
from sbiwb.steps.intake.columns import Mapped
from sbiwb.steps.intake.survey import Survey, typed
from sbiwb.store import hdf5
from sbiwb.store.shards import flatten, shard_path, unflatten, write_shard

ORDER = "order"  # of the rows in a scratch file


@dataclass(frozen=True)
class _Places:
    """Where each row goes: number of its split (-1: it is left out), and its place there, (rows,) each."""

    split: np.ndarray
    place: np.ndarray


def _write(
    project: Project,
    plan: dict[str, Any],
    files: Sequence[Mapped],
    found: Survey,
    places: _Places,
    reporter: Reporter,
) -> None:
    """Every row to the scratch file of its shard, then every scratch file to its shard."""
    scratch = project.run.data / ".import"
    shutil.rmtree(scratch, ignore_errors=True)
    layout, sizes = (
        found.layout(project.config.problem.missing),
        [plan["shard_blocks"][split] for split in SPLITS],
    )
    kept = int((places.split >= 0).sum())
    try:
        scratch.mkdir(parents=True)
        with reporter.task("sort", kept, unit="pairs") as ticker:
            first = 0
            for mapped in files:
                for chunk in mapped.chunks():
                    pairs = typed(project, chunk, first, mapped.file.path)
                    rows = slice(first, first + len(pairs))
                    ticker.advance(
                        _scatter(
                            scratch,
                            _cast(pairs, layout),
                            places.split[rows],
                            places.place[rows],
                            sizes,
                        )
                    )
                    first += len(pairs)
        with reporter.task("import", kept, unit="pairs") as ticker:
            for path in sorted(scratch.iterdir()):
                number, shard = map(int, path.name.split("-"))
                failures = found.ledger if number == shard == 0 else []
                split, first = SPLITS[number], shard * sizes[number]
                pairs = _gathered(
                    path, first, min(sizes[number], plan[IMPORTED]["rows"][split] - first)
                )
                ticker.advance(_shard(project, plan, split, first, pairs, failures))
                del pairs  # before the next shard takes as much
                path.unlink()
    except OSError as error:
        raise DiskError.of(error, scratch) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _cast(pairs: Pairs, layout: Layout) -> Pairs:
    """Observables in their final types; lists that are all of one length as arrays."""
    x = {}
    for name, variable in pairs.x.items():
        one = layout[name]
        if isinstance(variable, Ragged) and not one.ragged:
            variable = variable.values.reshape(len(variable), *one.shape)
        x[name] = one.cast(variable)
    return Pairs(pairs.theta, pairs.context, x)


def _scatter(
    folder: Path, pairs: Pairs, split: np.ndarray, place: np.ndarray, sizes: Sequence[int]
) -> int:
    """Appends the rows of a chunk to the scratch files of their shards; how many rows these are."""
    shard = np.where(split >= 0, place // np.take(sizes, split), -1)
    keys = np.unique(np.stack([split, shard])[:, split >= 0], axis=1).T
    for number, which in keys:
        rows = np.flatnonzero((split == number) & (shard == which))
        data = hdf5.image({**flatten(pairs.take(rows)), ORDER: place[rows]}, {})
        with open(folder / f"{number}-{which}", "ab") as file:
            file.write(struct.pack("<Q", len(data)))
            file.write(data)
    return int((split >= 0).sum())


def _gathered(path: Path, first: int, rows: int) -> Pairs:
    """The pairs of one shard, each piece of the scratch file put in its place, so that they are held once."""
    held: dict[tuple[str, str], Any] = {}
    with open(path, "rb") as file:
        while head := file.read(8):
            arrays = hdf5.read(file.read(struct.unpack("<Q", head)[0]), path)
            places, pairs = arrays.pop(ORDER) - first, unflatten(arrays)
            for group in ("theta", "context", "x"):
                for name, variable in getattr(pairs, group).items():
                    _put(held, (group, name), variable, places, rows)
    groups: dict[str, dict[str, Variable]] = {"theta": {}, "context": {}, "x": {}}
    for (group, name), values in held.items():
        groups[group][name] = Ragged.of(values) if isinstance(values, list) else values
    return Pairs(**groups)


def _put(
    held: dict[tuple[str, str], Any],
    key: tuple[str, str],
    variable: Variable,
    places: np.ndarray,
    rows: int,
) -> None:
    if isinstance(variable, np.ndarray):
        if key not in held:
            held[key] = np.empty((rows, *variable.shape[1:]), variable.dtype)
        held[key][places] = variable
        return
    lists = held.setdefault(key, [None] * rows)
    for row, place in enumerate(places):
        lists[place] = variable[row]


def _shard(
    project: Project,
    plan: dict[str, Any],
    split: str,
    first: int,
    pairs: Pairs,
    failures: Sequence[Failure],
) -> int:
    """Writes one shard; how many rows it has."""
    now = versions()
    reasons = {
        name: sum(one.reason == name for one in failures)
        for name in dict.fromkeys(one.reason for one in failures)
    }
    facts = {
        "split": split,
        "first_block": first,
        "blocks": len(pairs),
        "data_hash": plan["data_hash"],
        "simulated": len(pairs) + len(failures),
        "seconds": None,
        "versions": {
            name: now[name] for name in ("python", "numpy", "h5py", "sbiwb") if name in now
        },
        **({"reasons": reasons} if reasons else {}),
    }
    write_shard(shard_path(project.run.split(split), first), pairs, failures, facts)
    return len(pairs)
