"""Training from memory, from disk and from the simulator; settings that a checkpoint remembers;
jobs that end before training does."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest
import torch

from sbiwb.errors import RunError, Stopped
from sbiwb.networks import compiled_flow
from sbiwb.project import settings as machine
from sbiwb.training.checkpoint import checkpoints, read_checkpoint
from sbiwb.training.sources import TensorPairs
from sbiwb.training.spool import DecodedShardCache
from sbiwb.workflow import train as module
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import find_lr, train
from tests.conftest import Recorder
from tests.tiny import SLOW_SIMULATOR, Tiny, copy, until

TRAIN = {
    "steps": 60,
    "batch_size": 32,
    "validate_every": 10,
    "patience": None,
    "checkpoint_every_s": 0.01,
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("regimes") / "p", {"train": TRAIN})
    simulate(tiny.open(), Recorder())
    return tiny


def last(tiny: Tiny) -> dict:
    return read_checkpoint(checkpoints(tiny.run / "train")[-1])


def same(tiny: Tiny, other: Tiny) -> bool:
    ours, theirs = last(tiny)["trainer"], last(other)["trainer"]
    return (
        torch.equal(ours["averages"], theirs["averages"])
        and ours["progress"]["losses"] == theirs["progress"]["losses"]
    )


SMALL = "machine.memory_gb=1e-5"  # about a shard


def test_more_pairs_than_memory_are_streamed_and_each_seen_once_an_epoch(
    simulated, tmp_path, monkeypatch
):
    tiny, recorder, seen = copy(simulated, tmp_path / "p"), Recorder(), []
    real = module.open_trainer

    def spying(*arguments, **more):
        opened = real(*arguments, **more)
        batch = opened.trainer.source.batch
        opened.trainer.source.batch = lambda step: (seen.append(batch(step)), seen[-1])[1]
        return opened

    monkeypatch.setattr(module, "open_trainer", spying)
    train(tiny.open(SMALL), recorder)
    assert "256 pairs (disk)" in recorder.said[0]
    epochs = [
        torch.cat([one.z for one in seen[8 * epoch : 8 * epoch + 8]])[:, 0] for epoch in range(3)
    ]
    assert all(
        len(epoch.unique()) == 256 and torch.equal(epoch.sort()[0], epochs[0].sort()[0])
        for epoch in epochs
    )
    assert not torch.equal(epochs[0], epochs[1])
    assert not list((tiny.run / "train").glob("spool-*"))


def test_streamed_training_is_resumed_to_the_same_bits(simulated, tmp_path):
    whole, tiny, dice = (
        copy(simulated, tmp_path / "whole"),
        copy(simulated, tmp_path / "p"),
        random.Random(0),
    )
    train(whole.open(SMALL), Recorder())
    for _ in range(3):
        before, child = checkpoints(tiny.run / "train"), tiny.fork("train", "--set", SMALL)
        until(
            lambda before=before, child=child: (
                checkpoints(tiny.run / "train") != before or child.ended
            )
        )
        child.kill_after(dice.uniform(0, 0.05))
    child = tiny.fork("train", "--set", SMALL)
    assert child.wait() == 0, child.output
    assert same(tiny, whole)


def test_online_pairs_are_fresh_and_the_fit_is_right(simulated, tmp_path):
    tiny, recorder = copy(simulated, tmp_path / "p"), Recorder()
    trained = train(
        tiny.open(
            "train.regime=online",
            "train.online.buffer=256",
            "train.steps=300",
            "train.learning_rate=1e-2",
        ),
        recorder,
    )
    assert "fresh pairs" in recorder.said[0] and trained.facts.step == 300
    assert trained.facts.best_loss < 0.9  # 0.614 is exact; the prior has 1.419
    state = last(tiny)["trainer"]["source"]
    assert state["simulated"] >= 300 * 32 / 8 and state["next_block"] * 32 >= state["simulated"]


def test_online_goes_on_with_its_buffer(simulated, tmp_path):
    tiny = copy(simulated, tmp_path / "p")
    settings = ("--set", "train.regime=online", "--set", "train.online.buffer=256")
    child = tiny.fork("train", *settings)
    until(lambda: len(checkpoints(tiny.run / "train")) == 2)
    child.kill_after(0.05)
    before = last(tiny)["trainer"]
    child = tiny.fork("train", *settings)
    assert child.wait() == 0, child.output
    after = last(tiny)["trainer"]
    assert (
        after["progress"]["step"] == 60
        and after["source"]["simulated"] >= before["source"]["simulated"]
    )


def test_settings_of_the_checkpoint_are_used_again_and_a_change_is_told(simulated, tmp_path):
    tiny, whole = copy(simulated, tmp_path / "p"), copy(simulated, tmp_path / "whole")
    train(whole.open("machine.splines=torch"), Recorder())
    child = tiny.fork("train", "--set", "machine.splines=torch")
    until(lambda: len(checkpoints(tiny.run / "train")) == 2)
    child.kill_after(0)
    assert last(tiny)["about"]["settings"]["kernels"] is False
    other, recorder = copy(tiny, tmp_path / "other"), Recorder()
    train(tiny.open("machine.splines=auto"), recorder)  # auto: what it began with
    assert same(tiny, whole) and recorder.warned == []
    train(other.open("machine.splines=c"), recorder)
    assert recorder.warned == [
        "this training began with other settings (kernels: False -> True): from here on its bits "
        "will differ."
    ]
    torch.testing.assert_close(
        last(other)["trainer"]["averages"], last(whole)["trainer"]["averages"], atol=1e-3, rtol=1e-2
    )


def test_the_jobs_end_is_seen_coming(simulated, tmp_path, monkeypatch):
    tiny = copy(simulated, tmp_path / "p")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 60))
    with pytest.raises(Stopped, match="the job's time is nearly over"):
        train(tiny.open(), Recorder())
    assert 0 < last(tiny)["trainer"]["progress"]["step"] < 60
    monkeypatch.delenv("SLURM_JOB_END_TIME")
    train(tiny.open(), Recorder())
    assert last(tiny)["trainer"]["progress"]["step"] == 60


def test_restarts_that_bring_nothing_end_with_an_error(simulated, tmp_path, monkeypatch):
    tiny = copy(simulated, tmp_path / "p")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.TrainingMonitor, "run", killed)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                train(tiny.open(), Recorder())
        with pytest.raises(
            RunError, match="was begun 3 times at step 0 and stopped each time"
        ) as caught:
            train(tiny.open(), Recorder())
    assert "checkpoint_every_s" in caught.value.todo
    assert train(tiny.open(), Recorder()).facts.step == 60  # once mended, it may be tried again


def test_time_that_is_spent_is_counted_over_restarts(simulated, tmp_path):
    tiny = copy(simulated, tmp_path / "p")
    child = tiny.fork("train")
    until(lambda: len(checkpoints(tiny.run / "train")) == 2)
    child.kill_after(0.02)
    before = last(tiny)["trainer"]["progress"]
    trained = train(tiny.open("train.max_time_min=1e-6"), Recorder())
    assert (
        trained.facts.reason in ("time", "steps")
        and last(tiny)["trainer"]["progress"]["seconds"] >= before["seconds"]
    )


def test_a_learning_rate_is_suggested_and_nothing_is_trained(simulated, tmp_path):
    tiny, recorder = copy(simulated, tmp_path / "p"), Recorder()
    found = find_lr(tiny.open(), recorder)
    assert 1e-4 < found.suggestion < 0.5
    assert (tiny.run / "train/learning-rates.png").read_bytes()[
        :4
    ] == b"\x89PNG" and not checkpoints(tiny.run / "train")


def test_memory_is_asked_of_everyone_who_limits_it(monkeypatch):
    monkeypatch.setattr(machine, "_meminfo", lambda: 8e9)
    monkeypatch.setattr(machine, "_cgroup", lambda: 6e9)
    assert machine.memory_gb("auto") == 3 and machine.memory_gb(5.0) == 5
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1000")
    assert machine.free_bytes() == 1000 * 2**20


def test_a_spool_gives_what_the_loader_gave(tmp_path):
    calls = []

    def load(number):
        calls.append(number)
        mask = torch.tensor([[True, False]] * 3)
        return TensorPairs(
            torch.full((3, 2), float(number)),
            {"a b": (torch.randn(3, 2, 1), mask), "c/d": (torch.randn(3, 1), None)},
        )

    spool = DecodedShardCache(load, tmp_path / "spool")
    first, again = spool(4), spool(4)
    assert (
        calls == [4] and torch.equal(first.z, again.z) and list(first.inputs) == list(again.inputs)
    )
    for name in first.inputs:
        for ours, theirs in zip(first.inputs[name], again.inputs[name], strict=True):
            assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    spool.close()
    assert not (tmp_path / "spool").exists()


def test_the_command_trains_in_the_precision_that_is_asked(simulated, tmp_path):
    tiny = copy(simulated, tmp_path / "p")
    train(tiny.open("machine.precision=bfloat16"), Recorder())
    exact = copy(simulated, tmp_path / "exact")
    train(exact.open(), Recorder())
    ours, theirs = (
        json.loads(json.dumps(last(one)["trainer"]["progress"]["losses"])) for one in (tiny, exact)
    )
    assert ours != theirs and ours[-1][2] == pytest.approx(theirs[-1][2], abs=0.05)


@pytest.mark.slow
def test_a_compiled_step_gives_the_same_training_to_rounding(simulated, tmp_path):
    compiled, eager = copy(simulated, tmp_path / "compiled"), copy(simulated, tmp_path / "eager")
    train(compiled.open("machine.compile=true", "machine.splines=torch"), Recorder())
    train(eager.open("machine.splines=torch"), Recorder())
    assert last(compiled)["about"]["settings"]["compile"] is True
    torch.testing.assert_close(
        last(compiled)["trainer"]["averages"],
        last(eager)["trainer"]["averages"],
        atol=1e-3,
        rtol=1e-2,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_waiting_for_simulations_saves_and_goes(tmp_path, number):
    slow = SLOW_SIMULATOR.replace("0.02", "0.2")
    tiny = Tiny.write(
        tmp_path / "p",
        {"train": {**TRAIN, "regime": "online", "online": {"buffer": 256, "uses": 1}}},
        slow,
    )
    simulate(tiny.open(), Recorder())
    child = tiny.fork("train")
    until(lambda: len(checkpoints(tiny.run / "train")) >= 1)
    assert child.kill_after(0.5, number) == (130 if number == signal.SIGINT else 75), child.output
    assert last(tiny)["trainer"]["progress"]["step"] < 60


@pytest.mark.parametrize("moment", ["_validate", "_save"])
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_a_signal_in_a_validation_or_while_saving_is_heeded_afterwards(
    simulated, tmp_path, monkeypatch, moment, number
):
    tiny, whole = copy(simulated, tmp_path / "p"), copy(simulated, tmp_path / "whole")
    train(whole.open(), Recorder())
    owner = module.TrainingMonitor if moment == "_save" else module.Trainer
    real, times = getattr(owner, moment), []

    def signalled(self):
        times.append(1)
        if len(times) == 3:
            os.kill(os.getpid(), number)
        return real(self)

    with (
        monkeypatch.context() as patch,
        pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Stopped),
    ):
        patch.setattr(owner, moment, signalled)
        train(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    assert same(tiny, whole)


def test_a_shard_that_vanishes_while_training_is_told_and_training_goes_on_later(
    simulated, tmp_path, monkeypatch
):
    tiny, whole = copy(simulated, tmp_path / "p"), copy(simulated, tmp_path / "whole")
    train(whole.open(SMALL), Recorder())
    path = tiny.run / "data/train/shard-000002.h5"
    aside = path.with_suffix(".aside")
    real = module.open_trainer

    def opened_without_a_shard(*arguments, **more):
        opened = real(*arguments, **more)
        path.rename(aside)
        return opened

    with (
        monkeypatch.context() as patch,
        pytest.raises(RunError, match="vanished while training") as caught,
    ):
        patch.setattr(module, "open_trainer", opened_without_a_shard)
        train(tiny.open(SMALL), Recorder())
    assert caught.value.where == str(path) and "sbiwb simulate" in caught.value.todo
    aside.rename(path)
    train(tiny.open(SMALL), Recorder())
    assert same(tiny, whole)


def test_a_machine_without_a_compiler_is_told_that_it_will_be_slow(
    simulated, tmp_path, monkeypatch
):
    tiny, recorder = copy(simulated, tmp_path / "p"), Recorder()
    monkeypatch.setenv("CC", "no-such-compiler")
    compiled_flow.compiled.cache_clear()
    try:
        train(tiny.open(), recorder)
    finally:
        compiled_flow.compiled.cache_clear()
    assert recorder.warned == [
        "the network is evaluated by torch operations, several times slower than in C: "
        "there is no C compiler (no-such-compiler)"
    ]
    assert last(tiny)["about"]["settings"]["kernels"] is False


def test_other_free_memory_at_a_resume_changes_neither_windows_nor_adapters(
    simulated, tmp_path, monkeypatch
):
    whole, tiny = copy(simulated, tmp_path / "whole"), copy(simulated, tmp_path / "p")

    def stop(event):
        if event.step == 30:
            raise Stopped("for the test")

    monkeypatch.setattr(machine, "_meminfo", lambda: 4e4)
    train(whole.open("train.regime=disk"), Recorder())
    with pytest.raises(Stopped):
        train(tiny.open("train.regime=disk"), Recorder(), on_validated=stop)
    before = last(tiny)["about"]
    assert 0 < before["settings"]["window"] < 256
    monkeypatch.setattr(machine, "_meminfo", lambda: 8e9)
    train(tiny.open("train.regime=disk"), Recorder())
    assert same(tiny, whole) and last(tiny)["about"]["adapter"] == before["adapter"]
