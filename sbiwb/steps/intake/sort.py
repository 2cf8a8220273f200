"""Imported rows sorted into shards, by way of scratch files: memory holds one shard at a time."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.contracts import Reporter, Ticker
from sbiwb.errors import CorruptFile, DiskError
from sbiwb.records import Pairs, Ragged, Variable
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.simulation.blocks import Failure
from sbiwb.simulation.layout import Layout
from sbiwb.steps.intake.columns import MappedFile, Variables
from sbiwb.steps.intake.survey import typed
from sbiwb.store import hdf5
from sbiwb.store.arrays import GROUPS, flatten, groups_of, unflatten
from sbiwb.store.shard_record import ShardFacts, shard_path
from sbiwb.store.shards import write_shard

ORDER = "order"  # of the rows in a scratch file
LEFT_OUT = -1  # number of the split of a row that goes nowhere
HEAD = struct.Struct("<Q")  # size of the piece that follows


@dataclass(frozen=True)
class Placement:
    """Where each row goes: number of its split, and its place there, (rows,) each."""

    split: np.ndarray
    place: np.ndarray

    @property
    def pairs(self) -> dict[str, int]:
        """Pairs of each split."""
        return {split: int((self.split == i).sum()) for i, split in enumerate(SPLITS)}

    def at(self, rows: slice) -> Placement:
        return Placement(self.split[rows], self.place[rows])


@dataclass(frozen=True)
class SplitPlan:
    """One split of an import: so many pairs, in shards of so many."""

    name: str
    pairs: int
    shard_pairs: int

    def rows(self, shard: int) -> range:
        """Places of the pairs in a shard."""
        first = shard * self.shard_pairs
        return range(first, min(first + self.shard_pairs, self.pairs))


@dataclass(frozen=True)
class Sorting:
    """What is written where.

    Args:
        run: The run that takes the pairs.
        data_hash: Of the import.
        layout: What every row looks like.
        splits: In the order of `SPLITS`.
        ledger: Bad rows, kept in the first shard.
        versions: Of what wrote them.
    """

    run: RunDir
    data_hash: str
    layout: Layout
    splits: Sequence[SplitPlan]
    ledger: Sequence[Failure]
    versions: dict[str, str]

    @property
    def scratch(self) -> Path:
        return self.run.data / ".import"

    @property
    def pairs(self) -> int:
        return sum(split.pairs for split in self.splits)


def sort_into_shards(
    sorting: Sorting,
    files: Sequence[MappedFile],
    variables: Variables,
    placement: Placement,
    reporter: Reporter,
) -> None:
    """Every row to the scratch file of its shard, then every scratch file to its shard.

    Raises:
        DiskError: The scratch files cannot be written.
    """
    shutil.rmtree(sorting.scratch, ignore_errors=True)
    try:
        sorting.scratch.mkdir(parents=True)
        with reporter.task("sort", sorting.pairs, unit="pairs") as ticker:
            _scatter_files(sorting, files, variables, placement, ticker)
        with reporter.task("import", sorting.pairs, unit="pairs") as ticker:
            for path in sorted(sorting.scratch.iterdir()):
                ticker.advance(_write_shard(sorting, path))
                path.unlink()
    except OSError as error:
        raise DiskError.of(error, sorting.scratch) from error
    finally:
        shutil.rmtree(sorting.scratch, ignore_errors=True)


def _scatter_files(
    sorting: Sorting,
    files: Sequence[MappedFile],
    variables: Variables,
    placement: Placement,
    ticker: Ticker,
) -> None:
    first = 0
    for mapped in files:
        for chunk in mapped.chunks():
            pairs = _cast(typed(variables, chunk, first, mapped.file.path), sorting.layout)
            rows = slice(first, first + len(pairs))
            ticker.advance(_scatter(sorting, pairs, placement.at(rows)))
            first += len(pairs)


def _cast(pairs: Pairs, layout: Layout) -> Pairs:
    """Observables in their final types; lists that are all of one length as arrays."""
    x = {}
    for name, variable in pairs.x.items():
        observable = layout[name]
        if isinstance(variable, Ragged) and not observable.ragged:
            variable = variable.values.reshape(len(variable), *observable.shape)
        x[name] = observable.cast(variable)
    return Pairs(pairs.theta, pairs.context, x)


def _scatter(sorting: Sorting, pairs: Pairs, placement: Placement) -> int:
    """Appends the rows of a chunk to the scratch files of their shards; how many rows these are."""
    kept = placement.split != LEFT_OUT
    lengths = np.array([split.shard_pairs for split in sorting.splits])
    shard = np.where(kept, placement.place // lengths[placement.split], LEFT_OUT)
    keys = np.unique(np.stack([placement.split, shard])[:, kept], axis=1).T
    for split, number in keys:
        rows = np.flatnonzero((placement.split == split) & (shard == number))
        arrays = {**flatten(pairs.take(rows)), ORDER: placement.place[rows]}
        data = hdf5.image(arrays, {})
        with open(sorting.scratch / f"{split}-{number}", "ab") as file:
            file.write(HEAD.pack(len(data)))
            file.write(data)
    return int(kept.sum())


def _write_shard(sorting: Sorting, path: Path) -> int:
    """Writes the shard of a scratch file; how many rows it has."""
    number, shard = map(int, path.name.split("-"))
    split = sorting.splits[number]
    rows = split.rows(shard)
    failures = sorting.ledger if number == shard == 0 else ()
    pairs = _gathered(path, rows)
    facts = ShardFacts(
        data_hash=sorting.data_hash,
        split=split.name,
        first_block=rows.start,
        blocks=len(pairs),
        simulated=len(pairs) + len(failures),
        reasons=_count_reasons(failures),
        versions=sorting.versions,
    )
    folder = sorting.run.split(split.name)
    write_shard(shard_path(folder, rows.start), pairs, failures, facts)
    return len(pairs)


def _count_reasons(failures: Sequence[Failure]) -> dict[str, int]:
    """Failures by reason, in the order in which they come first."""
    counts: dict[str, int] = {}
    for failure in failures:
        counts[failure.reason] = counts.get(failure.reason, 0) + 1
    return counts


def _gathered(path: Path, rows: range) -> Pairs:
    """The pairs of one shard, each piece put in its place, so that they are held once."""
    gathering = _Gathering(len(rows))
    for piece in _pieces(path):
        places = piece.pop(ORDER) - rows.start
        for group, columns in groups_of(unflatten(piece, path)).items():
            for name, variable in columns.items():
                gathering.put(group, name, variable, places)
    return gathering.pairs()


def _pieces(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of each piece of a scratch file."""
    with open(path, "rb") as file:
        while head := file.read(HEAD.size):
            if len(head) < HEAD.size:
                raise CorruptFile("is cut", where=path, todo="Run the same import again.")
            yield hdf5.read(file.read(HEAD.unpack(head)[0]), path)


class _Gathering:
    """Variables of a shard, filled row by row in any order.

    Args:
        rows: Of the shard.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._dense: dict[tuple[str, str], np.ndarray] = {}
        self._lists: dict[tuple[str, str], dict[int, np.ndarray]] = {}

    def put(self, group: str, name: str, variable: Variable, places: np.ndarray) -> None:
        """Puts rows of a variable in their places."""
        key = (group, name)
        if isinstance(variable, Ragged):
            lists = self._lists.setdefault(key, {})
            for row, place in enumerate(places):
                lists[int(place)] = variable[row]
            return
        if key not in self._dense:
            self._dense[key] = np.empty((self.rows, *variable.shape[1:]), variable.dtype)
        self._dense[key][places] = variable

    def pairs(self) -> Pairs:
        groups: dict[str, dict[str, Variable]] = {group: {} for group in GROUPS}
        for (group, name), values in self._dense.items():
            groups[group][name] = values
        for (group, name), lists in self._lists.items():
            groups[group][name] = Ragged.of(lists[row] for row in range(self.rows))
        return Pairs(**groups)
