"""JSON files as typed records: whatever is wrong with one, the message names the file, the field
and the remedy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from pydantic import Field

from sbiwb.errors import CorruptFile, RunError
from sbiwb.files import parse_typed, put_json, read_json, read_typed
from sbiwb.project.plan import ImportFacts, Plan, plan_or_none, put_plan, read_identity, read_plan
from sbiwb.rundir import RunDir
from sbiwb.simulation.layout import Observable
from sbiwb.start_counter import StartCounter

DEEP = b"[" * 100_000 + b"]" * 100_000
LONG = b"9" * 5000
NO_JSON = [b"", b"\x00\xff\xfe", b'{"format": 1', b"{'format': 1}", DEEP, LONG]


@dataclass(frozen=True)
class Inner:
    size: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Note:
    step: int
    loss: float
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    counts: dict[str, int] = field(default_factory=dict)


@pytest.mark.parametrize(
    "content", [*NO_JSON, *(b'{"format": 1, "x": ' + part + b"}" for part in (DEEP, LONG))]
)
@pytest.mark.parametrize("read", [read_json, lambda path, todo: read_typed(Note, path, todo=todo)])
def test_what_is_no_json(tmp_path, read, content):
    path = tmp_path / "note.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match="is not JSON") as caught:
        read(path, todo="Make it again.")
    assert (caught.value.where, caught.value.todo) == (str(path), "Make it again.")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({}, "lacks 'step'"),
        ({"step": "3", "loss": 0.5}, "'step' should be a valid integer, and is '3'"),
        ({"step": True, "loss": 0.5}, "'step' should be a valid integer, and is True"),
        ({"step": 3.5, "loss": 0.5}, "'step' should be a valid integer, and is 3.5"),
        ({"step": 3, "loss": None}, "'loss' should be a valid number, and is None"),
        ({"step": 3, "loss": 1, "kind": "c"}, "'kind' should be 'a' or 'b', and is 'c'"),
        ({"step": 3, "loss": 1, "inner": {}}, "lacks 'inner.size'"),
        ({"step": 3, "loss": 1, "inner": [4]}, "'inner' should be an object, and is [4]"),
        (
            {"step": 3, "loss": 1, "inner": {"size": 0}},
            "'inner.size' should be greater than or equal to 1, and is 0",
        ),
        (
            {"step": 3, "loss": 1, "counts": {"a": "many"}},
            "'counts.a' should be a valid integer, and is 'many'",
        ),
    ],
)
def test_a_field_that_is_not_what_it_should_be(tmp_path, value, what):
    put_json(tmp_path / "note.json", value)
    with pytest.raises(CorruptFile) as caught:
        read_typed(Note, tmp_path / "note.json")
    assert caught.value.what == what


@pytest.mark.parametrize("content", [b"3", b'"text"', b"[]", b"null"])
def test_no_object(tmp_path, content):
    (tmp_path / "note.json").write_bytes(content)
    with pytest.raises(CorruptFile, match="is no JSON object but"):
        read_typed(Note, tmp_path / "note.json")


def test_what_is_read_is_what_was_written(tmp_path):
    value = {"step": 3, "loss": 0.1 + 0.2, "inner": {"size": 2}, "counts": {"a": 1}, "more": [1]}
    put_json(tmp_path / "note.json", value)
    assert read_typed(Note, tmp_path / "note.json") == Note(3, 0.1 + 0.2, "a", Inner(2), {"a": 1})
    assert parse_typed(Note, '{"step": 1, "loss": 2}', where="a line") == Note(1, 2.0)


PLAN = Plan(
    data_hash="9e7b3c9b",
    identity={
        "problem": {"parameters": [["a", {"kind": "normal"}]], "context": []},
        "simulate": {"seed": 1, "block_size": 256},
    },
    layout={"y": Observable("float64", (3,), False)},
    seconds_per_row=0.01,
    bytes_per_row=24.0,
    shard_blocks={"train": 4, "validation": 1, "test": 1},
)


@pytest.fixture
def run(tmp_path):
    from dataclasses import replace

    from sbiwb.files import stable_hash

    run = RunDir(tmp_path)
    put_plan(run, replace(PLAN, data_hash=stable_hash(PLAN.identity)))
    return run


def test_a_plan_is_read_as_it_was_written(run):
    plan = read_plan(run)
    assert plan.layout == PLAN.layout and plan.shard_blocks == PLAN.shard_blocks
    assert "imported" not in read_json(run.plan) and "accepted" not in read_json(run.plan)
    assert [name for name, _ in read_identity(run).problem.parameters] == ["a"]
    facts = ImportFacts({"a.csv": "00"}, {}, [0.8, 0.1, 0.1], "", {"train": 8})
    put_json(run.plan, {**read_json(run.plan), "imported": vars(facts), "accepted": ["11"]})
    assert (read_plan(run).imported, read_plan(run).accepted) == (facts, ("11",))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            {"layout": {"y": {"dtype": "numbers", "shape": [], "ragged": False}}},
            "no type of number",
        ),
        ({"layout": {"y": {"dtype": "int64", "shape": 3, "ragged": False}}}, "'layout.y.shape'"),
        ({"identity": {"problem": {}}}, "lacks 'identity.problem.parameters'"),
        ({"identity": {**PLAN.identity, "more": 1}}, "was altered"),
        ({"data_hash": "0"}, "was altered"),
        ({"shard_blocks": {"train": 0}}, "greater than or equal to 1"),
        ({"seconds_per_row": "slow"}, "'seconds_per_row' should be a valid number"),
    ],
)
def test_an_altered_plan(run, change, what):
    put_json(run.plan, {**read_json(run.plan), **change})
    with pytest.raises(CorruptFile, match=what) as caught:
        read_plan(run)
    assert "it writes the plan anew" in caught.value.todo


def test_no_plan(tmp_path):
    assert plan_or_none(RunDir(tmp_path)) is None
    with pytest.raises(RunError, match="has no plan yet"):
        read_plan(RunDir(tmp_path))


@pytest.mark.parametrize("damage", [b"", b'{"format": 1, "place": 7, "starts": "2"}', DEEP])
def test_starts_that_cannot_be_read_are_none(tmp_path, damage):
    counter = StartCounter(tmp_path / "starts.json")
    counter.put(7, 2)
    assert counter.next_start(7) == 3
    counter.path.write_bytes(damage)
    assert counter.next_start(7) == 1
    counter.clear()
    counter.clear()
    assert not counter.path.exists()
