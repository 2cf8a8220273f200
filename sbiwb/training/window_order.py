"""In which order the shards of a stream are read, window by window."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sbiwb.seeds import generator


@dataclass(frozen=True)
class Window:
    """Some shards of an epoch whose pairs are shuffled together.

    Args:
        epoch: Its epoch.
        index: Its place among the windows of this rank's epoch.
        start: Pairs of this rank's epoch before it.
        rows: Pairs in it.
        shards: Numbers of its shards.
    """

    epoch: int
    index: int
    start: int
    rows: int
    shards: tuple[int, ...]


@dataclass(frozen=True)
class WindowOrder:
    """Which windows an epoch has on one rank, from (seed, epoch) and the sizes alone.

    Args:
        rows: Pairs of each shard.
        window: Pairs of a window at most; a larger shard is a window of its own.
        seed: `train.seed`.
        rank: Which process this is.
        world: Processes in all; this one has every world-th shard of the epoch's permutation.
    """

    rows: tuple[int, ...]
    window: int
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def min_rows_per_rank(self) -> int:
        """Pairs that every rank has in every epoch, however the shards fall.

        They are those of the smallest shards, as few as a rank can get.
        """
        return sum(sorted(self.rows)[: len(self.rows) // self.world])

    def windows(self, epoch: int) -> list[Window]:
        """All windows of an epoch, in order."""
        order = generator(self.seed, "epoch", epoch).permutation(len(self.rows))
        windows: list[Window] = []
        start, rows, group = 0, 0, list[int]()
        for shard in order[self.rank :: self.world].tolist():
            if group and rows + self.rows[shard] > self.window:
                windows.append(Window(epoch, len(windows), start, rows, tuple(group)))
                start, rows, group = start + rows, 0, []
            rows += self.rows[shard]
            group.append(shard)
        return [*windows, Window(epoch, len(windows), start, rows, tuple(group))]

    def slots(self, window: Window) -> Tensor:
        """Where each pair of the window's shards, end to end, comes to stand in it, (rows,)."""
        rng = generator(self.seed, "epoch", window.epoch, self.rank, window.index)
        return torch.from_numpy(rng.permutation(window.rows))
