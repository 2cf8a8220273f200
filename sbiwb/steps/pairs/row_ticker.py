"""One progress line over all shards, also while a single shard takes long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sbiwb.contracts import Ticker
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.store.shard_progress import running_shards

LOOK_EVERY_S = 5.0

ShardKey = tuple[str, str]
"""Split and stem of a shard."""


class RowTicker:
    """Advances a progress line by rows: those of finished shards, and those done in running ones.

    Args:
        ticker: The progress line.
        run: Where the processes that simulate note how far they are.
        rows: Of every shard that is waited for.
    """

    def __init__(self, ticker: Ticker, run: RunDir, rows: dict[ShardKey, int]) -> None:
        self.ticker, self.run = ticker, run
        self._rows = rows
        self._shown = dict.fromkeys(rows, 0)
        self._lock = threading.Lock()

    def finished(self, split: str, stem: str, **facts: object) -> None:
        """Advances to the end of a shard."""
        key = (split, stem)
        self._advance(key, self._rows[key], **facts)

    def look(self) -> None:
        """Advances by what running shards have done since the last look."""
        for split in SPLITS:
            for stem, progress in running_shards(self.run.split(split)):
                key = (split, stem)
                if key in self._rows:
                    self._advance(key, min(progress.rows, self._rows[key]))

    def _advance(self, key: ShardKey, rows: int, **facts: object) -> None:
        """Advances to so many rows of a shard; one that is begun again is not counted again."""
        with self._lock:
            new = max(0, rows - self._shown[key])
            self._shown[key] += new
            if new or facts:
                self.ticker.advance(new, **facts)


@contextmanager
def looking(rows: RowTicker) -> Iterator[None]:
    """Looks every few seconds, beside whatever this process does or waits for."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_EVERY_S):
            rows.look()

    thread = threading.Thread(target=look, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
