"""Shards: a run of whole blocks in one file, with a record beside it.

A shard exists when its record does and matches.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from sbiwb.errors import CorruptFile, DiskError
from sbiwb.files import parse_typed, put, read_data, sha256
from sbiwb.records import Pairs
from sbiwb.store import hdf5
from sbiwb.store.arrays import (
    Arrays,
    FailedRow,
    flatten,
    ledger_arrays,
    ledger_of,
    unflatten,
)
from sbiwb.store.shard_record import (
    ShardFacts,
    ShardIdentity,
    ShardRecord,
    put_record,
    record_path,
)

REMEDY = (
    "Run `sbiwb simulate` on the config: it sets the file aside and simulates these rows again,"
    " the same ones."
)


def write_shard(
    shard: Path, pairs: Pairs, failures: Sequence[FailedRow], facts: ShardFacts
) -> ShardRecord:
    """Writes the file, then the record that makes it count.

    Args:
        shard: Its path.
        pairs: Its rows.
        failures: Simulations that were replaced on the way.
        facts: What identifies it, and how it was made.
    """
    arrays = {**flatten(pairs), **ledger_arrays(failures)}
    data = hdf5.image(arrays, asdict(facts.identity))
    with ThreadPoolExecutor(1) as beside:  # neither hashing nor the disk holds up the other
        checksum = beside.submit(sha256, data)
        put(shard, data)
    record = ShardRecord(
        **vars(facts),
        rows=len(pairs),
        failed=len(failures),
        bytes=len(data),
        sha256=checksum.result(),
    )
    put_record(shard, record)
    return record


def check_shard(shard: Path, record: ShardRecord) -> None:
    """Compares a shard with its record by its size; by its checksum only where it is the younger.

    Raises:
        CorruptFile: Cut, or altered after its record was written.
        DiskError: It is not there, or cannot be read.
    """
    try:
        status, recorded = shard.stat(), record_path(shard).stat()
    except OSError as error:
        raise DiskError.of(error, shard) from error
    _check_size(shard, status.st_size, record)
    if status.st_mtime_ns > recorded.st_mtime_ns:
        read_bytes(shard, record)


def read_bytes(shard: Path, record: ShardRecord) -> bytes:
    """The file's bytes, after comparing them with the record.

    Raises:
        CorruptFile: Missing, cut or altered.
    """
    try:
        data = shard.read_bytes()
    except FileNotFoundError as error:
        raise CorruptFile("is missing", where=shard, todo=REMEDY) from error
    except OSError as error:
        raise DiskError.of(error, shard) from error
    _check_size(shard, len(data), record)
    if sha256(data) != record.sha256:
        _refuse(shard, "was altered: its checksum differs from its record")
    if _identity(data, shard) != record.identity:
        _refuse(shard, "is not what its record says: other blocks, or another problem")
    return data


def _check_size(shard: Path, size: int, record: ShardRecord) -> None:
    if size != record.bytes:
        what = f"has {size} bytes, its record says {record.bytes}"
        raise CorruptFile(what, where=shard, todo=REMEDY)


def _refuse(shard: Path, what: str) -> NoReturn:
    """Refuses a shard of the right size; it is touched, so that `check_shard` looks at it again."""
    with contextlib.suppress(OSError):
        os.utime(shard)
    raise CorruptFile(what, where=shard, todo=REMEDY)


def read_shard(shard: Path, record: ShardRecord) -> Pairs:
    """The pairs of a shard.

    Raises:
        CorruptFile: Missing, cut, altered, or not a shard.
    """
    pairs = unflatten(hdf5.read(read_bytes(shard, record), shard), shard)
    if len(pairs) != record.rows:
        _refuse(shard, f"has {len(pairs)} rows, its record says {record.rows}")
    return pairs


def read_failures(shard: Path, record: ShardRecord) -> Arrays:
    """The ledger of a shard: arrays of equal length by name, text as bytes.

    Raises:
        CorruptFile: Missing, cut, altered, or not a shard.
    """
    return ledger_of(hdf5.read(read_bytes(shard, record), shard))


def rebuilt_record(shard: Path) -> ShardRecord:
    """The record that a whole shard without one should have; seconds and versions are lost.

    Raises:
        CorruptFile: Not a whole shard.
    """
    data = read_data(shard)
    identity = _identity(data, shard)
    arrays = hdf5.read(data, shard)
    rows, failed = len(unflatten(arrays, shard)), len(arrays.get("failures/row", ()))
    return ShardRecord(
        **vars(identity),
        simulated=rows + failed,
        rows=rows,
        failed=failed,
        bytes=len(data),
        sha256=sha256(data),
        rebuilt=True,
    )


def _identity(data: bytes, shard: Path) -> ShardIdentity:
    """What a shard says of itself."""
    attributes = json.dumps(hdf5.attributes(data, shard), default=str)
    return parse_typed(ShardIdentity, attributes, where=shard, todo=REMEDY)
