"""Audit: what one shard's files hold against what they should; only reads, and never through a lock of HDF5."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.errors import CorruptFile
from sbiwb.records import Pairs, Ragged, Variable
from sbiwb.store import hdf5
from sbiwb.store.shards import load_record, read_bytes, rebuilt_record, unflatten

DIGEST_BYTES = 8


@dataclass(frozen=True)
class ExpectedShard:
    """What every shard of a split should be.

    Args:
        data_hash: Of the problem.
        split: train, validation or test.
        block_size: Rows of one block.
        layout: Of each observable: (dtype, shape of one row, whether the first axis of that shape varies).
        theta: Names of the parameters.
        context: Names of the design variables.
    """

    data_hash: str
    split: str
    block_size: int
    layout: Mapping[str, tuple[str, tuple[int, ...], bool]]
    theta: tuple[str, ...]
    context: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """One shard as it was found.

    Args:
        path: The shard.
        record: Its record, or the one that it should have; None where the shard is not to be used.
        trouble: What is wrong; empty where it is whole.
        foreign: Whether it belongs to another problem.
        lost: Whether its record is missing or cannot be read, and is rebuilt here.
        digests: Of each row, (rows,) uint64; empty where rows may rightly come twice.
    """

    path: Path
    record: dict[str, Any] | None = None
    trouble: str = ""
    foreign: bool = False
    lost: bool = False
    digests: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))


def audit(shard: Path, expected: ExpectedShard) -> Found:
    """Reads a shard and its record, and compares all that can be compared.

    Raises:
        DiskError: It cannot be read at all.
    """
    record, lost = _record(shard)
    if not shard.is_file():
        return Found(shard, trouble="is missing, though it has a record", lost=lost)
    try:
        record = record or rebuilt_record(shard)
        if record["data_hash"] != expected.data_hash:
            return Found(
                shard, trouble="belongs to another problem (its data_hash differs)", foreign=True
            )
        data = read_bytes(shard, record)
        pairs = unflatten(hdf5.read(data, shard))
        trouble = _misplaced(shard, record, expected) or _misshapen(pairs, record, expected)
    except CorruptFile as error:
        return Found(shard, trouble=error.what, lost=lost)
    if trouble:
        return Found(shard, trouble=trouble, lost=lost)
    return Found(
        shard,
        record,
        lost=lost,
        digests=digests(pairs) if may_compare(pairs) else np.zeros(0, np.uint64),
    )


def _record(shard: Path) -> tuple[dict[str, Any] | None, bool]:
    """The record, and whether it is lost."""
    path = shard.with_suffix(".json")
    try:
        return (load_record(path), False) if path.is_file() else (None, True)
    except CorruptFile:
        return None, True


def _misplaced(shard: Path, record: Mapping[str, Any], expected: ExpectedShard) -> str:
    """Whether it lies where its blocks belong: a block's number is the place of its seed."""
    first = int(shard.stem.partition("-")[2])
    if record["split"] != expected.split:
        return f"holds pairs of {record['split']}, and lies among those of {expected.split}"
    if record["first_block"] != first:
        return f"begins with block {record['first_block']}, its name says {first}"
    rows = record["blocks"] * expected.block_size
    return (
        f"has {record['rows']} rows, its {record['blocks']} blocks make {rows}"
        if record["rows"] != rows
        else ""
    )


def _misshapen(pairs: Pairs, record: Mapping[str, Any], expected: ExpectedShard) -> str:
    """Whether every variable has its type, its shape, and as many rows as the record says."""
    for part, names in (
        (pairs.theta, expected.theta),
        (pairs.context, expected.context),
        (pairs.x, expected.layout),
    ):
        if set(part) != set(names):
            return f"holds {', '.join(sorted(part)) or 'nothing'} where {', '.join(sorted(names)) or 'nothing'} should be"
        short = [name for name, variable in part.items() if len(variable) != record["rows"]]
        if short:
            return (
                f"has {len(part[short[0]])} rows of '{short[0]}', its record says {record['rows']}"
            )
    for name, variable in pairs.x.items():
        dtype, shape, ragged = expected.layout[name]
        values = variable.values if isinstance(variable, Ragged) else variable
        promoted = np.can_cast(dtype, values.dtype, "safe")  # a type that holds all the plan's does
        if not promoted or (values.shape[1:], isinstance(variable, Ragged)) != (
            shape[ragged:],
            ragged,
        ):
            return f"holds '{name}' as {values.dtype} {values.shape[1:]}, the plan says {dtype} {shape}"
    return ""


def may_compare(pairs: Pairs) -> bool:
    """Whether two equal rows must be one row twice: there is a parameter that is no whole number throughout."""
    columns = [
        column
        for column in pairs.theta.values()
        if isinstance(column, np.ndarray) and column.dtype.kind == "f"
    ]
    return any((column != np.trunc(column)).any() for column in columns)


def digests(pairs: Pairs) -> np.ndarray:
    """64 bits of each row's theta, context and observables, (N,)."""
    columns = [
        _bytes(variable)
        for part in (pairs.theta, pairs.context, pairs.x)
        for _, variable in sorted(part.items())
    ]
    rows = zip(*columns, strict=True)
    joined = b"".join(
        hashlib.blake2b(b"".join(row), digest_size=DIGEST_BYTES).digest() for row in rows
    )
    return np.frombuffer(joined, np.uint64)


def _bytes(variable: Variable) -> list[bytes]:
    """Each row's bytes."""
    if isinstance(variable, Ragged):
        return [variable[row].tobytes() for row in range(len(variable))]
    return [row.tobytes() for row in variable]


def twice(found: Mapping[str, np.ndarray]) -> list[tuple[str, str, int]]:
    """Pairs of splits that share rows, or a split that has a row twice: (first, second, rows)."""
    names = list(found)
    once = {name: np.unique(found[name]) for name in names}
    inside = [(name, name, len(found[name]) - len(once[name])) for name in names]
    across = [
        (a, b, len(np.intersect1d(once[a], once[b], assume_unique=True)))
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    ]
    return [one for one in inside + across if one[2]]
