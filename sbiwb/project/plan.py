"""The plan of a run: what its shards are, what each costs, and how they are cut; `data/plan.json`.

Written by a preflight, or by an import. A worker needs it and the config, and nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from sbiwb.contracts import Reporter
from sbiwb.errors import CorruptFile, DiskError, RunError
from sbiwb.files import put_json, read_typed, stable_hash
from sbiwb.rundir import RunDir
from sbiwb.simulation.layout import Observable
from sbiwb.simulation.layout import to_json as layout_to_json

REMEDY = (
    "Run `sbiwb simulate` on the config (the same `sbiwb import` again where pairs are imported):"
    " it writes the plan anew, and keeps the shards that fit."
)

Count = Annotated[int, Field(ge=0)]
Length = Annotated[int, Field(ge=1)]
Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class ImportFacts:
    """What was imported.

    Args:
        files: sha256 of each file by its path, in order.
        columns: Columns by variable, where the names differ.
        shares: Of train, validation and test.
        by: Column that numbers the data sets; empty where each row is one.
        rows: Pairs by split.
    """

    files: dict[str, str]
    columns: dict[str, list[str]]
    shares: list[float]
    by: str
    rows: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a run simulates, or has imported.

    Args:
        data_hash: Hash of `identity`, which every shard carries.
        identity: All that decides a simulated row.
        layout: What every row looks like, by observable.
        seconds_per_row: Of one worker, as the preflight measured.
        bytes_per_row: On disk.
        shard_blocks: Blocks of a shard, by split.
        accepted: Hashes of later code that is said to give the same rows.
        imported: Where the pairs come from; None where they are simulated.
    """

    data_hash: str
    identity: dict[str, object]
    layout: dict[str, Observable]
    seconds_per_row: Cost
    bytes_per_row: Cost
    shard_blocks: dict[str, Length]
    accepted: tuple[str, ...] = ()
    imported: ImportFacts | None = None


@dataclass(frozen=True)
class PlannedProblem:
    """Names of the variables in an identity; see `Project.identity`."""

    parameters: list[tuple[str, object]]
    context: list[tuple[str, object]]


@dataclass(frozen=True)
class PlannedRows:
    """How rows are drawn in an identity."""

    seed: int
    block_size: Length


@dataclass(frozen=True)
class PlannedIdentity:
    """What `verify` needs of an identity."""

    problem: PlannedProblem
    simulate: PlannedRows


@dataclass(frozen=True)
class AcceptedCode:
    """The problem of before a change of code, in a plan or what is left of it.

    Args:
        data_hash: Of the shards.
        identity: Of which it is the hash.
        accepted: Hashes of later code that is said to give the same rows.
    """

    data_hash: str
    identity: dict[str, object]
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Outline:
    identity: PlannedIdentity


def read_plan(run: RunDir) -> Plan:
    """The plan of a run.

    Raises:
        RunError: It has none.
        CorruptFile: It cannot be read, a field is missing or of another type, or it was altered.
    """
    if not run.plan.is_file():
        todo = f"Run `sbiwb simulate {run.path}` or `sbiwb submit {run.path}` once: they write it."
        raise RunError("has no plan yet", where=run.data, todo=todo)
    plan = read_typed(Plan, run.plan, todo=REMEDY)
    read_identity(run)
    for name, observable in plan.layout.items():
        _check_dtype(name, observable.dtype, run.plan)
    if stable_hash(plan.identity) != plan.data_hash:
        what = "was altered: its data_hash is not that of the problem in it"
        raise CorruptFile(what, where=run.plan, todo=REMEDY)
    return plan


def plan_or_none(run: RunDir) -> Plan | None:
    """The plan of a run, None where it has none.

    Raises:
        CorruptFile: As in `read_plan`.
    """
    if not run.plan.is_file():
        return None
    return read_plan(run)


def imported_rows(run: RunDir) -> dict[str, int]:
    """Imported pairs by split; none where nothing is imported yet, or the plan is damaged.

    What is damaged is told when it is used, or made again by the same import.
    """
    try:
        plan = plan_or_none(run)
    except CorruptFile:
        return {}
    if plan is None or plan.imported is None:
        return {}
    return plan.imported.rows


def read_identity(run: RunDir) -> PlannedIdentity:
    """The names of the variables in the plan of a run, and the size of its blocks.

    Raises:
        CorruptFile: The plan cannot be read, or the identity in it is none.
    """
    return read_typed(_Outline, run.plan, todo=REMEDY).identity


def _check_dtype(name: str, dtype: str, where: Path) -> None:
    try:
        np.dtype(dtype)
    except TypeError as error:
        what = f"'layout.{name}.dtype' is '{dtype}', which is no type of numbers"
        raise CorruptFile(what, where=where, todo=REMEDY) from error


def heal_plan(run: RunDir, reporter: Reporter) -> None:
    """Sets a damaged plan aside, so that it is written anew: shards and config say what it said,
    but for changes of code that were accepted; see `accepted_code`."""
    try:
        plan_or_none(run)
    except CorruptFile as error:
        aside = _aside(run)
        try:
            run.plan.replace(aside)
        except OSError as cause:
            raise DiskError.of(cause, run.plan) from cause
        warning = f"{error.where} {error.what}; kept as {aside.name}, and written anew."
        if accepted_code(run) is None:
            warning += (
                " If a change of the simulator's code had been accepted, that is lost: run once"
                " with the code of before, then with the new code and --accept-code-change."
            )
        reporter.warn(warning)


def accepted_code(run: RunDir) -> AcceptedCode | None:
    """What a plan that was set aside says of accepted code; None where that cannot be read."""
    try:
        code = read_typed(AcceptedCode, _aside(run), todo=REMEDY)
    except (CorruptFile, DiskError):
        return None
    if stable_hash(code.identity) != code.data_hash:
        return None
    return code


def _aside(run: RunDir) -> Path:
    return run.plan.with_suffix(".json.damaged")


def put_plan(run: RunDir, plan: Plan) -> None:
    """Writes the plan; what it leaves empty is left out."""
    put_json(run.plan, to_json(plan))


def to_json(plan: Plan) -> dict[str, object]:
    """The plan as its file holds it."""
    value = asdict(plan)
    value["layout"] = layout_to_json(plan.layout)
    for name in ("accepted", "imported"):
        if not value[name]:
            del value[name]
    return value
