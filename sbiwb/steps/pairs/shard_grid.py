"""How the blocks of a run are cut into shards, and dealt out among many processes by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sbiwb.config.model import Simulate
from sbiwb.rundir import SPLITS

SHARDS_PER_SPLIT = 16
SHARD_SECONDS = 300.0  # of one worker
SHARD_BYTES = 64 << 20


@dataclass(frozen=True)
class ShardGrid:
    """The blocks of one split, cut into cells of one shard each.

    Cells are numbered through all splits, and cut whatever shards exist already.

    Args:
        split: train, validation or test.
        blocks: In all.
        shard_blocks: Of a full shard.
        first_cell: Number of the cell with the first block.
    """

    split: str
    blocks: int
    shard_blocks: int
    first_cell: int = 0

    @property
    def cells(self) -> int:
        return -(-self.blocks // self.shard_blocks)

    def cell(self, block: int) -> int:
        """Number of the cell that a block is in."""
        return self.first_cell + block // self.shard_blocks


def shard_grids(
    simulate: Simulate, shard_blocks: Mapping[str, int], block_size: int
) -> list[ShardGrid]:
    """The grid of every split.

    Args:
        simulate: How many pairs are asked for, and how many a shard.
        shard_blocks: Blocks of a shard by the plan, for `simulate.shard_size: auto`.
        block_size: Pairs of a block.
    """
    grids: list[ShardGrid] = []
    first_cell = 0
    for split, pairs in asked_pairs(simulate).items():
        length = shard_blocks[split]
        if isinstance(simulate.shard_size, int):
            length = max(1, simulate.shard_size // block_size)
        grids.append(ShardGrid(split, blocks_of(pairs, block_size), length, first_cell))
        first_cell += grids[-1].cells
    return grids


def asked_pairs(simulate: Simulate) -> dict[str, int]:
    """Pairs asked for, by split."""
    return dict(zip(SPLITS, (simulate.train, simulate.validation, simulate.test), strict=True))


def blocks_of(pairs: int, block_size: int) -> int:
    """Whole blocks that hold so many pairs."""
    return -(-pairs // block_size)


def count_cells(grids: Sequence[ShardGrid]) -> int:
    """Shards of all splits together."""
    return sum(grid.cells for grid in grids)


def auto_shard_blocks(
    pairs: int, block_size: int, *, seconds_per_row: float, bytes_per_row: float
) -> int:
    """Blocks of a shard: a sixteenth of the split, 5 minutes and 64 MiB at most.

    Rounded down to a power of two, so that two measurements mostly give one size.

    Example:
        >>> auto_shard_blocks(20_000, 256, seconds_per_row=1e-4, bytes_per_row=800.0)
        4
    """
    rows = min(
        pairs / SHARDS_PER_SPLIT,
        SHARD_SECONDS / max(seconds_per_row, 1e-9),
        SHARD_BYTES / max(bytes_per_row, 1e-9),
    )
    return 1 << max(0, int(rows / block_size).bit_length() - 1)
