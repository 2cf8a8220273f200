"""Shards: a run of whole blocks in one file, with a record beside it; a shard exists when its record does and matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sbiwb.errors import CorruptFile, DiskError
from sbiwb.files import put, put_json, read_json, sha256
from sbiwb.records import Columns, Pairs, Ragged, Variable
from sbiwb.store import hdf5

MESSAGE_BYTES = 200
IDENTITY = ("data_hash", "split", "first_block", "blocks")
FACTS = (*IDENTITY, "rows", "simulated", "failed", "bytes", "sha256", "seconds")
REMEDY = "Run `sbiwb simulate` on the config: it sets the file aside and simulates these rows again, the same ones."


class FailedRow(Protocol):
    """What is kept of a failed simulation."""

    @property
    def block(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def row(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def theta(self) -> Mapping[str, np.ndarray]: ...
    @property
    def context(self) -> Mapping[str, np.ndarray]: ...


def shard_path(folder: Path, first_block: int) -> Path:
    """Shards are named by their first block, so that shards of several sizes can stand side by side."""
    return folder / f"shard-{first_block:06d}.h5"


def record_path(shard: Path) -> Path:
    return shard.with_suffix(".json")


def write_shard(
    shard: Path, pairs: Pairs, failures: Sequence[FailedRow], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes the file, then the record that makes it count.

    Args:
        shard: Its path.
        pairs: Its rows.
        failures: Simulations that were replaced on the way.
        facts: What identifies it: data_hash, first_block, blocks, ...

    Returns:
        The record.
    """
    identity = {name: facts[name] for name in IDENTITY}
    data = hdf5.image({**flatten(pairs), **_ledger(failures)}, identity)
    with ThreadPoolExecutor(1) as beside:  # neither hashing nor the disk holds up the other
        hashed = beside.submit(sha256, data)
        put(shard, data)
    record = {
        **facts,
        "rows": len(pairs),
        "failed": len(failures),
        "bytes": len(data),
        "sha256": hashed.result(),
    }
    put_json(record_path(shard), record)
    return record


def read_bytes(shard: Path, record: Mapping[str, Any]) -> bytes:
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
    if len(data) != record["bytes"]:
        raise CorruptFile(
            f"has {len(data)} bytes, its record says {record['bytes']}", where=shard, todo=REMEDY
        )
    if sha256(data) != record["sha256"]:
        raise CorruptFile(
            "was altered: its checksum differs from its record", where=shard, todo=REMEDY
        )
    inside = hdf5.attributes(data, shard)
    if any(inside.get(name) != record[name] for name in IDENTITY):
        raise CorruptFile(
            "is not what its record says: other blocks, or another problem",
            where=shard,
            todo=REMEDY,
        )
    return data


def read_shard(shard: Path, record: Mapping[str, Any]) -> Pairs:
    """The pairs of a shard.

    Raises:
        CorruptFile: Missing, cut, altered, or not a shard.
    """
    return unflatten(hdf5.read(read_bytes(shard, record), shard))


def read_failures(shard: Path, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The ledger of a shard: arrays of equal length by name, text as bytes."""
    arrays = hdf5.read(read_bytes(shard, record), shard)
    return {
        name.removeprefix("failures/"): array
        for name, array in arrays.items()
        if name.startswith("failures/")
    }


def reasons(ledger: Mapping[str, np.ndarray]) -> list[str]:
    """What each failure of a ledger is counted by: its kind, of an exception the class that begins its message."""
    texts = (
        [text.decode(errors="replace") for text in ledger.get(name, ())]
        for name in ("kind", "message")
    )
    return [
        message.partition(":")[0] if kind == "exception" else kind
        for kind, message in zip(*texts, strict=True)
    ]


def read_record(shard: Path) -> dict[str, Any] | None:
    """The record of a shard, or None where it has none.

    Raises:
        CorruptFile: It is no record.
    """
    path = record_path(shard)
    return load_record(path) if path.is_file() else None


def load_record(path: Path) -> dict[str, Any]:
    """A record by its own path.

    Raises:
        CorruptFile: It is no record.
    """
    record = read_json(path)
    lacking = [name for name in FACTS if name not in record]
    if lacking:
        raise CorruptFile(
            f"lacks {', '.join(lacking)}",
            where=path,
            todo="Delete it and run `sbiwb simulate` on the config.",
        )
    return record


def rebuilt_record(shard: Path) -> dict[str, Any]:
    """The record that a whole shard without one should have; seconds and versions are lost with the old one.

    Raises:
        CorruptFile: Not a whole shard.
    """
    try:
        data = shard.read_bytes()
    except OSError as error:
        raise DiskError.of(error, shard) from error
    inside, arrays = hdf5.attributes(data, shard), hdf5.read(data, shard)
    if any(name not in inside for name in IDENTITY):
        raise CorruptFile("is no shard", where=shard, todo=REMEDY)
    rows, failed = len(unflatten(arrays)), len(arrays.get("failures/row", ()))
    counts = {
        "simulated": rows + failed,
        "seconds": None,
        "rebuilt": True,
        "rows": rows,
        "failed": failed,
    }
    return {
        **{name: inside[name] for name in IDENTITY},
        **counts,
        "bytes": len(data),
        "sha256": sha256(data),
    }


def flatten(pairs: Pairs) -> dict[str, np.ndarray]:
    """Arrays by name as a file holds them: theta/NAME, context/NAME, x/NAME, the ragged ones as values and offsets."""
    arrays: dict[str, np.ndarray] = {}
    for group, columns in (("theta", pairs.theta), ("context", pairs.context), ("x", pairs.x)):
        for name, column in columns.items():
            if isinstance(column, Ragged):
                arrays |= {
                    f"{group}/{name}/values": column.values,
                    f"{group}/{name}/offsets": column.offsets,
                }
            else:
                arrays[f"{group}/{name}"] = column
    return arrays


def unflatten(arrays: Mapping[str, np.ndarray]) -> Pairs:
    """The pairs of a file's arrays by full name; what belongs to no pair is passed over."""
    groups: dict[str, dict[str, Variable]] = {"theta": {}, "context": {}, "x": {}}
    for name, array in arrays.items():
        group, variable, *part = name.split("/")
        if group not in groups or part == ["offsets"]:
            continue
        groups[group][variable] = (
            Ragged(array, arrays[f"{group}/{variable}/offsets"]) if part else array
        )
    return Pairs(**groups)


def _ledger(failures: Sequence[FailedRow]) -> dict[str, np.ndarray]:
    """The failed simulations as columns, under the same checksum as the rows."""
    if not failures:
        return {}
    text = {
        name: [getattr(one, name).encode()[:MESSAGE_BYTES] for one in failures]
        for name in ("kind", "message")
    }
    columns: Columns = {
        "block": np.array([one.block for one in failures]),
        "attempt": np.array([one.attempt for one in failures]),
        "row": np.array([one.row for one in failures]),
        **{name: np.array(values, dtype=f"S{MESSAGE_BYTES}") for name, values in text.items()},
        **{
            f"theta/{name}": np.stack([one.theta[name] for one in failures])
            for name in failures[0].theta
        },
        **{
            f"context/{name}": np.stack([one.context[name] for one in failures])
            for name in failures[0].context
        },
    }
    return {f"failures/{name}": np.asarray(column) for name, column in columns.items()}
