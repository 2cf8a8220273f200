"""`train`: however often it is stopped, the weights are those of the run that was left alone."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import time

import pytest
import torch

from sbiwb import files
from sbiwb.errors import CorruptFile, DiskError, RunError, Stopped, TrainingError
from sbiwb.training.checkpoint import checkpoints, put_checkpoint, read_checkpoint
from sbiwb.workflow import train as module
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.store.faulty import RefusingDisk
from tests.tiny import Recorder, Tiny, copy, until

STEPS = 120
LONG = {"train": {"steps": STEPS, "checkpoint_every_s": 0.01}}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run with shards and no training."""
    tiny = Tiny.write(tmp_path_factory.mktemp("simulated"), LONG)
    simulate(tiny.open(), Recorder())
    return tiny


@pytest.fixture(scope="module")
def undisturbed(simulated, tmp_path_factory):
    """It, trained by a process that nobody stopped."""
    train(
        copy(simulated, tmp_path_factory.mktemp("warm") / "p").open("train.steps=10"), Recorder()
    )  # forks inherit what this imports
    tiny = copy(simulated, tmp_path_factory.mktemp("undisturbed") / "p")
    assert tiny.fork("train").wait() == 0
    return tiny


def weights(tiny: Tiny) -> dict[str, torch.Tensor]:
    """Every tensor of the best and of the last state."""
    best, last = (
        read_checkpoint(tiny.run / "train/best.pt"),
        read_checkpoint(checkpoints(tiny.run / "train")[-1]),
    )
    state = {
        **best["weights"],
        **{f"last.{name}": value for name, value in last["trainer"]["module"].items()},
    }
    moments = last["trainer"]["optimizer"]["state"]
    state |= {
        f"{number}.{name}": value for number, one in moments.items() for name, value in one.items()
    }
    return state | {"step": torch.tensor([best["step"], last["trainer"]["progress"]["step"]])}


def assert_same(tiny: Tiny, other: Tiny) -> None:
    ours, theirs = weights(tiny), weights(other)
    assert set(ours) == set(theirs)
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert different == []
    assert losses(tiny) == losses(other)


def losses(tiny: Tiny) -> list[tuple]:
    lines = [
        json.loads(line) for line in (tiny.run / "train/metrics.jsonl").read_text().splitlines()
    ]
    return [(one["step"], one["train_loss"], one["validation_loss"]) for one in lines]


def test_validations_are_written_once_each(undisturbed):
    assert [step for step, *_ in losses(undisturbed)] == list(range(10, STEPS + 1, 10))


def killed_and_run_again(tmp_path, simulated, undisturbed, kills: int, seed: int) -> int:
    """Kills at random after a new checkpoint, at times before any; says how many kills came before
    the end."""
    tiny, dice, early = copy(simulated, tmp_path / "p"), random.Random(seed), 0
    for _ in range(kills):
        before, child = checkpoints(tiny.run / "train"), tiny.fork("train")
        if dice.random() < 0.8:
            until(
                lambda before=before, child=child: (
                    checkpoints(tiny.run / "train") != before or child.ended
                )
            )
        early += child.kill_after(dice.uniform(0, 0.1)) == -signal.SIGKILL
    child = tiny.fork("train")
    assert child.wait() == 0, child.output
    assert_same(tiny, undisturbed)
    return early


def test_killed_at_random_and_run_again_gives_the_same_weights(tmp_path, simulated, undisturbed):
    assert killed_and_run_again(tmp_path, simulated, undisturbed, kills=4, seed=0) >= 2


def test_of_two_at_a_time_the_second_is_told_who_trains(tmp_path, simulated, undisturbed):
    tiny = copy(simulated, tmp_path / "p")
    child = tiny.fork("train")
    until(lambda: checkpoints(tiny.run / "train") or child.ended)
    os.kill(child.pid, signal.SIGSTOP)
    message = (
        rf"tiny  process {child.pid} on .* since .* trains this run already .*kill {child.pid}"
    )
    with pytest.raises(RunError, match=message):
        train(tiny.open(), Recorder())
    with pytest.raises(RunError, match=message):
        train(tiny.open(), Recorder(), fresh=True)
    assert child.kill_after(0) == -signal.SIGKILL
    train(tiny.open(), Recorder())  # the claim of a killed one ends at once
    assert_same(tiny, undisturbed)
    assert not (tiny.run / "training.claim").exists()


def test_a_training_that_lost_its_claim_writes_no_more(tmp_path, simulated):
    tiny = copy(simulated, tmp_path / "p")
    claim = tiny.run / "training.claim"
    other = {"host": "node7", "pid": 4711, "machine": "another boot"}

    def lose(event) -> None:
        claim.write_text(json.dumps(other))

    with pytest.raises(RunError, match="is claimed by process 4711 on node7 now"):
        train(tiny.open(), Recorder(), on_validated=lose)
    assert json.loads(claim.read_text()) == other
    assert [path.stem for path in checkpoints(tiny.run / "train")] <= ["checkpoint-000000010"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_killed_many_times(tmp_path, simulated, undisturbed, seed):
    killed_and_run_again(tmp_path, simulated, undisturbed, kills=4, seed=100 + seed)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)]
)
def test_a_signal_leaves_a_checkpoint_and_its_exit_code(
    tmp_path, simulated, undisturbed, number, code
):
    tiny, other = copy(simulated, tmp_path / "p"), undisturbed
    tiny.change(merged_long(checkpoint_every_s=1000.0))
    child = tiny.fork("train")
    until(lambda: (tiny.run / "train/best.pt").exists())
    assert child.kill_after(0, number) == code, child.output
    first, left = checkpoints(tiny.run / "train")
    assert read_checkpoint(first)["trainer"]["progress"]["step"] == 0
    assert 0 < read_checkpoint(left)["trainer"]["progress"]["step"] < STEPS
    child = tiny.fork("train")
    assert child.wait() == 0
    assert "Going on from step" in child.output
    assert_same(tiny, other)


def merged_long(**more) -> dict:
    return {"train": {**LONG["train"], **more}}


def test_a_signal_before_the_first_step_ends_with_75_too(tmp_path, simulated, monkeypatch):
    tiny = copy(simulated, tmp_path / "p")
    opening, real = tmp_path / "opening", module.open_trainer
    monkeypatch.setattr(
        module,
        "open_trainer",
        lambda *arguments, **more: (opening.touch(), time.sleep(5), real(*arguments, **more)),
    )
    child = tiny.fork("train")
    until(opening.exists)
    assert child.kill_after(0, signal.SIGTERM) == 75, child.output


def test_a_checkpoint_that_does_not_fit_the_network_is_told(tmp_path, simulated):
    tiny = copy(simulated, tmp_path / "p")

    def stop(event):
        raise Stopped("for the test")

    with pytest.raises(Stopped):
        train(tiny.open(), Recorder(), on_validated=stop)
    path = checkpoints(tiny.run / "train")[-1]
    content = read_checkpoint(path)
    for name, value in [("averages", torch.ones(3)), ("source", {}), ("optimizer", {"state": 1})]:
        put_checkpoint(path, {**content, "trainer": {**content["trainer"], name: value}})
        if name == "source":
            continue  # pairs in memory have no state
        with pytest.raises(CorruptFile, match="does not fit the network") as caught:
            train(tiny.open(), Recorder())
        assert caught.value.where == str(path) and "Delete it" in caught.value.todo
    path.unlink()
    recorder = Recorder()
    train(tiny.open(), recorder)
    assert re.match(r"Going on from step \d\.", recorder.said[0])


def test_a_damaged_line_of_the_metrics_is_dropped(tmp_path, simulated, undisturbed):
    tiny = copy(simulated, tmp_path / "p")

    def stop(event):
        raise Stopped("for the test")

    with pytest.raises(Stopped):
        train(tiny.open(), Recorder(), on_validated=stop)
    metrics = tiny.run / "train/metrics.jsonl"
    lines = [b"[" * 10_000, b'{"step": "x"}', b"[1]", b"\xff\xfe", b'{"stp": 1}', b'{"step": 10']
    metrics.write_bytes(metrics.read_bytes() + b"\n".join(lines))
    train(tiny.open(), Recorder())
    assert losses(tiny) == losses(undisturbed)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, simulated, undisturbed):
    tiny, other = copy(simulated, tmp_path / "p"), undisturbed
    child = tiny.fork("train")
    until(lambda: len(checkpoints(tiny.run / "train")) == 2)
    child.kill_after(0)
    newest = checkpoints(tiny.run / "train")[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    recorder = Recorder()
    train(tiny.open(), recorder)
    assert (
        newest.name in recorder.warned[0] and "going on from the one before" in recorder.warned[0]
    )
    assert_same(tiny, other)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\0" * 4000])
def test_no_whole_checkpoint_begins_again_with_a_warning(tmp_path, simulated, undisturbed, content):
    tiny, other = copy(simulated, tmp_path / "p"), undisturbed
    (tiny.run / "train").mkdir()
    (tiny.run / "train/checkpoint-000000050.pt").write_bytes(content)
    recorder = Recorder()
    train(tiny.open(), recorder)
    assert recorder.warned[0].endswith("is not a whole checkpoint.")
    assert recorder.warned[1] == "No whole checkpoint is left: training begins again."
    assert_same(tiny, other)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_a_checkpoint_never_runs_code(tmp_path, simulated, capsys):
    tiny = copy(simulated, tmp_path / "p")
    (tiny.run / "train").mkdir()
    torch.save({"format": 1, "payload": Evil()}, tiny.run / "train/checkpoint-000000050.pt")
    recorder = Recorder()
    train(tiny.open("train.steps=10"), recorder)
    assert (
        "is not a whole checkpoint" in recorder.warned[0]
        and "executed" not in capsys.readouterr().out
    )


def test_killed_between_the_last_checkpoint_and_the_end(tmp_path, undisturbed):
    tiny, other = copy(undisturbed, tmp_path / "p"), undisturbed
    (tiny.run / "train/provenance.json").unlink()
    (tiny.run / "train/loss.png").unlink()
    assert train(tiny.open(), Recorder()).facts.step == STEPS
    assert (tiny.run / "train/provenance.json").exists() and (tiny.run / "train/loss.png").exists()
    assert_same(tiny, other)


def test_a_finished_training_is_left_alone(tmp_path, undisturbed):
    tiny = copy(undisturbed, tmp_path / "p")
    before = {path: path.stat().st_mtime_ns for path in (tiny.run / "train").iterdir()}
    recorder = Recorder()
    again = train(tiny.open(), recorder)
    assert recorder.said == ["Training is done already."] and again.facts.step == STEPS
    assert before == {path: path.stat().st_mtime_ns for path in (tiny.run / "train").iterdir()}


MODELS = [
    ("train.steps=300", f"train.steps: {STEPS} -> 300"),
    ("train.seed=1", "train.seed: 0 -> 1"),
    ("model.inputs.y.summary.hidden=[8]", "model.inputs.y.summary.hidden: [16] -> [8]"),
    ("simulate.train=128", "simulate.train: 256 -> 128"),
]


@pytest.mark.parametrize(("setting", "told"), MODELS)
def test_another_model_never_mixes_in(undisturbed, setting, told):
    tiny = undisturbed
    with pytest.raises(RunError) as caught:
        train(tiny.open(setting), Recorder())
    assert caught.value.what == f"holds the training of another model: {told}"
    assert caught.value.where == str(tiny.run / "train") and "simulate: {from:" in caught.value.todo


@pytest.mark.parametrize(
    "setting",
    [
        "machine.threads=2",
        "diagnose.draws=39",
        "train.checkpoint_every_s=7",
        "problem.observations={}",
    ],
)
def test_what_decides_no_weight_is_free_to_change(undisturbed, setting):
    recorder = Recorder()
    train(undisturbed.open(setting), recorder)
    assert recorder.said == ["Training is done already."]


def test_missing_simulations_are_told(tiny, recorder):
    with pytest.raises(RunError, match="0 of 256 pairs are simulated") as caught:
        train(tiny().open(), recorder)
    assert "sbiwb simulate" in caught.value.todo


@pytest.mark.parametrize("operation", ["write", "replace"])
def test_a_full_disk_at_a_checkpoint_loses_nothing(
    tmp_path, simulated, undisturbed, monkeypatch, operation
):
    tiny, other = copy(simulated, tmp_path / "p"), undisturbed
    monkeypatch.setattr(files, "disk", RefusingDisk(operation, errno.ENOSPC, at=8))
    with pytest.raises(DiskError, match="nothing already written is lost"):
        train(tiny.open(), Recorder())
    monkeypatch.undo()
    train(tiny.open(), Recorder())
    assert_same(tiny, other)


def test_a_loss_that_becomes_nan_is_told(tiny, recorder):
    project = tiny(train={"learning_rate": 1e30, "clip_norm": None, "warmup": 0.0, "steps": 400})
    simulate(project.open(), recorder)
    with pytest.raises(
        TrainingError, match="20 steps in a row, after halving the learning rate 5 times"
    ) as caught:
        train(project.open(), recorder)
    assert (
        caught.value.where.startswith("train step") and "train.learning_rate" in caught.value.todo
    )
    assert len(recorder.warned) == 5 and "the weights of step 0 are back" in recorder.warned[0]
    with pytest.raises(TrainingError, match="no validation loss was finite"):
        train(project.open("train.steps=15"), recorder, fresh=True)


def test_patience_ends_it_early_and_says_why(tiny, recorder):
    project = tiny(train={"steps": 5000, "patience": 3, "learning_rate": 0.01})
    simulate(project.open(), recorder)
    trained = train(project.open(), recorder)
    assert trained.facts.reason == "patience" and trained.facts.step < 5000
    assert "annealed to zero" in next(module.describe(trained))


def test_averaged_weights_are_kept(undisturbed):
    state, best = (
        read_checkpoint(checkpoints(undisturbed.run / "train")[-1])["trainer"],
        read_checkpoint(undisturbed.run / "train/best.pt"),
    )
    weights = [value for name, value in state["module"].items() if "temperature" not in name]
    running = torch.cat([value.flatten() for value in weights])
    assert running.shape == state["averages"].shape and not torch.equal(running, state["averages"])
    assert best["weights"].keys() == state["module"].keys()


def test_a_checkpoint_says_what_it_is(tmp_path):
    put_checkpoint(tmp_path / "a.pt", {"x": torch.ones(3), "n": 1})
    assert read_checkpoint(tmp_path / "a.pt")["n"] == 1


@pytest.mark.parametrize("written", [False, True])
def test_a_checkpoint_between_a_step_and_its_validation(simulated, undisturbed, tmp_path, written):
    """The validation that was due is made up for, so that the best weights are the same, and is
    told once."""
    tiny = copy(simulated, tmp_path / "p")
    real = module.TrainingMonitor._validated

    def killed(keeper, event):
        if written or event.step < 30:
            real(keeper, event)
        if event.step == 30:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.TrainingMonitor, "_validated", killed)
        patch.setattr(
            module.time, "monotonic", iter(range(10**9)).__next__
        )  # a checkpoint at every event
        train(tiny.open("train.checkpoint_every_s=0.5"), Recorder())
    assert read_checkpoint(checkpoints(tiny.run / "train")[-1])["trainer"]["progress"]["step"] == 30
    train(tiny.open(), Recorder())
    assert_same(tiny, undisturbed)


def test_a_shard_that_vanished_is_told(tmp_path, simulated):
    tiny = copy(simulated, tmp_path / "p")
    (tiny.run / "data/train/shard-000002.h5").unlink()
    with pytest.raises(RunError, match="blocks 2 to 3 are missing") as caught:
        train(tiny.open(), Recorder())
    assert caught.value.todo == "Run `sbiwb simulate` first."


def test_a_shard_that_was_altered_is_told(tmp_path, simulated):
    tiny = copy(simulated, tmp_path / "p")
    path = tiny.run / "data/train/shard-000002.h5"
    path.write_bytes(path.read_bytes().replace(b"\x3f", b"\x40", 1))
    with pytest.raises(CorruptFile, match="was altered") as caught:
        train(tiny.open(), Recorder())
    assert caught.value.where == str(path) and "sbiwb simulate" in caught.value.todo


def test_damaged_best_weights_come_back_from_the_checkpoint(undisturbed, tmp_path):
    tiny = copy(undisturbed, tmp_path / "p")
    best = tiny.run / "train/best.pt"
    best.write_bytes(best.read_bytes()[:-100])
    train(tiny.open(), Recorder())
    assert_same(tiny, undisturbed)


def test_fresh_trains_anew_and_keeps_the_training_before(undisturbed, tmp_path):
    tiny = copy(undisturbed, tmp_path / "p")
    recorder = Recorder()
    train(tiny.open("train.steps=30"), recorder, fresh=True)
    assert read_checkpoint(checkpoints(tiny.run / "train")[-1])["trainer"]["progress"]["step"] == 30
    assert (
        read_checkpoint(checkpoints(tiny.run / "train.before-1")[-1])["trainer"]["progress"]["step"]
        == STEPS
    )
