"""What `verify` finds in a run: troubles, and what was done about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sbiwb.store.shard_record import ShardRecord


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong.

    Args:
        where: File or folder.
        what: What is wrong with it.
        todo: What to do.
    """

    where: Path
    what: str
    todo: str


@dataclass
class Verified:
    """What was found in a run's data and networks.

    Args:
        path: The run that holds the shards.
        is_own: Whether that is the run that was asked about, in which things may be mended.
        again: The command that makes lost rows again.
        shards: Whole ones.
        rows: In them.
        bytes: In them.
        checkpoints: Whole ones, of all networks.
        troubles: What is wrong.
        mended: What was put right, or left alone, in sentences.
        compared: Blocks simulated again and found equal; None without `deep`.
    """

    path: Path
    is_own: bool = True
    again: str = ""
    shards: int = 0
    rows: int = 0
    bytes: int = 0
    checkpoints: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    compared: int | None = None

    @property
    def is_whole(self) -> bool:
        return not self.troubles

    def trouble(self, where: Path, what: str, todo: str = "") -> None:
        """Adds what is wrong; by default lost rows are to be made again."""
        self.troubles.append(Trouble(where, what, todo or self.again))

    def count(self, record: ShardRecord) -> None:
        """Counts a whole shard."""
        self.shards += 1
        self.rows += record.rows
        self.bytes += record.bytes
