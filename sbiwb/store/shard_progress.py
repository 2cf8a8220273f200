"""How far a shard is that is being simulated: a small file beside it, while that takes long.

Written by whoever simulates, read by whoever waits for it, on the same or another machine. It is
advice only: never synced, and what cannot be written or read is passed over.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sbiwb.errors import CorruptFile, DiskError
from sbiwb.files import parse_typed, read_data

TOLD_EVERY_S = 5.0
ABANDONED_S = 900.0  # without a word: whoever simulated this is gone
SUFFIX = ".rows.tmp"  # swept up with the other temporary files of killed processes


@dataclass(frozen=True)
class ShardProgress:
    """Rows of a shard that are done, and the seconds that they took."""

    rows: int
    seconds: float


@dataclass
class ProgressNote:
    """Tells how many rows of one shard are done; quick shards leave no trace.

    Args:
        shard: The file that will hold the rows.
    """

    shard: Path
    start: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        return progress_path(self.shard)

    def tell(self, rows: int) -> None:
        """Notes the rows done so far, where the last note is some seconds old."""
        now = time.monotonic()
        if now - self.told < TOLD_EVERY_S:
            return
        self.told = now
        note = {"rows": rows, "seconds": now - self.start}
        with contextlib.suppress(OSError):
            self.path.write_text(json.dumps(note), encoding="utf-8")

    def clear(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def progress_path(shard: Path) -> Path:
    return shard.with_name(f".{shard.stem}{SUFFIX}")


def running_shards(folder: Path) -> Iterator[tuple[str, ShardProgress]]:
    """Stems of the shards of a split that are being simulated, each with how far it is."""
    for path in folder.glob(f".shard-*{SUFFIX}"):
        try:
            if time.time() - path.stat().st_mtime < ABANDONED_S:
                stem = path.name.removeprefix(".").removesuffix(SUFFIX)
                yield stem, parse_typed(ShardProgress, read_data(path), where=path)
        except (OSError, DiskError, CorruptFile):
            continue  # being written, or just finished
