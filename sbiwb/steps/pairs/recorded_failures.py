"""Failures over a whole run: whoever made a shard, its record counts."""

from __future__ import annotations

from pathlib import Path

from sbiwb.errors import CorruptFile, DiskError
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.simulation.blocks import FailureCounter
from sbiwb.store.manifest import shard_files
from sbiwb.store.shard_record import ShardRecord, read_record


class RecordedFailures:
    """Counts simulations and failures by the records of all shards, each read once.

    Args:
        run: The run that holds the shards.
        data_hash: Of the problem; another's shards do not count.
        max_rate: Largest tolerated share of failures.
    """

    def __init__(self, run: RunDir, data_hash: str, max_rate: float) -> None:
        self.run, self.data_hash = run, data_hash
        self.counter = FailureCounter(max_rate)
        self._counted: set[Path] = set()

    def look(self) -> None:
        """Counts the shards that have come since, from any process.

        Raises:
            FailureRateError: More simulations fail than `max_rate` explains.
        """
        simulated, failed, example = 0, 0, ""
        for split in SPLITS:
            for shard in shard_files(self.run.split(split).resolve()):
                record = self._uncounted(shard)
                if record is None:
                    continue
                simulated, failed = simulated + record.simulated, failed + record.failed
                example = example_of(record) or example
        self.counter.add(simulated, failed, example)

    def add(self, shard: Path, record: ShardRecord) -> None:
        """Counts one shard, as this process gets it.

        Raises:
            FailureRateError: More simulations fail than `max_rate` explains.
        """
        if shard in self._counted:
            return
        self._counted.add(shard)
        self.counter.add(record.simulated, record.failed, example_of(record))

    def _uncounted(self, shard: Path) -> ShardRecord | None:
        """The record of a shard that is not counted yet, where it can be read."""
        if shard in self._counted:
            return None
        try:
            record = read_record(shard)
        except (CorruptFile, DiskError):
            return None  # damaged, or just being replaced
        if record is None or record.data_hash != self.data_hash:
            return None
        self._counted.add(shard)
        return record


def example_of(record: ShardRecord) -> str:
    """What a failure of a shard said; of an older record the reasons."""
    return record.example or ", ".join(record.reasons)
