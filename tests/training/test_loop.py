"""The training loop: schedules, averages, steps that are not finite, sources, and processes that
train together."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from sbiwb.contracts.network_modules import TrainableModule
from sbiwb.errors import ConfigError, TrainingError
from sbiwb.training import loop
from sbiwb.training.events import Finished, RolledBack, StepInterrupted, Validated
from sbiwb.training.facts import facts_of
from sbiwb.training.flat import FlatWeights
from sbiwb.training.loop import Trainer
from sbiwb.training.range_test import RangeTest, range_test
from sbiwb.training.ranks import first_node, ranks_from_environment
from sbiwb.training.schedule import Anneal, Schedule
from sbiwb.training.sources import MemoryPairs, TensorPairs
from sbiwb.training.train_options import TrainOptions
from sbiwb.training.training_progress import Progress


class Normal(TrainableModule):
    """z ~ N(a x + b, 1), whose maximum-likelihood fit is a least-squares line."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)
        self.poison = 0

    def forward(self, z, inputs):
        log_prob = -0.5 * (z - self.line(inputs["x"][0])).square().sum(-1) - 0.5 * math.log(
            2 * math.pi
        )
        if self.training and self.poison:
            self.poison -= 1
            log_prob = log_prob * float("nan")
        return log_prob, log_prob.new_zeros(0)


def pairs(n: int, seed: int = 0) -> TensorPairs:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, generator=rng)
    return TensorPairs(2 * x + 1 + torch.randn(n, 1, generator=rng), {"x": (x, None)})


def trainer(**options) -> Trainer:
    torch.manual_seed(0)
    chosen = TrainOptions(
        **{
            "steps": 400,
            "batch_size": 50,
            "learning_rate": 0.05,
            "patience": None,
            "validate_every": 50,
            **options,
        }
    )
    return Trainer(
        Normal(), MemoryPairs(pairs(500), chosen.batch_size, chosen.seed), pairs(200, 1), chosen
    )


def finish(one: Trainer) -> list:
    return list(one.run())


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "constant", "plateau"])
@pytest.mark.parametrize("swa", [None, 0.25])
def test_it_finds_the_least_squares_line(schedule, swa):
    one = trainer(schedule=schedule, swa=swa, ema=0.98)
    events = finish(one)
    data = one.source.data
    x = torch.cat([torch.ones(500, 1), data.inputs["x"][0]], 1)
    intercept, slope = torch.linalg.lstsq(x, data.z).solution[:, 0].tolist()
    assert one.descent.averaged.line.weight.item() == pytest.approx(slope, abs=0.05)
    assert one.descent.averaged.line.bias.item() == pytest.approx(intercept, abs=0.05)
    assert (
        isinstance(events[-1], Finished)
        and events[-1].facts.step == 400
        and events[-1].facts.reason == "steps"
    )


def test_schedules_begin_and_end_where_they_should():
    cosine, cycle, constant = (
        Schedule(kind, 1.0, 1000, 0.1) for kind in ("cosine", "one_cycle", "constant")
    )
    assert (
        cosine.rate(0) == pytest.approx(0.01)
        and cosine.rate(100) == 1
        and cosine.rate(1000) == pytest.approx(0, abs=1e-12)
    )
    assert cosine.rate(550) == pytest.approx(0.5)
    assert (
        0 < cycle.rate(0) < 1e-3
        and cycle.rate(300) == 1
        and cycle.rate(1000) == pytest.approx(0, abs=1e-12)
    )
    assert constant.rate(50) == pytest.approx(0.51) and constant.rate(999) == 1
    assert constant.rate(5, Anneal(0, 10, 0.4)) == pytest.approx(0.2)


def test_plateau_halves_the_rate_while_nothing_improves():
    one = trainer(schedule="plateau", steps=3000, learning_rate=0.3, ema=None)
    rates = [event.learning_rate for event in finish(one) if isinstance(event, Validated)]
    assert (
        rates[0] == pytest.approx(0.3, rel=0.2)
        and rates[-1] < 0.1
        and sorted(rates[2:], reverse=True) == rates[2:]
    )


def test_swa_is_the_mean_of_the_last_weights():
    one = trainer(steps=100, swa=0.2, ema=None)
    seen = []
    for event in one.run():
        if isinstance(event, loop.Stepped):
            seen.append(one.descent.weights.vector.detach().clone())
    assert torch.allclose(one.descent.averages, torch.stack(seen[-20:]).mean(0), atol=1e-6)


def test_epochs_are_a_budget_too():
    one = trainer(epochs=3)
    finish(one)
    assert one.progress.step == 3 * 10


def test_every_pair_once_an_epoch_and_another_order_each_time():
    source = MemoryPairs(pairs(120), 30, seed=0)
    epochs = [
        torch.cat([source.batch(4 * epoch + step).z for step in range(4)])[:, 0]
        for epoch in range(2)
    ]
    assert all(torch.equal(epoch.sort()[0], source.data.z[:, 0].sort()[0]) for epoch in epochs)
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_part_the_batch_of_one_process(world):
    whole = MemoryPairs(pairs(120), 30, seed=0)
    parts = [MemoryPairs(pairs(120), 30, seed=0, rank=rank, world=world) for rank in range(world)]
    for step in (0, 3, 4):
        together = torch.cat([part.batch(step).z for part in parts])[:, 0]
        assert torch.equal(together.sort()[0], whole.batch(step).z[:, 0].sort()[0])


def test_a_step_that_is_not_finite_changes_no_weight():
    one = trainer()
    one.module.poison = 1
    before = one.descent.weights.vector.detach().clone()
    events = one.run()
    next(events)
    assert torch.equal(one.descent.weights.vector, before) and torch.equal(
        one.descent.averages, before
    )
    next(events)
    assert not torch.equal(one.descent.weights.vector, before)
    finish(one)
    assert one.progress.skipped == 1 and math.isfinite(one.progress.best_loss)


def test_many_bad_steps_bring_back_good_weights_at_half_the_rate():
    one, events = trainer(), []
    for event in one.run():
        events.append(event)
        if one.progress.step == 100 and isinstance(event, Validated):
            one.module.poison, good = 20, one.descent.weights.vector.detach().clone()
        if isinstance(event, RolledBack):
            assert torch.equal(one.descent.weights.vector, good)
    back = [event for event in events if isinstance(event, RolledBack)]
    assert back == [RolledBack(step=120, to=100, rate_scale=0.5)]
    rate = next(
        event.learning_rate
        for event in events
        if isinstance(event, Validated) and event.step == 150
    )
    assert rate == pytest.approx(0.5 * one.schedule.rate(149)) and one.progress.finished == "steps"


def test_time_ends_it_with_the_rate_at_zero(monkeypatch):
    clock = iter(np.arange(0, 1e6, 0.1).tolist())
    monkeypatch.setattr(
        loop, "time", SimpleNamespace(monotonic=lambda: next(clock))
    )  # other threads keep the real one
    one = trainer(steps=100_000, max_time_min=0.1)
    events = finish(one)
    assert events[-1].facts.reason == "time" and 100 < events[-1].facts.step < 5000
    assert one.descent.optimizer.param_groups[0]["lr"] < 0.01


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_says_which_batch_size_to_try(monkeypatch, error):
    one = trainer()
    monkeypatch.setattr(one, "density", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(TrainingError, match="a batch of 50 pairs needs more memory") as caught:
        finish(one)
    assert "train.batch_size: 25" in caught.value.todo


@pytest.mark.parametrize(
    "message",
    [
        "shapes differ",
        "CUDA error: an illegal memory access was encountered",
        "unable to mmap 100 bytes from file: shared memory",
    ],
)
def test_another_runtime_error_is_not_taken_for_lack_of_memory(monkeypatch, message):
    one = trainer()
    monkeypatch.setattr(one, "density", lambda *_: (_ for _ in ()).throw(RuntimeError(message)))
    with pytest.raises(RuntimeError, match=message):
        finish(one)


def test_a_step_that_fails_after_a_signal_was_interrupted(monkeypatch):
    """A compiler of the same process group dies of the same signal."""
    one, asked = trainer(), []
    before = one.descent.weights.vector.detach().clone()

    def density(z, inputs):
        asked.append("to stop")
        raise RuntimeError("C++ compile error: the compiler was terminated")

    monkeypatch.setattr(one, "density", density)
    with pytest.raises(StepInterrupted) as caught:
        list(one.run(stopping=lambda: bool(asked)))
    assert caught.value.exit_code == 75 and one.progress.step == 0
    assert torch.equal(one.descent.weights.vector, before)


def course(losses, *, step, finished="patience") -> Progress:
    """A progress at its end, with (step, training loss, validation loss) of each validation."""
    progress = Progress()
    for progress.step, train_loss, loss in losses:
        progress.note_validation(train_loss, loss)
    progress.step, progress.finished = step, finished
    return progress


def test_overfitting_is_named():
    losses = [(100, 1.0, 1.1), (300, 0.4, 0.63), (600, 0.1, 0.9), (900, -0.2, 1.37)]
    facts = facts_of(course(losses, step=900), likelihood=True)
    assert facts.overfits and not facts.still_falling and facts.gap == pytest.approx(0.23)
    assert list(facts.lines()) == [
        "Stopped at step 900: validation stopped improving and the learning rate was annealed to "
        "zero.",
        "Best validation loss 0.6300 at step 300.",
        "The network overfits: from step 300 on, validation rose from 0.63 to 1.37, and training "
        "fell to -0.20. The weights of step 300 are kept. More simulations (simulate.train) help "
        "most, and the check data_budget of `sbiwb diagnose` says how much; so does an ensemble "
        "(model.uncertainty: ensemble).",
    ]


@pytest.mark.parametrize(
    "losses, said",
    [
        ([(100, 1.0, 1.1), (500, 0.5, 0.55), (900, 0.5, 0.56)], []),  # noise
        ([(100, 1.0, 1.1), (500, 0.5, 0.6), (900, 0.7, 0.75)], []),  # both rose
        ([(100, 1.0, 1.1), (500, 0.2, 0.6), (900, 0.1, 0.61)], ["Validation lies 0.40 nats"]),
        ([(100, 1.0, 1.1), (900, 0.5, 0.6), (950, math.nan, math.nan)], []),
    ],
)
def test_what_is_no_overfitting_yet(losses, said):
    facts = facts_of(course(losses, step=1000), likelihood=True)
    assert not facts.overfits
    lines = list(facts.lines())[2:]
    assert len(lines) == len(said) and all(map(str.startswith, lines, said))


def test_validation_that_still_falls_asks_for_more_steps():
    losses = [(100, 1.0, 1.1), (800, 0.5, 0.6), (1000, 0.4, 0.5)]
    facts = facts_of(course(losses, step=1000, finished="steps"), likelihood=True)
    assert facts.still_falling and any("more train.steps" in line for line in facts.lines())
    assert not facts_of(course(losses, step=1000), likelihood=True).still_falling


def test_a_loss_of_its_own_is_judged_on_its_own_scale():
    losses = [(100, 10.0, 11.0), (300, 5.0, 6.0), (900, 2.0, 9.0)]
    facts = facts_of(course(losses, step=900), likelihood=False)
    assert facts.gap == 0 and facts.overfits
    losses = [(100, 10.0, 11.0), (300, 5.0, 6.0), (900, 4.9, 6.3)]
    assert not facts_of(course(losses, step=900), likelihood=False).overfits


@pytest.mark.parametrize("at", [1, 20, 37, 50, 51, 399])
def test_resumed_equals_uninterrupted_from_any_step(at):
    whole, first, second = trainer(), trainer(), trainer()
    finish(whole)
    for _ in first.run():
        if first.progress.step == at:
            break
    second.load(first.state())
    finish(second)
    assert torch.equal(whole.descent.weights.vector, second.descent.weights.vector) and torch.equal(
        whole.descent.averages, second.descent.averages
    )
    assert (
        whole.progress.losses == second.progress.losses and whole.best.keys() == second.best.keys()
    )
    assert all(torch.equal(whole.best[name], second.best[name]) for name in whole.best)


def test_flat_weights_are_the_modules_own():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    flat = FlatWeights(module)
    module(torch.ones(1, 2)).sum().backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in module.parameters()])
    flat.collect_grads()
    assert torch.equal(flat.gradient, expected)
    with torch.no_grad():
        flat.vector.zero_()
    assert all(not parameter.any() for parameter in module.parameters())
    flat.clear_grads()
    module[1](torch.ones(1, 3)).sum().backward()  # the first layer takes no part
    flat.collect_grads()
    assert not flat.gradient[:9].any() and flat.gradient[9:].any()


def test_the_range_test_suggests_a_rate_that_trains():
    one = trainer()
    result = range_test(one, 300)
    assert isinstance(result, RangeTest) and 1e-3 < result.suggestion < 1
    assert any("learning rate" in line for line in result.lines())


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1, 0)),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, (3, 8, 1)),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "0"}, (2, 4, 0)),
        ({"SLURM_NTASKS": "16", "SLURM_PROCID": "0"}, (0, 1, 0)),  # a batch script without srun
    ],
)
def test_ranks_are_found_in_the_environment(monkeypatch, environment, expected):
    for name in (
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_NTASKS",
        "SLURM_PROCID",
        "SLURM_LOCALID",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ranks = ranks_from_environment()
    assert (ranks.rank, ranks.world, ranks.local) == expected


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[07-09,12],cpu1", "gpu07"), ("n1,n2", "n1"), ("alone", "alone"), ("a[1,3]", "a1")],
)
def test_the_first_node_of_a_list(nodes, first):
    assert first_node(nodes) == first


def test_a_batch_that_ranks_cannot_share_equally_is_refused():
    with pytest.raises(
        ConfigError, match="30 pairs cannot be shared equally by 4 processes"
    ) as caught:
        MemoryPairs(pairs(120), 30, seed=0, rank=3, world=4)
    assert "Take 28" in caught.value.todo
