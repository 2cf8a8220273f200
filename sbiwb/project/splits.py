"""The pairs of a split, read from its shards."""

from __future__ import annotations

import numpy as np

from sbiwb.errors import RunError
from sbiwb.project.member_source import load_members
from sbiwb.project.project import Project
from sbiwb.project.settings import COPIES, GB, memory_gb
from sbiwb.records import Pairs
from sbiwb.store import manifest
from sbiwb.store.manifest import Shard
from sbiwb.store.shards import read_shard


def load_split(project: Project, split: str, *, most: int | None = None) -> Pairs:
    """The pairs of a split, as many as the YAML asks for; the first `most` of them.

    Raises:
        RunError: They are not all simulated.
        CorruptFile: A shard is cut or altered.
    """
    folder = project.data_run.split(split)
    rows: int = getattr(project.config.simulate, split)
    if most is not None:
        rows = min(rows, most)
    if project.members is not None:
        return load_members(project.members, project.data_run, split, rows)
    return manifest.load(manifest.shards(folder, project.data_hash), rows, folder)


class TrainingShards:
    """The training shards of a project, of which only the first `simulate.train` rows count.

    Args:
        project: Its shards are complete.

    Raises:
        RunError: They are not.
    """

    def __init__(self, project: Project) -> None:
        self._project, self._found = project, list[Shard]()
        self.rows = list[int]()
        left, block = project.config.simulate.train, 0
        self.missing = 0
        self.held: Pairs | None = None
        if project.members is not None:  # all in memory
            self.rows = [left]
            return
        for shard in manifest.shards(project.data_run.split("train"), project.data_hash):
            if left > 0 and shard.blocks.start == block:
                self._found.append(shard)
                self.rows.append(min(left, shard.record.rows))
                left, block = left - self.rows[-1], shard.blocks.stop
        self.missing = left

    @property
    def window(self) -> int:
        """Pairs of a window: two windows, and a shard on its way, take the memory that training
        pairs may."""
        rows = sum(shard.record.rows for shard in self._found)
        bytes_per_row = sum(shard.record.bytes for shard in self._found) / max(1, rows)
        return max(
            1,
            int(
                memory_gb(self._project.config.machine.memory_gb)
                * GB
                / (COPIES * max(1.0, bytes_per_row))
            ),
        )

    def sample(self) -> Pairs:
        """What the adapters learn from: all training pairs where they fit into memory, else the
        first window of them."""
        if (
            self.missing
            or self._project.config.train.regime not in ("disk", "auto")
            or sum(self.rows) <= self.window
        ):
            self.held = load_split(self._project, "train")
            return self.held
        parts, rows = list[Pairs](), 0
        for number in range(len(self.rows)):
            if parts and rows + self.rows[number] > self.window:
                break
            parts.append(self.read(number))
            rows += self.rows[number]
        return Pairs.join(parts)

    def read(self, number: int) -> Pairs:
        """The pairs of a shard that count.

        Raises:
            CorruptFile: It is cut or altered.
            RunError: It vanished.
        """
        shard = self._found[number]
        if not shard.path.is_file():
            raise RunError(
                "vanished while training",
                where=shard.path,
                todo="Run `sbiwb simulate`, then `sbiwb train` on the config.",
            )
        pairs = read_shard(shard.path, shard.record)
        if len(pairs) == self.rows[number]:
            return pairs
        return pairs.take(np.arange(self.rows[number]))
