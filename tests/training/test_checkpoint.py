"""Checkpoints: whatever is wrong with one, it is told with its file, and the one before is used."""

from __future__ import annotations

import io
import pickle
import random

import pytest
import torch

from sbiwb.errors import CorruptFile, DiskError
from sbiwb.training.checkpoint import (
    TODO,
    check_state,
    checkpoints,
    keep_last,
    newest,
    put_checkpoint,
    read_checkpoint,
)
from tests.training.test_loop import trainer


@pytest.fixture(scope="module")
def state():
    """What a trainer saves after some steps."""
    one = trainer(steps=60)
    for _ in one.run():
        pass
    return one.state()


@pytest.fixture
def folder(tmp_path, state):
    """A training folder with two checkpoints."""
    for step in (10, 20):
        put_checkpoint(tmp_path / f"checkpoint-{step:09d}.pt", {"about": {}, "trainer": state})
    return tmp_path


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class Foreign:
    """What `weights_only` loading refuses."""

    def __reduce__(self):
        return print, ("code of a foreign file runs",)


FOREIGN = {
    "empty": b"",
    "text": b"nonsense",
    "a pickle": pickle.dumps({"format": 1}),
    "a tensor": saved(torch.ones(3)),
    "a list": saved([1, 2]),
    "weights of another program": saved({"layer.weight": torch.ones(3)}),
    "code": saved({"format": 1, "payload": Foreign()}),
    "a text for the payload": saved({"format": 1, "sha256": "", "payload": "text"}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_told(tmp_path, name, capsys):
    path = tmp_path / "best.pt"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(CorruptFile, match=f"{path}  is not a whole checkpoint") as caught:
        read_checkpoint(path)
    assert caught.value.todo == TODO and "code" not in capsys.readouterr().out


def test_any_cut_and_any_altered_byte_is_told(tmp_path):
    path, dice = tmp_path / "a.pt", random.Random(0)
    put_checkpoint(path, {"weights": torch.arange(100.0)})
    whole = path.read_bytes()
    for _ in range(30):
        path.write_bytes(whole[: dice.randrange(len(whole))])
        with pytest.raises(CorruptFile):
            read_checkpoint(path)
    for _ in range(100):
        place = dice.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        try:
            weights = read_checkpoint(path)["weights"]
        except CorruptFile:
            continue
        assert torch.equal(weights, torch.arange(100.0))  # padding of the archive


def test_a_payload_that_is_no_checkpoint_is_told(tmp_path):
    """Whole by its checksum, as a file that was made to look like one."""
    from sbiwb.files import sha256

    for payload in (b"nonsense", saved([1]), saved({"x": Foreign()})):
        tensor = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
        content = {"format": 1, "sha256": sha256(payload), "payload": tensor}
        (tmp_path / "a.pt").write_bytes(saved(content))
        with pytest.raises(CorruptFile, match="is not a checkpoint of sbiwb"):
            read_checkpoint(tmp_path / "a.pt")


def test_another_format_is_told_by_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr("sbiwb.training.checkpoint.FORMAT", 7)
    put_checkpoint(tmp_path / "a.pt", {})
    monkeypatch.undo()
    with pytest.raises(CorruptFile, match="has format 7, this version reads formats up to 1"):
        read_checkpoint(tmp_path / "a.pt")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(DiskError, match="No such file"):
        read_checkpoint(tmp_path / "a.pt")


def test_the_newest_whole_one_is_used(folder, state):
    checkpoint, damaged = newest(folder)
    assert checkpoint.path.name == "checkpoint-000000020.pt" and damaged == []
    assert checkpoint.progress.step == 60
    checkpoint.path.write_bytes(b"")
    before, damaged = newest(folder)
    assert before.path.name == "checkpoint-000000010.pt"
    assert [error.where for error in damaged] == [str(checkpoint.path)]
    before.path.write_bytes(b"")
    assert newest(folder)[0] is None


def altered(state: dict, key: str, value: object) -> dict:
    part, _, field = key.partition(".")
    if not field:
        return {**state, part: value}
    return {**state, part: {**state[part], field: value}}


@pytest.mark.parametrize(
    "key, value, named",
    [
        ("averages", "text", "averages"),
        ("optimizer", None, "optimizer"),
        ("torch_rng", [1, 2], "torch_rng"),
        ("progress", {"steps": "many", "step": "9"}, "progress.step"),
        ("progress.steps", 9, "progress.steps"),
        ("progress", [1], "progress"),
        ("progress.best_loss", "low", "progress.best_loss"),
        ("progress.losses", [[1.0, None, 2.0]], "progress.losses.0.1"),
        ("progress.loss_sums", torch.ones(2), "progress"),
    ],
)
def test_a_part_of_another_type_is_told_and_the_one_before_is_used(
    folder, state, key, value, named
):
    last = checkpoints(folder)[-1]
    put_checkpoint(last, {"about": {}, "trainer": altered(state, key, value)})
    checkpoint, damaged = newest(folder)
    assert checkpoint.path == checkpoints(folder)[0]
    assert [str(error) for error in damaged] == [f"{last}  holds no valid '{named}'  {TODO}"]


def test_a_part_that_is_missing_is_told(state, tmp_path):
    for name in state:
        lacking = {key: value for key, value in state.items() if key != name}
        with pytest.raises(CorruptFile, match=f"holds no valid '{name}'"):
            check_state(lacking, tmp_path)
    with pytest.raises(CorruptFile, match="holds no training to go on from"):
        check_state(None, tmp_path)


def test_the_last_two_are_kept(folder):
    for step in (30, 40):
        put_checkpoint(folder / f"checkpoint-{step:09d}.pt", {})
    keep_last(folder)
    assert [path.stem[-2:] for path in checkpoints(folder)] == ["30", "40"]
