"""Audit: what one shard's files hold against what they should; only reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from sbiwb.errors import CorruptFile
from sbiwb.records import Pairs, Ragged, Variable
from sbiwb.store import hdf5
from sbiwb.store.arrays import groups_of, unflatten
from sbiwb.store.shard_record import ShardRecord, named_block, read_record
from sbiwb.store.shards import read_bytes, rebuilt_record

DIGEST_BYTES = 8


@dataclass(frozen=True)
class ExpectedVariable:
    """What every row of an observable looks like; see `simulation.layout.Observable`."""

    dtype: str
    shape: tuple[int, ...]
    ragged: bool

    def is_fitted_by(self, variable: Variable) -> bool:
        """Whether a variable has this shape, and a type that holds the planned one."""
        values = values_of(variable)
        is_ragged = isinstance(variable, Ragged)
        return (
            np.can_cast(self.dtype, values.dtype, "safe")
            and is_ragged == self.ragged
            and values.shape[1:] == self.shape[self.ragged :]
        )


@dataclass(frozen=True)
class ExpectedShard:
    """What every shard of a split should be.

    Args:
        data_hash: Of the problem.
        split: train, validation or test.
        block_size: Rows of one block.
        layout: Of each observable.
        theta: Names of the parameters.
        context: Names of the design variables.
    """

    data_hash: str
    split: str
    block_size: int
    layout: Mapping[str, ExpectedVariable]
    theta: tuple[str, ...]
    context: tuple[str, ...]


@dataclass(frozen=True)
class AuditedShard:
    """One shard as an audit sees it.

    Args:
        path: The shard.
        record: Its record, or the one that it should have; None where the shard is not to be used.
        trouble: What is wrong; empty where it is whole.
        foreign: Whether it belongs to another problem.
        lost: Whether its record is missing or cannot be read, and is rebuilt here.
        digests: Of each row, (rows,) uint64; empty where rows may rightly come twice.
    """

    path: Path
    record: ShardRecord | None = None
    trouble: str = ""
    foreign: bool = False
    lost: bool = False
    digests: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))


def audit(shard: Path, expected: ExpectedShard) -> AuditedShard:
    """Reads a shard and its record, and compares all that can be compared.

    Raises:
        DiskError: It cannot be read at all.
    """
    record = _record_or_none(shard)
    lost = record is None
    if not shard.is_file():
        return AuditedShard(shard, trouble="is missing, though it has a record", lost=lost)
    try:
        if record is None:
            record = rebuilt_record(shard)
        if record.data_hash != expected.data_hash:
            trouble = "belongs to another problem (its data_hash differs)"
            return AuditedShard(shard, trouble=trouble, foreign=True)
        pairs = unflatten(hdf5.read(read_bytes(shard, record), shard), shard)
        trouble = _misplaced(shard, record, expected) or _misshapen(pairs, record, expected)
    except CorruptFile as error:
        return AuditedShard(shard, trouble=error.what, lost=lost)
    if trouble:
        return AuditedShard(shard, trouble=trouble, lost=lost)
    return AuditedShard(shard, record, lost=lost, digests=comparable_digests(pairs))


def _record_or_none(shard: Path) -> ShardRecord | None:
    """The record, None where it is lost."""
    try:
        return read_record(shard)
    except CorruptFile:
        return None


def _misplaced(shard: Path, record: ShardRecord, expected: ExpectedShard) -> str:
    """Whether it lies where its blocks belong: a block's number is the place of its seed."""
    name = named_block(shard)
    if record.split != expected.split:
        return f"holds pairs of {record.split}, and lies among those of {expected.split}"
    if record.first_block != name:
        return f"begins with block {record.first_block}, its name says {name}"
    rows = record.blocks * expected.block_size
    if record.rows != rows:
        return f"has {record.rows} rows, its {record.blocks} blocks make {rows}"
    return ""


def _misshapen(pairs: Pairs, record: ShardRecord, expected: ExpectedShard) -> str:
    """Whether every variable has its type, its shape, and as many rows as the record says."""
    names = {"theta": expected.theta, "context": expected.context, "x": tuple(expected.layout)}
    for group, columns in groups_of(pairs).items():
        if set(columns) != set(names[group]):
            return f"holds {_listed(columns)} where {_listed(names[group])} should be"
        for name, column in columns.items():
            if len(column) != record.rows:
                return f"has {len(column)} rows of '{name}', its record says {record.rows}"
    for name, variable in pairs.x.items():
        planned, values = expected.layout[name], values_of(variable)
        if not planned.is_fitted_by(variable):
            held = f"{values.dtype} {values.shape[1:]}"
            return f"holds '{name}' as {held}, the plan says {planned.dtype} {planned.shape}"
    return ""


def _listed(names: Mapping[str, object] | tuple[str, ...]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def values_of(variable: Variable) -> np.ndarray:
    """The values of a variable, end to end where it is ragged."""
    return variable.values if isinstance(variable, Ragged) else variable


def comparable_digests(pairs: Pairs) -> np.ndarray:
    """Digests of the rows, none where two equal rows need not be one row twice."""
    return digests(pairs) if may_compare(pairs) else np.zeros(0, np.uint64)


def may_compare(pairs: Pairs) -> bool:
    """Whether equal rows must be one row twice: some parameter is no whole number throughout."""
    return any(_is_continuous(column) for column in pairs.theta.values())


def _is_continuous(column: Variable) -> bool:
    if isinstance(column, Ragged) or column.dtype.kind != "f":
        return False
    return bool((column != np.trunc(column)).any())


def digests(pairs: Pairs) -> np.ndarray:
    """64 bits of each row's theta, context and observables, (N,)."""
    columns = []
    for group in groups_of(pairs).values():
        for _, variable in sorted(group.items()):
            columns.append(_row_bytes(variable))
    hashed = [_digest(b"".join(row)) for row in zip(*columns, strict=True)]
    return np.frombuffer(b"".join(hashed), np.uint64)


def _digest(row: bytes) -> bytes:
    return hashlib.blake2b(row, digest_size=DIGEST_BYTES).digest()


def _row_bytes(variable: Variable) -> Iterator[bytes]:
    for row in range(len(variable)):
        yield variable[row].tobytes()


@dataclass(frozen=True)
class SharedRows:
    """How many rows two splits share, or one split has twice."""

    first: str
    second: str
    rows: int


def shared_rows(digests_of: Mapping[str, np.ndarray]) -> list[SharedRows]:
    """Splits that have a row twice, and pairs of splits that share one.

    Args:
        digests_of: Of each row, by split.
    """
    shared = []
    distinct = {split: np.unique(rows) for split, rows in digests_of.items()}
    for split, rows in digests_of.items():
        shared.append(SharedRows(split, split, len(rows) - len(distinct[split])))
    for first, second in combinations(distinct, 2):
        common = np.intersect1d(distinct[first], distinct[second], assume_unique=True)
        shared.append(SharedRows(first, second, len(common)))
    return [pair for pair in shared if pair.rows]
