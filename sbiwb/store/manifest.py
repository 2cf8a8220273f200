"""The manifest: which blocks exist, made from the records; what is missing is the work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.errors import CorruptFile, DiskError, RunError
from sbiwb.records import Pairs
from sbiwb.store.shards import load_record, read_bytes, read_record, read_shard, record_path


@dataclass(frozen=True)
class Shard:
    """One shard that exists."""

    path: Path
    record: dict[str, Any]

    @property
    def blocks(self) -> range:
        first = self.record["first_block"]
        return range(first, first + self.record["blocks"])


def names(folder: Path) -> tuple[list[str], list[str]]:
    """Stems of the shards and of the records in a folder, in order; one listing, however many there are."""
    try:
        there = [name for name in os.listdir(folder) if name.startswith("shard-")]
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise DiskError.of(error, folder) from error
    files, records = (
        sorted(name.removesuffix(end) for name in there if name.endswith(end))
        for end in (".h5", ".json")
    )
    return files, records


def shards(folder: Path, data_hash: str | None = None) -> list[Shard]:
    """The shards of a split that have a record, in order of their blocks.

    Raises:
        RunError: A shard of another problem (another data_hash) lies here.
    """
    found = []
    files, records = names(folder)
    recorded = set(records)
    for stem in files:
        if stem not in recorded:
            continue  # killed between the file and its record: it is simulated again
        path, record = folder / f"{stem}.h5", load_record(folder / f"{stem}.json")
        if data_hash is not None and record["data_hash"] != data_hash:
            raise RunError(
                "belongs to another problem (its data_hash differs)",
                where=path,
                todo="Give the run another name, or use --runs DIR.",
            )
        found.append(Shard(path, record))
    return sorted(found, key=lambda shard: shard.record["first_block"])


def check(folder: Path, data_hash: str | None = None) -> list[tuple[Path, CorruptFile]]:
    """The shards whose record cannot be read or differs from their bytes, each with what is wrong; other problems' are left alone."""
    bad = []
    for path in sorted(folder.glob("shard-*.h5")):
        try:
            record = read_record(path)
            if record is not None and data_hash in (None, record["data_hash"]):
                read_bytes(path, record)
        except CorruptFile as error:
            bad.append((path, error))
    return bad


def set_aside(shard: Path) -> Path:
    """Renames a damaged shard, so that it no longer counts but is not lost; drops its record."""
    aside = shard.with_suffix(".h5.damaged")
    try:
        record_path(shard).unlink(missing_ok=True)
        shard.replace(aside)
    except OSError as error:
        raise DiskError.of(error, shard) from error
    return aside


def missing(found: Sequence[Shard], blocks: int) -> list[int]:
    """Blocks below `blocks` that no shard holds."""
    held = {block for shard in found for block in shard.blocks}
    return [block for block in range(blocks) if block not in held]


def runs(blocks: Sequence[int], longest: int) -> list[range]:
    """Neighbouring blocks together, cut at multiples of `longest` so that every resume makes the same shards."""
    pieces: list[range] = []
    for block in blocks:
        last = pieces[-1] if pieces else None
        if last is not None and block == last.stop and block % longest:
            pieces[-1] = range(last.start, block + 1)
        else:
            pieces.append(range(block, block + 1))
    return pieces


def load(found: Sequence[Shard], rows: int, where: Path) -> Pairs:
    """The first `rows` pairs of a split, in order of their blocks.

    Raises:
        RunError: Fewer pairs exist, or blocks are missing before the last one needed.
        CorruptFile: A shard is cut or altered.
    """
    parts: list[Pairs] = []
    held, next_block = 0, 0
    for shard in found:
        if held >= rows:
            break
        if shard.blocks.start < next_block:
            continue
        if shard.blocks.start > next_block:
            raise RunError(
                f"blocks {next_block} to {shard.blocks.start - 1} are missing",
                where=where,
                todo="Run `sbiwb simulate` first.",
            )
        parts.append(read_shard(shard.path, shard.record))
        held, next_block = held + len(parts[-1]), shard.blocks.stop
    if held < rows:
        raise RunError(
            f"{held} of {rows} pairs are simulated", where=where, todo="Run `sbiwb simulate` first."
        )
    pairs = Pairs.join(parts)
    return pairs if len(pairs) == rows else pairs.take(np.arange(rows))


def summary(found: Sequence[Shard]) -> dict[str, Any]:
    """Counts of one split, for the manifest and for `status`."""
    simulated = sum(shard.record["simulated"] for shard in found)
    failed = sum(shard.record["failed"] for shard in found)
    return {
        "shards": len(found),
        "rows": sum(shard.record["rows"] for shard in found),
        "simulated": simulated,
        "failed": failed,
        "p_valid": 1 - failed / simulated if simulated else None,
        "bytes": sum(shard.record["bytes"] for shard in found),
        "seconds": sum(shard.record["seconds"] or 0.0 for shard in found),
    }
