"""The manifest: which blocks exist, made from the records; what is missing is the work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sbiwb.errors import DiskError, RunError
from sbiwb.files import put_json
from sbiwb.records import Pairs
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.store.shard_record import ShardRecord, named_block, read_record, record_path
from sbiwb.store.shards import read_shard


@dataclass(frozen=True)
class Shard:
    """One shard that exists."""

    path: Path
    record: ShardRecord

    @property
    def blocks(self) -> range:
        return range(self.record.first_block, self.record.first_block + self.record.blocks)


@dataclass(frozen=True)
class SplitSummary:
    """Counts of one split, for the manifest and for people.

    Args:
        shards: How many.
        rows: Pairs in them.
        simulated: Simulations, failed ones included.
        failed: Failures among them.
        p_valid: Share of simulations that came out; None where there are none.
        bytes: On disk.
        seconds: That workers took.
    """

    shards: int = 0
    rows: int = 0
    simulated: int = 0
    failed: int = 0
    p_valid: float | None = None
    bytes: int = 0
    seconds: float = 0.0


Summaries = dict[str, SplitSummary]


def stems(folder: Path) -> tuple[list[str], list[str]]:
    """Stems of the shards and of the records in a folder, in order; one listing for both."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise DiskError.of(error, folder) from error
    paths = [Path(name) for name in names]
    numbered = [path for path in paths if named_block(path) is not None]
    files = sorted(path.stem for path in numbered if path.suffix == ".h5")
    records = sorted(path.stem for path in numbered if path.suffix == ".json")
    return files, records


def shard_files(folder: Path) -> list[Path]:
    """The shards that have a record, by name.

    One without was killed between the file and its record: it is simulated again.
    """
    files, records = stems(folder)
    return [folder / f"{stem}.h5" for stem in sorted({*files} & {*records})]


def shards(folder: Path, data_hash: str | None = None) -> list[Shard]:
    """The shards of a split, in order of their blocks.

    Raises:
        RunError: A shard of another problem (another data_hash) lies here.
        CorruptFile: A record cannot be read.
    """
    held = []
    for path in shard_files(folder):
        record = read_record(path)
        if record is None:
            continue  # set aside since the listing
        refuse_other(path, record, data_hash)
        held.append(Shard(path, record))
    return in_order(held)


def refuse_other(path: Path, record: ShardRecord, data_hash: str | None) -> None:
    """Refuses a shard of another problem.

    Raises:
        RunError: It is one.
    """
    if data_hash not in (None, record.data_hash):
        raise RunError(
            "belongs to another problem (its data_hash differs)",
            where=path,
            todo="Give the run another name, or use --runs DIR.",
        )


def in_order(held: Iterable[Shard]) -> list[Shard]:
    return sorted(held, key=lambda shard: shard.record.first_block)


def set_aside(shard: Path) -> Path:
    """Renames a damaged shard, so that it no longer counts but is not lost; drops its record."""
    aside = shard.with_suffix(".h5.damaged")
    try:
        record_path(shard).unlink(missing_ok=True)
        shard.replace(aside)
    except OSError as error:
        raise DiskError.of(error, shard) from error
    return aside


def missing(held: Sequence[Shard], blocks: int) -> list[int]:
    """Blocks below `blocks` that no shard holds."""
    gaps: list[int] = []
    stop = 0
    for shard in in_order(held):
        gaps += range(stop, min(shard.blocks.start, blocks))
        stop = max(stop, shard.blocks.stop)
    return gaps + list(range(stop, blocks))


def runs(blocks: Sequence[int], longest: int) -> list[range]:
    """Neighbouring blocks together, cut at multiples of `longest`: every resume cuts the same."""
    pieces: list[range] = []
    for block in blocks:
        if pieces and block == pieces[-1].stop and block % longest:
            pieces[-1] = range(pieces[-1].start, block + 1)
        else:
            pieces.append(range(block, block + 1))
    return pieces


def load(held: Sequence[Shard], rows: int, where: Path) -> Pairs:
    """The first `rows` pairs of a split, in order of their blocks.

    Raises:
        RunError: Fewer pairs exist, or blocks are missing before the last one needed.
        CorruptFile: A shard is cut or altered.
    """
    parts: list[Pairs] = []
    count, next_block = 0, 0
    for shard in held:
        if count >= rows:
            break
        if shard.blocks.start < next_block:
            continue
        if shard.blocks.start > next_block:
            what = f"blocks {next_block} to {shard.blocks.start - 1} are missing"
            raise RunError(what, where=where, todo="Run `sbiwb simulate` first.")
        parts.append(read_shard(shard.path, shard.record))
        count, next_block = count + len(parts[-1]), shard.blocks.stop
    if count < rows:
        what = f"{count} of {rows} pairs are simulated"
        raise RunError(what, where=where, todo="Run `sbiwb simulate` first.")
    pairs = Pairs.join(parts)
    return pairs if len(pairs) == rows else pairs.take(np.arange(rows))


def summary(held: Sequence[Shard]) -> SplitSummary:
    """Counts of one split."""
    records = [shard.record for shard in held]
    simulated = sum(record.simulated for record in records)
    failed = sum(record.failed for record in records)
    return SplitSummary(
        shards=len(records),
        rows=sum(record.rows for record in records),
        simulated=simulated,
        failed=failed,
        p_valid=1 - failed / simulated if simulated else None,
        bytes=sum(record.bytes for record in records),
        seconds=sum(record.seconds or 0.0 for record in records),
    )


def summaries(run: RunDir) -> Summaries:
    """Counts of every split.

    Raises:
        CorruptFile: A record cannot be read.
    """
    return {split: summary(shards(run.split(split))) for split in SPLITS}


def write_manifest(run: RunDir) -> Summaries:
    """Gathers the records into one file, for people and their programs."""
    counts = summaries(run)
    put_manifest(run, counts)
    return counts


def put_manifest(run: RunDir, counts: Summaries) -> None:
    put_json(run.manifest, {"splits": splits_json(counts)})


def splits_json(counts: Summaries) -> dict[str, object]:
    """The counts as the manifest holds them."""
    return {split: asdict(count) for split, count in counts.items()}
