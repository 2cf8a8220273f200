"""Shards: what goes in comes out, the same bytes everywhere, and nothing altered passes."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbiwb.errors import CorruptFile, DataError, RunError
from sbiwb.files import put_json
from sbiwb.records import Pairs, Ragged
from sbiwb.store import hdf5, manifest
from sbiwb.store.shard_record import ShardFacts, ShardRecord, record_path, shard_path
from sbiwb.store.shards import read_failures, read_shard, write_shard
from tests.store.faulty import damaged_shards


def pairs(n: int = 6, seed: int = 0) -> Pairs:
    rng = np.random.default_rng(seed)
    return Pairs(
        {"mu": rng.normal(size=n), "w": rng.normal(size=(n, 3))},
        {"k": np.arange(n)},
        {
            "y": rng.normal(size=(n, 2)).astype(np.float32),
            "flag": rng.random(n) > 0.5,
            "set": Ragged.of([rng.normal(size=(1 + i % 3, 2)) for i in range(n)]),
        },
    )


def facts(first: int = 0, blocks: int = 1, **more) -> ShardFacts:
    known = {"data_hash": "h", "split": "train", "simulated": 6, "seconds": 0.0}
    return ShardFacts(**{**known, "first_block": first, "blocks": blocks, **more})


def written(folder, first: int = 0, **more):
    path = shard_path(folder, first)
    return path, write_shard(path, pairs(), [], facts(first, **more))


def record_of(blocks: range) -> ShardRecord:
    return ShardRecord(
        **vars(facts(blocks.start, len(blocks))), rows=6, failed=0, bytes=0, sha256=""
    )


def assert_equal(ours: Pairs, theirs: Pairs) -> None:
    for first, second in (
        (ours.theta, theirs.theta),
        (ours.context, theirs.context),
        (ours.x, theirs.x),
    ):
        assert set(first) == set(second)
        for name, value in first.items():
            other = second[name]
            assert type(value) is type(other)
            if isinstance(value, Ragged):
                np.testing.assert_array_equal(value.offsets, other.offsets)
                value, other = value.values, other.values
            assert value.dtype == other.dtype
            np.testing.assert_array_equal(value, other)


def test_pairs_come_back_as_they_were(tmp_path):
    assert_equal(read_shard(*written(tmp_path)), pairs())


def test_the_bytes_are_the_same_in_another_process(tmp_path):
    path, _ = written(tmp_path)
    code = (
        "import sys, hashlib\nfrom pathlib import Path\nfrom tests.store.test_shards import "
        "written\n"
        "print(hashlib.sha256(written(Path(sys.argv[1]))[0].read_bytes()).hexdigest())"
    )
    other = tmp_path / "other"
    told = subprocess.run(
        [sys.executable, "-c", code, str(other)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Failed:
    block: int = 0
    attempt: int = 1
    row: int = 2
    kind: str = "exception"
    message: str = "ValueError: ü" + "x" * 300
    theta: dict = field(default_factory=lambda: {"mu": np.float64(3), "w": np.zeros(3)})
    context: dict = field(default_factory=lambda: {"k": np.int64(4)})


def test_the_ledger_lies_under_the_same_checksum(tmp_path):
    path = shard_path(tmp_path, 0)
    record = write_shard(path, pairs(), [Failed(), Failed(row=5)], facts())
    ledger = read_failures(path, record)
    assert (
        ledger["row"].tolist() == [2, 5]
        and ledger["theta/mu"].tolist() == [3, 3]
        and ledger["context/k"].tolist() == [4, 4]
    )
    assert ledger["theta/w"].shape == (2, 3)
    assert (
        ledger["message"][0].startswith("ValueError: ü".encode())
        and len(ledger["message"][0]) == 200
    )
    assert_equal(read_shard(path, record), pairs())


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "a flipped bit": (flip, "was altered: its checksum differs from its record"),
    "a cut file": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, its record says"),
    "an empty file": (lambda path: path.write_bytes(b""), "has 0 bytes, its record says"),
    "no file": (lambda path: path.unlink(), "is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_with_a_remedy(tmp_path, damage):
    path, record = written(tmp_path)
    spoil, what = DAMAGE[damage]
    spoil(path)
    with pytest.raises(CorruptFile, match=what) as caught:
        read_shard(path, record)
    assert caught.value.where == str(path) and "sbiwb simulate" in caught.value.todo


@pytest.mark.parametrize("key", ["sha256", "bytes", "blocks", "first_block", "split"])
def test_an_altered_record_is_noticed(tmp_path, key):
    path, record = written(tmp_path)
    value = record.to_json()
    value[key] = "0" if isinstance(value[key], str) else value[key] + 1
    put_json(record_path(path), value)
    ((bad, error),) = damaged_shards(tmp_path)
    assert bad == path and "sbiwb simulate" in error.todo


def test_a_record_that_lacks_facts_is_refused(tmp_path):
    path, _ = written(tmp_path)
    record_path(path).write_text('{"format": 1, "rows": 3}')
    with pytest.raises(CorruptFile, match="lacks 'data_hash'"):
        manifest.shards(tmp_path)
    assert [bad for bad, _ in damaged_shards(tmp_path)] == [path]


def test_a_shard_without_record_does_not_count(tmp_path):
    path, _ = written(tmp_path)
    record_path(path).unlink()
    assert manifest.shards(tmp_path) == []


def test_a_shard_of_another_problem_is_refused(tmp_path):
    written(tmp_path)
    with pytest.raises(RunError, match="belongs to another problem"):
        manifest.shards(tmp_path, "another")


def hostile(tmp_path, make) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = 1
        make(file, tmp_path)
    return buffer.getvalue()


def _type(file, _):
    file.create_dataset("a", data=["x"], dtype=h5py.string_dtype())


HOSTILE = {
    "a soft link": (lambda file, _: file.__setitem__("a", h5py.SoftLink("/b")), "//a is a link"),
    "an external link": (
        lambda file, _: file.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/")),
        "//a is a link",
    ),
    "objects": (_type, "/a has type object"),
    "external storage": (
        lambda file, tmp: file.create_dataset(
            "a", (8,), "u1", external=[(str(tmp / "secret"), 0, 8)]
        ),
        "/a points outside the file",
    ),
    "a virtual data set": (
        lambda file, tmp: file.create_virtual_dataset("a", _virtual(tmp)),
        "/a points outside the file",
    ),
    "an absurd shape": (
        lambda file, _: file.create_dataset("a", (1 << 40,), "f8", chunks=(1,)),
        "/a claims shape",
    ),
    "inside a group": (
        lambda file, _: file.create_group("g").__setitem__("a", h5py.SoftLink("/b")),
        "/g/a is a link",
    ),
    "another format": (lambda file, _: file.attrs.__setitem__("format", 2), "has format 2, not 1"),
}


def _virtual(tmp):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp / "secret.h5"), "a", shape=(4,))
    return layout


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_hdf5_is_refused(tmp_path, case):
    (tmp_path / "secret").write_bytes(b"password")
    make, what = HOSTILE[case]
    with pytest.raises(CorruptFile, match=what) as caught:
        hdf5.read(hostile(tmp_path, make), "strange.h5")
    assert caught.value.where == "strange.h5" and caught.value.todo


@pytest.mark.parametrize("data", [b"", b"no hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_what_is_no_hdf5_is_refused(data):
    with pytest.raises(CorruptFile, match="is not a whole HDF5 file"):
        hdf5.read(data, "a.h5")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_foreign_file_with_a_wrong_byte_is_read_or_refused(at, byte):
    data = bytearray(FOREIGN)
    data[int(at * len(data))] = byte
    try:
        hdf5.read(bytes(data), "foreign.h5", foreign=True)
    except DataError as error:
        assert error.todo


FOREIGN = hdf5.image({"theta/a": np.arange(10.0), "x": np.ones((10, 3), int)}, {})


@settings(max_examples=100, deadline=None, derandomize=True)
@given(blocks=st.sets(st.integers(0, 60)), longest=st.integers(1, 20))
def test_runs_hold_every_block_once_within_one_cut(blocks, longest):
    pieces = manifest.runs(sorted(blocks), longest)
    assert [block for piece in pieces for block in piece] == sorted(blocks)
    assert all(piece.start // longest == (piece.stop - 1) // longest for piece in pieces)
    for first, second in pairwise(pieces):
        assert first.stop < second.start or second.start % longest == 0, (
            "two neighbours that could be one"
        )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(done=st.sets(st.integers(0, 40)), total=st.integers(0, 40), longest=st.integers(1, 9))
def test_what_is_missing_and_what_is_there_make_the_whole(done, total, longest):
    found = [
        manifest.Shard(shard_path(Path(), piece.start), record_of(piece))
        for piece in manifest.runs(sorted(done), longest)
    ]
    gaps = manifest.missing(found, total)
    assert (
        not set(gaps) & done and set(gaps) | done >= set(range(total)) and gaps == sorted(set(gaps))
    )


def test_load_takes_the_first_rows_in_order_of_blocks(tmp_path):
    for first in (2, 0, 1):
        path = shard_path(tmp_path, first)
        write_shard(
            path,
            Pairs({"mu": np.arange(4.0) + 4 * first}, {}, {"y": np.zeros(4)}),
            [],
            facts(first),
        )
    assert manifest.load(manifest.shards(tmp_path), 10, tmp_path).theta["mu"].tolist() == list(
        range(10)
    )
    with pytest.raises(RunError, match="12 of 13 pairs are simulated") as caught:
        manifest.load(manifest.shards(tmp_path), 13, tmp_path)
    assert "sbiwb simulate" in caught.value.todo
    record_path(shard_path(tmp_path, 1)).unlink()
    with pytest.raises(RunError, match="blocks 1 to 1 are missing"):
        manifest.load(manifest.shards(tmp_path), 10, tmp_path)
    assert len(manifest.load(manifest.shards(tmp_path), 4, tmp_path)) == 4


def test_a_shard_set_aside_is_kept_but_does_not_count(tmp_path):
    path, _ = written(tmp_path)
    data = path.read_bytes()
    aside = manifest.set_aside(path)
    assert aside.name == "shard-000000.h5.damaged" and aside.read_bytes() == data
    assert manifest.shards(tmp_path) == [] and not path.exists()


def test_the_summary_counts(tmp_path):
    written(tmp_path, 0, simulated=8)
    write_shard(shard_path(tmp_path, 1), pairs(), [Failed(), Failed()], facts(1, simulated=8))
    told = manifest.summary(manifest.shards(tmp_path))
    assert (told.shards, told.rows, told.simulated, told.failed, told.p_valid) == (
        2,
        12,
        16,
        2,
        0.875,
    )
    assert manifest.summary([]).p_valid is None
