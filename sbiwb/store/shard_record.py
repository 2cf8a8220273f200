"""Records of shards: a small JSON file beside each, without which a shard does not count."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sbiwb.files import parse_typed, put_json, read_typed

REMEDY = (
    "Run `sbiwb verify` on the run: it writes the record again from the shard;"
    " or `sbiwb simulate`: it simulates these rows again, the same ones."
)
MAY_LACK = ("reasons", "failed_s", "versions", "example", "rebuilt")

Count = Annotated[int, Field(ge=0)]
Length = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class ShardIdentity:
    """Which rows a shard holds, as its record and the file itself both say.

    Args:
        data_hash: Of the problem.
        split: train, validation or test.
        first_block: Number of its first block.
        blocks: How many it holds.
    """

    data_hash: str
    split: str
    first_block: int
    blocks: int


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """What is known of a shard before it is written.

    Args:
        data_hash: Of the problem.
        split: train, validation or test.
        first_block: Number of its first block.
        blocks: How many it holds.
        simulated: Simulations, failed ones included.
        seconds: They took; None where nobody measured.
        reasons: Failures by reason.
        failed_s: Seconds that each failed simulation took.
        versions: Of what can change a row.
        example: What one of the failures said.
    """

    data_hash: str
    split: str
    first_block: Count
    blocks: Length
    simulated: Count
    seconds: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    failed_s: tuple[float, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    example: str = ""

    @property
    def identity(self) -> ShardIdentity:
        return ShardIdentity(self.data_hash, self.split, self.first_block, self.blocks)


@dataclass(frozen=True, kw_only=True)
class ShardRecord(ShardFacts):
    """What is known of a shard that lies on disk.

    Args:
        rows: Pairs in it.
        failed: Failed simulations in its ledger.
        bytes: Its size.
        sha256: Of its bytes.
        rebuilt: Whether the first record was lost, and this one is made from the shard.
    """

    rows: Count
    failed: Count
    bytes: Count
    sha256: str
    rebuilt: bool = False

    def to_json(self) -> dict[str, object]:
        """The record as its file holds it: what is empty is left out."""
        value = asdict(self)
        for name in MAY_LACK:
            if not value[name]:
                del value[name]
        return value

    @classmethod
    def of(cls, value: Mapping[str, object], where: object) -> ShardRecord:
        """The record of a JSON value, such as another process gives back.

        Raises:
            CorruptFile: A field is missing or of another type.
        """
        return parse_typed(cls, json.dumps(value), where=where, todo=REMEDY)


def shard_path(folder: Path, first_block: int) -> Path:
    """Named by the first block, so that shards of several sizes can stand side by side."""
    return folder / f"shard-{first_block:06d}.h5"


def record_path(shard: Path) -> Path:
    return shard.with_suffix(".json")


def named_block(shard: Path) -> int | None:
    """The first block of a shard by its name, None where that is no shard's."""
    kind, _, number = shard.stem.partition("-")
    if kind != "shard" or not number.isascii() or not number.isdecimal():
        return None
    return int(number)


def read_record(shard: Path) -> ShardRecord | None:
    """The record of a shard, or None where it has none.

    Raises:
        CorruptFile: It cannot be read, or a field is missing or of another type.
    """
    path = record_path(shard)
    if not path.is_file():
        return None
    return read_typed(ShardRecord, path, todo=REMEDY)


def put_record(shard: Path, record: ShardRecord) -> None:
    put_json(record_path(shard), record.to_json())
