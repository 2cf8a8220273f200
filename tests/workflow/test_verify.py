"""`verify`: what is damaged is found and told with its remedy, what can be made from other files is
made, and the rest is left alone."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import fields

import numpy as np
import pytest
from typer.testing import CliRunner

from sbiwb import files
from sbiwb.cli.app import app
from sbiwb.errors import CorruptFile, RunError
from sbiwb.files import read_json
from sbiwb.records import Pairs
from sbiwb.store.shard_record import ShardFacts, ShardRecord, read_record, record_path
from sbiwb.store.shards import read_shard, write_shard
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.verify import verify
from tests.store.faulty import RefusingDisk
from tests.tiny import SIMULATOR, Recorder, Tiny, copy

FAILING = SIMULATOR.replace(
    "    return", "    mu = np.where(mu > 1.5, np.nan, mu)\n    return"
).replace("def", "import numpy as np\n\n\ndef", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tiny = Tiny.write(
        tmp_path_factory.mktemp("made") / "it",
        {"simulate": {"failures": {"max_rate": 0.3}}},
        FAILING,
    )
    simulate(tiny.open(), Recorder())
    return tiny


@pytest.fixture
def project(made, tmp_path):
    return copy(made, tmp_path / "copy")


def everything(tiny: Tiny) -> dict[str, bytes]:
    return {
        str(path.relative_to(tiny.run)): path.read_bytes()
        for path in sorted(tiny.run.rglob("*"))
        if path.is_file()
    }


def test_a_whole_run_is_whole_and_nothing_is_written(project, recorder):
    before, times = (
        everything(project),
        {path: path.stat().st_mtime_ns for path in project.run.rglob("*")},
    )
    found = verify(project.run, recorder)
    assert found.is_whole and not found.mended
    assert (found.shards, found.rows) == (6, 256 + 64 + 64) and found.bytes == sum(
        map(len, (one for n, one in before.items() if n.endswith(".h5")))
    )
    assert recorder.advanced == {"verify": 6}
    assert everything(project) == before and times == {
        path: path.stat().st_mtime_ns for path in project.run.rglob("*")
    }


def path_of(tiny: Tiny, name: str = "train/shard-000002"):
    return tiny.run / "data" / f"{name}.h5"


def flip(tiny: Tiny) -> None:
    data = bytearray(path_of(tiny).read_bytes())
    data[len(data) // 2] ^= 4
    path_of(tiny).write_bytes(data)


def cut(tiny: Tiny) -> None:
    path_of(tiny).write_bytes(path_of(tiny).read_bytes()[:-9])


def empty(tiny: Tiny) -> None:
    path_of(tiny).write_bytes(b"")


def lose(tiny: Tiny) -> None:
    path_of(tiny).unlink()


def flip_and_lose_record(tiny: Tiny) -> None:
    rows = read_shard(path_of(tiny), read_record(path_of(tiny))).x["y"]
    data = bytearray(path_of(tiny).read_bytes())
    data[data.index(rows[5].tobytes()) + 3] ^= 1
    path_of(tiny).write_bytes(data)
    record_path(path_of(tiny)).unlink()


def wrong_record(tiny: Tiny) -> None:
    record = read_json(record_path(path_of(tiny)))
    record_path(path_of(tiny)).write_text(json.dumps({**record, "rows": 63}))


def other_split(tiny: Tiny) -> None:
    shutil.copy(path_of(tiny, "test/shard-000000"), path_of(tiny))
    shutil.copy(record_path(path_of(tiny, "test/shard-000000")), record_path(path_of(tiny)))


def other_name(tiny: Tiny) -> None:
    for suffix in (".h5", ".json"):
        path_of(tiny).with_suffix(suffix).replace(
            path_of(tiny, "train/shard-000009").with_suffix(suffix)
        )


def rewritten(tiny: Tiny, change, **facts) -> None:
    """A shard with a record that fits, of other pairs."""
    record = read_record(path_of(tiny))
    pairs = change(read_shard(path_of(tiny), record))
    write_shard(path_of(tiny), pairs, [], facts_of(record, **facts))


def facts_of(record: ShardRecord, **changes) -> ShardFacts:
    known = {one.name: getattr(record, one.name) for one in fields(ShardFacts)}
    return ShardFacts(**{**known, **changes})


def foreign(tiny: Tiny) -> None:
    rewritten(tiny, lambda pairs: pairs, data_hash="0" * 64)


def other_shape(tiny: Tiny) -> None:
    rewritten(tiny, lambda pairs: Pairs(pairs.theta, {}, {"y": pairs.x["y"][:, :3]}))


def other_type(tiny: Tiny) -> None:
    rewritten(tiny, lambda pairs: Pairs(pairs.theta, {}, {"y": pairs.x["y"].astype(np.float32)}))


def other_variable(tiny: Tiny) -> None:
    rewritten(tiny, lambda pairs: Pairs(pairs.theta, {}, {"z": pairs.x["y"]}))


def too_few(tiny: Tiny) -> None:
    rewritten(tiny, lambda pairs: pairs.take(np.arange(60)))


DAMAGE = {
    "a flipped bit": (flip, "its checksum differs"),
    "a cut file": (cut, "bytes, its record says"),
    "an empty file": (empty, "has 0 bytes"),
    "no file": (lose, "is missing, though it has a record"),
    "a flipped bit and no record": (flip_and_lose_record, "is not a whole HDF5 file"),
    "a record of something else": (wrong_record, "has 63 rows, its 2 blocks make 64"),
    "a shard of another split": (other_split, "holds pairs of test, and lies among those of train"),
    "a shard under another name": (other_name, "begins with block 2, its name says 9"),
    "a shard of another problem": (foreign, "belongs to another problem"),
    "another shape": (other_shape, r"holds 'y' as float64 \(3,\)"),
    "another type": (other_type, "holds 'y' as float32"),
    "another variable": (other_variable, "holds z where y should be"),
    "too few rows": (too_few, "has 60 rows, its 2 blocks make 64"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_shard_and_remedy(project, recorder, case):
    damage, what = DAMAGE[case]
    damage(project)
    before = {name: data for name, data in everything(project).items() if "manifest" not in name}
    found = verify(project.run, recorder)
    first, *more = found.troubles
    assert (
        re.search(what, first.what)
        and first.where.name.startswith("shard-0")
        and "sbiwb simulate" in first.todo
    )
    assert any(one.what == "2 of 8 blocks are missing: 2 to 3" for one in more)
    assert before == {
        name: data for name, data in everything(project).items() if "manifest" not in name
    }, "a damaged file is evidence"
    if case == "a shard of another problem":
        assert "Move it" in first.todo
    elif case not in (
        "a shard of another split",
        "a shard under another name",
        "another shape",
        "another type",
        "another variable",
    ):
        simulate(project.open(), recorder)


def test_what_simulate_mends_is_whole_again(project, made, recorder):
    flip(project)
    assert not verify(project.run, recorder).is_whole
    simulate(project.open(), recorder)
    assert verify(project.run, recorder).is_whole and project.shards() == made.shards()


@pytest.mark.parametrize("damage", ["lost", "garbled", "lacking"])
def test_a_lost_record_is_made_from_the_shard(project, recorder, damage):
    path = record_path(path_of(project))
    before = read_json(path)
    path.unlink() if damage == "lost" else path.write_text(
        "\0\0" if damage == "garbled" else '{"format": 1, "rows": 64}'
    )
    found = verify(project.run, recorder)
    assert (
        found.is_whole
        and len(found.mended) == 2
        and "is written again from the shard" in found.mended[0]
    )
    after = read_json(path)
    lost = {"seconds", "versions", "failed_s", "example"}
    assert {name: value for name, value in before.items() if name not in lost} == {
        name: value
        for name, value in after.items()
        if name not in {"seconds", "rebuilt", "example"}
    }
    assert after["example"] == "'y' is not finite" in before["example"]
    assert after["seconds"] is None and before["failed"] > 0
    assert not verify(project.run, recorder).mended


@pytest.mark.parametrize("text", [None, "{", '{"format": 1, "splits": {}}'])
def test_a_lost_or_wrong_manifest_is_made_from_the_records(project, recorder, text):
    path = project.run / "data/manifest.json"
    before = path.read_bytes()
    path.unlink() if text is None else path.write_text(text)
    found = verify(project.run, recorder)
    assert found.is_whole and len(found.mended) == 1 and path.read_bytes() == before


def test_the_same_shard_in_two_splits_is_noticed(project, recorder):
    """As where somebody wrote records by hand to fill a split: every checksum fits."""
    pairs = read_shard(path_of(project), read_record(path_of(project)))
    target = path_of(project, "test/shard-000000")
    write_shard(target, pairs, [], facts_of(read_record(target)))
    found = verify(project.run, recorder)
    assert [one.what for one in found.troubles] == ["64 rows are in train and in test"]


def test_orphans_of_an_hour_ago_are_removed_and_told(project, recorder):
    old, young = (path_of(project).with_name(f".{name}.h5.host.1.tmp") for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    found = verify(project.run, recorder)
    assert found.is_whole and [one for one in found.mended if "killed process" in one] == [
        f"{old}  was left by a killed process and is removed"
    ]
    assert young.exists() and not old.exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_where_nothing_can_be_written_it_only_reads(project, recorder, monkeypatch, number):
    record_path(path_of(project)).unlink()
    (project.run / "data/manifest.json").unlink()
    flip_of = path_of(project, "train/shard-000000")
    flip_of.write_bytes(flip_of.read_bytes()[:-1])
    before = everything(project)
    monkeypatch.setattr(files, "disk", RefusingDisk("write", number, at=1))
    first = verify(project.run, recorder)
    monkeypatch.setattr(files, "disk", RefusingDisk("write", number, at=2))
    assert [one.where.name for one in first.troubles] == ["shard-000000.h5", "train"]
    assert f"left alone ({os.strerror(number)})" in first.mended[0]
    shutil.rmtree(project.run / "data")
    for name, data in before.items():
        (project.run / name).parent.mkdir(parents=True, exist_ok=True)
        (project.run / name).write_bytes(data)
    assert "left alone" in verify(project.run, recorder).mended[1]


def test_an_altered_plan_is_noticed(project, recorder):
    path = project.run / "data/plan.json"
    path.write_text(path.read_text().replace('"seed": 3', '"seed": 4'))
    with pytest.raises(CorruptFile) as caught:
        verify(project.run, recorder)
    assert caught.value.what == "was altered: its data_hash is not that of the problem in it"
    assert caught.value.where == str(path) and "it writes the plan anew" in caught.value.todo


def test_no_plan(project, recorder):
    (project.run / "data/plan.json").unlink()
    with pytest.raises(RunError, match="has no plan") as caught:
        verify(project.run, recorder)
    assert "sbiwb simulate" in caught.value.todo


def test_another_runs_shards_are_checked_and_never_written(project, recorder):
    project.change(
        {"name": "other", "simulate": {"from": "runs/tiny", "failures": {"max_rate": 0.3}}}
    )
    other = project.open()
    simulate(other, recorder)
    (project.run / "data/manifest.json").unlink()
    assert (
        verify(other.run.path, recorder).is_whole
        and not (project.run / "data/manifest.json").exists()
    )
    record_path(path_of(project)).unlink()
    assert [one.todo for one in verify(other.run.path, recorder).troubles][:1] == [
        f"Run `sbiwb verify {project.run}`."
    ]


def test_deep_makes_a_block_again(project, recorder):
    found = verify(project.run, recorder, deep=True)
    assert found.is_whole and found.compared == 3


def test_deep_notices_changed_code(project, recorder):
    project.simulator(FAILING.replace("1.5", "1.25"))
    found = verify(project.run, recorder, deep=True)
    assert (
        len(found.troubles) == 1
        and "the problem has changed since: problem.simulator code changed"
        in found.troubles[0].what
    )
    assert verify(project.run, recorder).is_whole, "the shards themselves are whole"


def test_deep_notices_other_bytes(project, recorder):
    """As after a library that draws other numbers: the code is the same."""
    rewritten(
        project,
        lambda pairs: Pairs({"mu": pairs.theta["mu"] + 1e-15}, {}, pairs.x),
        versions={"numpy": "1.0"},
    )
    rewritten_path = project.run / "data/train/shard-000004.h5"
    assert verify(project.run, recorder).is_whole
    for path in (project.run / "data/train").glob("shard-*"):  # the one in the middle is compared
        if not path.stem.endswith("02"):
            path.unlink()
    found = verify(project.run, recorder, deep=True)
    told = [one.what for one in found.troubles if "comes out differently" in one.what]
    assert (
        len(told) == 1
        and "(theta/mu)" in told[0]
        and "numpy 1.0 -> " in told[0]
        and not rewritten_path.exists()
    )


@pytest.mark.parametrize(("damage", "code", "told"), [(None, 0, "whole"), (cut, 2, "2 wrong")])
def test_the_command_ends_with_0_or_2(project, damage, code, told):
    if damage:
        damage(project)
    done = CliRunner().invoke(app, ["verify", str(project.run)])
    assert done.exit_code == code and told in done.stdout
