"""Starts that make no progress: a job that is requeued for ever ends with an error instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sbiwb.errors import CorruptFile
from sbiwb.files import put_json, read_typed

MAX_FRUITLESS_STARTS = 3


@dataclass(frozen=True)
class _Starts:
    place: int
    starts: int


@dataclass(frozen=True)
class StartCounter:
    """Counts the starts that begin at the same place, in a small file.

    Several processes of one start all ask `next_start`, and one of them calls `put` when all have.

    Args:
        path: The file; what cannot be read counts as no start.

    Example:
        >>> import tempfile
        >>> counter = StartCounter(Path(tempfile.mkdtemp()) / "starts.json")
        >>> counter.next_start(100)
        1
        >>> counter.put(100, 1)
        >>> counter.next_start(100), counter.next_start(250)
        (2, 1)
    """

    path: Path

    def next_start(self, place: int) -> int:
        """Which start from `place` in a row the next one is, from 1.

        Args:
            place: How far the work is: a step of training, or a number of missing shards.
        """
        if not self.path.is_file():
            return 1
        try:
            before = read_typed(_Starts, self.path)
        except CorruptFile:
            return 1
        if before.place != place:
            return 1
        return before.starts + 1

    def put(self, place: int, number: int) -> None:
        """Notes a start, as `next_start` numbered it."""
        put_json(self.path, {"place": place, "starts": number})

    def clear(self) -> None:
        """Forgets all starts."""
        self.path.unlink(missing_ok=True)
