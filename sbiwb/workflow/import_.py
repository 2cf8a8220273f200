"""The verb `import`: simulations in files of the user's own become the shards of a run.

The files are read twice, a few rows at a time. First everything is checked, and bad rows and copies are found; then each row goes to its
place in a random order, by way of one scratch file for each shard. So the first rows of a split are a fair sample of it, as `train` takes
for granted, and what is held in memory is a chunk, or the rows of one shard and its image.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.contracts import Reporter
from sbiwb.errors import ConfigError, DataError, RunError
from sbiwb.files import put_json, read_json, stable_hash
from sbiwb.project.fingerprint import differences
from sbiwb.project.imported import IMPORTED, content_hash, file_hash
from sbiwb.project.opening import write_config
from sbiwb.project.project import Project
from sbiwb.rundir import SPLITS, put_provenance
from sbiwb.seeds import generator
from sbiwb.simulation.layout import to_json
from sbiwb.steps.intake.columns import WHERE, Mapped
from sbiwb.steps.intake.sort import _Places, _write
from sbiwb.steps.intake.survey import Survey, survey
from sbiwb.store import manifest
from sbiwb.store.foreign import foreign

SHARES = "0.8,0.1,0.1"
SHARD_BYTES = 64 << 20
SHARDS_PER_SPLIT = 16


def import_files(
    project: Project,
    paths: Sequence[Path],
    reporter: Reporter,
    *,
    columns: Sequence[str] = (),
    shares: str = SHARES,
    by: str = "",
) -> dict[str, Any]:
    """Takes pairs from files into a run.

    Args:
        project: Its YAML says `simulator: imported`.
        paths: CSV, NPZ, HDF5 or Parquet files, one after the other.
        reporter: Where progress goes.
        columns: `VARIABLE=COLUMN` or `VARIABLE=A,B,C`, where names differ.
        shares: Of train, validation and test.
        by: Column that numbers the data sets, where a table has one row a member or step.

    Returns:
        The manifest: counts by split.

    Raises:
        ConfigError: The YAML is not one for imported pairs, or an option cannot be read.
        DataError: A column is missing, or holds what it must not.
        FailureRateError: More rows are not finite than allowed.
        RunError: The run folder holds other pairs.
    """
    start = time.perf_counter()
    _check_project(project, paths)
    facts = _facts(paths, columns, shares, by)
    identity = project.identity(content_hash(facts))
    if _is_done(project, identity):
        reporter.say("These files are imported already, and every shard is whole.")
        return write_manifest(project)
    files = [Mapped.of(project, foreign(path), _mapping(columns), by) for path in paths]
    found = survey(project, files, reporter)
    places = _places(project, found, _shares(shares))
    _tell(found, reporter)
    counts = {split: int((places.split == i).sum()) for i, split in enumerate(SPLITS)}
    project = _with_counts(project, counts)
    plan = _plan(project, identity, {**facts, "rows": counts}, found)
    put_json(project.run.plan, plan)
    write_config(project)
    _write(project, plan, files, found, places, reporter)
    put_provenance(
        project.run.data,
        seconds=time.perf_counter() - start,
        facts={
            "data_hash": plan["data_hash"],
            "seed": project.config.simulate.seed,
            "files": facts["files"],
        },
    )
    return write_manifest(project)


def write_manifest(project: Project) -> dict[str, Any]:
    """Gathers the records."""
    splits = {
        split: manifest.summary(manifest.shards(project.run.split(split))) for split in SPLITS
    }
    put_json(project.run.manifest, {"splits": splits})
    return splits


def _check_project(project: Project, paths: Sequence[Path]) -> None:
    if not project.is_imported:
        raise ConfigError(
            f"problem.simulator is {project.config.problem.simulator!r}",
            where=project.base,
            todo=f"Write `simulator: {IMPORTED}` into the YAML of imported pairs.",
        )
    if project.data_run.path != project.run.path:
        raise ConfigError(
            "simulate.from names another run",
            where=project.base,
            todo="Leave it out, or import into that run.",
        )
    twice = [
        path
        for i, path in enumerate(paths)
        if path.resolve() in [one.resolve() for one in paths[:i]]
    ]
    if twice:
        raise DataError("is named twice", where=twice[0], todo="Name each file once.")


def _facts(paths: Sequence[Path], columns: Sequence[str], shares: str, by: str) -> dict[str, Any]:
    """What was asked for, and the content of the files."""
    files = {str(path.resolve()): file_hash(foreign(path).path) for path in paths}
    return {"files": files, "columns": _mapping(columns), "shares": _shares(shares), "by": by}


def _mapping(columns: Sequence[str]) -> dict[str, list[str]]:
    """Columns by variable, of `y=signal` and `y=a,b,c`."""
    parts = [one.partition("=") for one in columns]
    for one, (name, _, chosen) in zip(columns, parts, strict=True):
        if not name or not chosen:
            raise ConfigError(
                f"cannot read '{one}'",
                where=f"{WHERE} --column",
                todo="Write --column VARIABLE=COLUMN, such as y=signal.",
            )
    return {
        name.strip(): [column.strip() for column in chosen.split(",")] for name, _, chosen in parts
    }


def _shares(text: str) -> list[float]:
    """Shares of train, validation and test, which sum to 1."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if (
        len(found) != len(SPLITS)
        or min(found) <= 0
        or not math.isclose(sum(found), 1, abs_tol=1e-9)
    ):
        raise ConfigError(
            f"cannot read '{text}'",
            where=f"{WHERE} --shares",
            todo=f"Give train, validation and test, summing to 1, such as {SHARES}.",
        )
    return found


def _is_done(project: Project, identity: dict[str, Any]) -> bool:
    """Whether this import has been brought to its end.

    Raises:
        RunError: The run holds other pairs.
    """
    if not project.run.plan.is_file():
        return False
    plan, run = read_json(project.run.plan), project.run
    held = {split: manifest.shards(run.split(split)) for split in SPLITS}
    if plan["data_hash"] != stable_hash(identity):
        if not any(held.values()):
            return False
        changed = [
            one.replace("problem.simulator code", "the files, columns or shares")
            for one in differences(plan["identity"], identity)
        ]
        todo = (
            "Give the run another `name`, or delete the folder if its pairs are no longer wanted."
        )
        raise RunError(f"holds other pairs: {'; '.join(changed)}", where=run.data, todo=todo)
    for split, rows in plan[IMPORTED]["rows"].items():
        if manifest.missing(held[split], rows) or manifest.check(run.split(split)):
            return False
    return True


def _places(project: Project, found: Survey, shares: Sequence[float]) -> _Places:
    """A random order of the good rows, cut into splits; a row that comes again is left out.

    Raises:
        DataError: A split would be empty.
    """
    good = np.ones(found.rows, bool)
    good[[failure.block for failure in found.ledger]] = False
    if found.is_compared:
        first = np.zeros(found.rows, bool)
        first[np.unique(np.concatenate(found.digests), return_index=True)[1]] = True
        found.copies = int((good & ~first).sum())
        good &= first
    found.digests.clear()
    rows = np.flatnonzero(good)
    sizes = [round(share * len(rows)) for share in shares[1:]]
    sizes = [len(rows) - sum(sizes), *sizes]
    if min(sizes) < 1:
        raise DataError(
            f"{len(rows)} good rows are too few for three splits",
            where=WHERE,
            todo="Import more, or change --shares.",
        )
    split, place = np.full(found.rows, -1, np.int8), np.zeros(found.rows, np.int64)
    order = generator(project.config.simulate.seed, "train", 0).permutation(len(rows))
    ends = np.cumsum([0, *sizes])
    for number, (start, stop) in enumerate(pairwise(ends)):
        mine = rows[order[start:stop]]
        split[mine], place[mine] = number, np.arange(stop - start)
    return _Places(split, place)


def _tell(found: Survey, reporter: Reporter) -> None:
    if found.copies:
        reporter.warn(
            f"{found.copies:,} rows are copies of others and are left out: no row may be in two splits."
        )
    if found.ledger:
        first = found.ledger[0]
        told = f"{len(found.ledger):,} of {found.rows:,} rows are left out as failed simulations"
        reporter.warn(f"{told}, the first in row {first.block}: {first.message}.")


def _with_counts(project: Project, counts: Mapping[str, int]) -> Project:
    """The project with the counts of the import.

    Raises:
        ConfigError: The YAML asks for more.
    """
    simulate = project.config.simulate
    for split in simulate.model_fields_set & set(SPLITS):
        if getattr(simulate, split) > counts[split]:
            raise ConfigError(
                f"simulate.{split} is {getattr(simulate, split):,}, and {counts[split]:,} rows fall to it",
                where=project.base,
                todo="Leave it out to take all, or import more, or change --shares.",
            )
    silent = {
        split: count for split, count in counts.items() if split not in simulate.model_fields_set
    }
    return replace(
        project,
        config=project.config.model_copy(update={"simulate": simulate.model_copy(update=silent)}),
    )


def _plan(
    project: Project, identity: dict[str, Any], facts: dict[str, Any], found: Survey
) -> dict[str, Any]:
    per_row = found.bytes / found.rows
    size = project.config.simulate.shard_size
    rows = {
        split: size
        if isinstance(size, int)
        else 1 << max(0, int(min(count / SHARDS_PER_SPLIT, SHARD_BYTES / per_row)).bit_length() - 1)
        for split, count in facts["rows"].items()
    }
    return {
        "data_hash": stable_hash(identity),
        "identity": identity,
        "layout": to_json(found.layout(project.config.problem.missing)),
        "seconds_per_row": 0.0,
        "bytes_per_row": per_row,
        "shard_blocks": rows,
        IMPORTED: facts,
    }
