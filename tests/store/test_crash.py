"""Durable files: a crash at every operation, a power cut after it, and what the operating system
refuses."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from sbiwb import files
from sbiwb.errors import CorruptFile, DiskError
from sbiwb.files import put, put_json, read_json, remove_orphans, temporary
from sbiwb.records import Pairs
from sbiwb.store import manifest
from sbiwb.store.shard_record import ShardFacts, read_record, record_path, shard_path
from sbiwb.store.shards import read_shard, rebuilt_record, write_shard
from tests.store.faulty import MENDABLE, Crash, CrashDisk, RefusingDisk, damaged_shards

SHARDS = 3


def pairs(k: int) -> Pairs:
    rng = np.random.default_rng(k)
    return Pairs({"mu": rng.normal(size=8)}, {}, {"y": rng.normal(size=(8, 2))})


def write(folder, k: int) -> None:
    facts = ShardFacts(
        data_hash="h", split="train", first_block=k, blocks=1, simulated=8, seconds=0.0
    )
    write_shard(shard_path(folder, k), pairs(k), [], facts)


def good(folder) -> set[int]:
    """Shards that count and hold what they should."""
    for path, _ in damaged_shards(folder):
        manifest.set_aside(path)
    found = manifest.shards(folder)
    for shard in found:
        np.testing.assert_array_equal(
            read_shard(shard.path, shard.record).x["y"], pairs(shard.blocks.start).x["y"]
        )
    return {shard.blocks.start for shard in found}


def campaign(folder, monkeypatch, skip: str = "") -> tuple[int, int]:
    """(crash points tried, points after which an acknowledged shard was lost)"""
    tried = lost = 0
    for undo in (False, True):
        crashed, at = True, 0
        while crashed:
            at += 1
            shutil.rmtree(folder / "runs", ignore_errors=True)
            target, disk, done = folder / "runs/a/train", CrashDisk(at, skip), []
            monkeypatch.setattr(files, "disk", disk)
            try:
                for k in range(SHARDS):
                    write(target, k)
                    done.append(k)
                crashed = False
            except Crash:
                pass
            disk.power_cut(undo)
            monkeypatch.setattr(files, "disk", CrashDisk(0))
            tried += 1
            lost += bool(set(done) - good(target))
            for k in set(range(SHARDS)) - good(target):
                write(target, k)
            assert good(target) == set(range(SHARDS)), "running again did not heal"
    return tried, lost


def test_no_acknowledged_shard_is_lost_at_any_crash(tmp_path, monkeypatch):
    tried, lost = campaign(tmp_path, monkeypatch)
    assert tried > 70 and lost == 0


@pytest.mark.parametrize("skip", ["file", "folder"])
def test_the_campaign_notices_a_missing_sync(tmp_path, monkeypatch, skip):
    _, lost = campaign(tmp_path, monkeypatch, skip)
    assert lost > 0


@pytest.mark.parametrize("operation", ["write", "replace", "sync_folder", "make_folder"])
@pytest.mark.parametrize("number", MENDABLE, ids=lambda number: errno.errorcode[number])
def test_what_the_disk_refuses_is_told_with_a_remedy_and_nothing_is_lost(
    tmp_path, monkeypatch, operation, number
):
    path = tmp_path / "a.json"
    put_json(path, {"value": "old"})
    monkeypatch.setattr(files, "disk", RefusingDisk(operation, number))
    with pytest.raises(DiskError) as caught:
        put_json(path, {"value": "new"})
    assert (
        caught.value.where == str(path)
        and caught.value.what == os.strerror(number)
        and caught.value.todo
    )
    assert read_json(path)["value"] in (("old",) if operation != "sync_folder" else ("old", "new"))
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_says_so():
    told = DiskError.of(OSError(errno.ENOSPC, "No space left on device"), "f")
    assert (
        told.todo
        == "The disk is full: free some space and run the same command again; nothing already "
        "written is lost."
    )


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(DiskError) as caught:
        put(tmp_path / "runs" / "a" / "b", b"")
    assert caught.value.todo.startswith("A file stands where a folder should be")


def test_a_folder_where_a_file_should_be(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DiskError) as caught:
        put(tmp_path / "a", b"x")
    assert caught.value.todo == "A folder stands where a file should be: move it away."
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[1]", r"is no JSON object but \[1\]"),
        (b'{"format": 2}', "has format 2, this version reads"),
    ],
)
def test_json_of_another_kind(tmp_path, content, what):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CorruptFile, match=what) as caught:
        read_json(tmp_path / "a.json")
    assert caught.value.todo


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        put_json(tmp_path / "a.json", {"value": float("nan")})


def test_only_old_orphans_are_removed(tmp_path):
    young, old = temporary(tmp_path / "a"), tmp_path / ".b.host.1.tmp"
    young.write_text("")
    old.write_text("")
    os.utime(old, (0, 0))
    assert remove_orphans(tmp_path) == 1
    assert [one.name for one in tmp_path.iterdir()] == [young.name]


class NoRecord(CrashDisk):
    """Stops before the first byte of a record."""

    def write(self, path, data: bytes) -> None:
        if ".json" in path.name:
            raise Crash
        super().write(path, data)


def test_between_rename_and_record_the_shard_is_whole_and_does_not_count(tmp_path, monkeypatch):
    folder = tmp_path / "train"
    monkeypatch.setattr(files, "disk", NoRecord(0))
    with pytest.raises(Crash):
        write(folder, 0)
    monkeypatch.setattr(files, "disk", CrashDisk(0))
    assert manifest.shards(folder) == [] and damaged_shards(folder) == []
    found = rebuilt_record(shard_path(folder, 0))
    data = shard_path(folder, 0).read_bytes()
    write(folder, 0)
    assert shard_path(folder, 0).read_bytes() == data, "made again, the same bytes"
    record = read_record(shard_path(folder, 0))
    assert found.rebuilt and replace(record, seconds=None, rebuilt=True) == found


def flip(path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(pairs(1).x["y"][3].tobytes()) + 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "a flipped bit": flip,
    "a cut file": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "an empty file": lambda path: path.write_bytes(b""),
    "zeros, as after a power cut": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    "another shard's bytes": lambda path: shutil.copy(shard_path(path.parent, 0), path),
}


@pytest.mark.parametrize("with_record", [True, False], ids=["with its record", "without a record"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_never_counts_and_costs_that_shard_alone(tmp_path, damage, with_record):
    for k in range(SHARDS):
        write(tmp_path, k)
    path = shard_path(tmp_path, 1)
    DAMAGE[damage](path)
    if not with_record:
        record_path(path).unlink()
        if damage == "another shard's bytes":
            assert rebuilt_record(path).first_block == 0, "which its name contradicts"
        else:
            with pytest.raises(CorruptFile):
                rebuilt_record(path)
    assert good(tmp_path) == {0, 2}
