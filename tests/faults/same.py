"""The same rows from whoever makes them: sha256 of all pairs of a run, and the blocks whose rows a
clock or the memory decided."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from sbiwb.rundir import SPLITS
from sbiwb.store import manifest
from sbiwb.store.arrays import flatten
from sbiwb.store.shards import read_failures
from tests.tiny import Tiny

BY_MACHINE = (b"timeout", b"memory")


def rows(tiny: Tiny) -> dict[tuple[str, int], str]:
    """sha256 of the rows of each block, by split and number, whatever shards they are in."""
    size = tiny.open().block_size
    found = {}
    for split in SPLITS:
        folder = tiny.run / "data" / split
        shards = manifest.shards(folder)
        arrays = flatten(manifest.load(shards, sum(shard.record.rows for shard in shards), folder))
        for block in range(len(next(iter(arrays.values()))) // size):
            there = slice(block * size, (block + 1) * size)
            found[split, block] = hashlib.sha256(
                b"".join(name.encode() + array[there].tobytes() for name, array in arrays.items())
            ).hexdigest()
    return found


def exempt(tiny: Tiny) -> set[tuple[str, int]]:
    """Blocks with a row that failed by a timeout or for want of memory: whether it does is not for
    its seed to say."""
    found = set()
    for split in SPLITS:
        for shard in manifest.shards(tiny.run / "data" / split):
            ledger = read_failures(shard.path, shard.record)
            if ledger:
                found |= {
                    (split, int(block))
                    for block in ledger["block"][np.isin(ledger["kind"], BY_MACHINE)]
                }
    return found


def failed(tiny: Tiny) -> list[tuple[object, ...]]:
    """All that a run keeps of its failed simulations, whatever shards they are in."""
    lines: list[tuple[object, ...]] = []
    for split in SPLITS:
        for shard in manifest.shards(tiny.run / "data" / split):
            ledger = read_failures(shard.path, shard.record)
            columns = [column.tolist() for _, column in sorted(ledger.items())]
            lines += [(split, *line) for line in zip(*columns, strict=True)]
    return sorted(lines)


def differing(
    first: Mapping[tuple[str, int], str],
    second: Mapping[tuple[str, int], str],
    but: set[tuple[str, int]],
) -> list[tuple[str, int]]:
    """Blocks that are not byte for byte the same, or are in one of them only."""
    return sorted(
        block for block in {*first, *second} - but if first.get(block) != second.get(block)
    )
