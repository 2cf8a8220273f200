"""Simulating while training: the same blocks from any executor, and processes that may die, fail,
and end at once."""

from __future__ import annotations

import os
import signal
import time
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from sbiwb.errors import ConfigError, FailureRateError, SimulatorError
from sbiwb.executors.pool import PoolExecutor
from sbiwb.executors.serial import SerialExecutor
from sbiwb.files import put_json, read_json
from sbiwb.project.adapter import Adapter, fit_adapter
from sbiwb.project.project import Project
from sbiwb.simulation.blocks import FailureCounter, simulate_block
from sbiwb.steps.fit.feed import BlockSource, online_feed
from sbiwb.store import manifest
from sbiwb.training.online import Fresh, ReplayBuffer, SimulationFeed
from sbiwb.workflow.simulate import simulate
from tests.executors import tasks as works
from tests.executors.test_executors import _lives, _until
from tests.tiny import Recorder, Tiny

RAGGED = '''"""Sets of random size."""
import numpy as np


def simulate(mu, *, rng, n):
    return {"y": [one + rng.standard_normal(rng.integers(1, 9)) for one in mu]}
'''
SETS = {"model": {"inputs": {"y": {"as": "set", "summary": {"kind": "deepset", "hidden": 8}}}}}
DIES_ONCE = '''"""The process that makes the first block of the split `online` is killed, once."""
import os
import pathlib


def simulate(mu, *, rng, n):
    mark = pathlib.Path(__file__).with_name("mark")
    if pathlib.Path(__file__).with_name("armed").exists() and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), 9)
    return {"y": mu[:, None] + rng.standard_normal((len(mu), n))}
'''
ARMED = '''"""Well until it is armed."""
import os
import pathlib
import ctypes


def simulate(mu, *, rng, n):
    here = pathlib.Path(__file__)
    if here.with_name("armed").exists():
        here.with_name(f"{os.getpid()}.pid").write_text("")
        WHAT
    return {"y": mu[:, None] + rng.standard_normal((len(mu), n))}
'''


def block_source(project) -> BlockSource:
    seconds = read_json(project.run.plan)["seconds_per_row"]
    max_rate = project.config.simulate.failures.max_rate
    return BlockSource(project.run.path, project.block_size, seconds, max_rate)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return ready(tmp_path_factory.mktemp("simulated"))


def ready(folder: Path, code: str | None = None, **changes) -> tuple[Tiny, Project, Adapter]:
    """A project with shards, and the adapter that training would fit."""
    tiny = Tiny.write(folder, changes, *([code] if code else []))
    simulate(tiny.open(), Recorder())
    project = tiny.open()
    folder = project.run.split("train")
    pairs = manifest.load(
        manifest.shards(folder, project.data_hash), project.config.simulate.train, folder
    )
    return tiny, project, fit_adapter(project.config.model, project.prior, pairs)


def first(feed: SimulationFeed, n: int) -> list[Fresh]:
    """Its first n pieces."""
    try:
        found = (feed.get(5.0) for _ in count())
        return list(islice((one for one in found if one is not None), n))
    finally:
        feed.close()


def assert_same(pieces: list[Fresh], others: list[Fresh]) -> None:
    for one, other in zip(pieces, others, strict=True):
        assert one.next_block == other.next_block and torch.equal(one.pairs.z, other.pairs.z)
        for name, (values, mask) in one.pairs.inputs.items():
            assert torch.equal(values, other.pairs.inputs[name][0])
            assert mask is None or torch.equal(mask, other.pairs.inputs[name][1])


def test_blocks_are_those_of_the_stream_online(simulated):
    _, project, adapter = simulated
    (piece,) = first(
        online_feed(block_source(project), adapter, SerialExecutor(), batch_size=32)(7), 1
    )
    pairs, _ = simulate_block(project.problem, "online", 7, 32, FailureCounter(1.0))
    assert np.array_equal(piece.pairs.z[:32, 0].numpy(), pairs.theta["mu"].astype(np.float32))
    assert torch.equal(
        piece.pairs.inputs["y"][0][:32], torch.from_numpy(adapter.arrays(pairs)["y"][0])
    )
    train, _ = simulate_block(project.problem, "train", 7, 32, FailureCounter(1.0))
    assert not np.isin(pairs.theta["mu"], train.theta["mu"]).any()


def test_processes_give_the_same_pieces_in_the_same_order(simulated):
    _, project, adapter = simulated
    serial, pool = (
        first(online_feed(block_source(project), adapter, one, batch_size=64)(3), 6)
        for one in (SerialExecutor(), PoolExecutor(2))
    )
    assert_same(serial, pool)
    assert len(torch.cat([piece.pairs.z for piece in pool]).unique()) == sum(
        len(piece.pairs) for piece in pool
    )


def test_ranks_share_the_blocks(simulated):
    _, project, adapter = simulated
    plan = read_json(project.run.plan)
    put_json(project.run.plan, {**plan, "seconds_per_row": 1.0})  # one block a task
    feeds = [
        online_feed(
            block_source(project), adapter, SerialExecutor(), batch_size=64, rank=rank, world=2
        )(rank)
        for rank in range(2)
    ]
    pieces = [first(feed, 3) for feed in feeds]
    put_json(project.run.plan, plan)
    assert [piece.next_block for piece in pieces[0]] == [2, 4, 6] and [
        piece.next_block for piece in pieces[1]
    ] == [3, 5, 7]
    together = torch.cat([piece.pairs.z for piece in pieces[0] + pieces[1]])
    assert len(together.unique()) == 6 * 32


@pytest.mark.parametrize(
    ("seconds_per_row", "batch_size", "expected"),
    [(1.0, 64, 1), (0.0005, 1024, 4), (0.0, 1024, 128), (0.0, 1, 1)],
)
def test_a_task_is_worth_handing_over(simulated, seconds_per_row, batch_size, expected):
    _, project, _ = simulated
    plan = read_json(project.run.plan)
    put_json(project.run.plan, {**plan, "seconds_per_row": seconds_per_row})
    found = block_source(project).blocks_per_task(batch_size)
    put_json(project.run.plan, plan)
    assert found == expected


def source_of(project: Project, adapter: Adapter, executor) -> ReplayBuffer:
    feed = online_feed(block_source(project), adapter, executor, batch_size=64)
    return ReplayBuffer(feed, batch_size=64, buffer=512, uses=4, seed=0)


@pytest.mark.parametrize("executor", [SerialExecutor(), PoolExecutor(1)], ids=["serial", "pool"])
def test_batches_of_sets_of_random_size(tmp_path, executor):
    _, project, adapter = ready(tmp_path, RAGGED, **SETS)
    source = source_of(project, adapter, executor)
    try:
        for step in range(20):
            batch = source.batch(step)
            values, mask = batch.inputs["y"]
            assert mask is not None and values.shape[:2] == mask.shape and not values[~mask].any()
            assert mask.sum(1).min() >= 1 and mask.sum(1).max() <= 8
            assert len(batch.z.unique()) == 64
    finally:
        source.close()


def test_a_killed_worker_loses_nothing(tmp_path):
    tiny, project, adapter = ready(tmp_path, DIES_ONCE)
    expected = first(
        online_feed(block_source(project), adapter, SerialExecutor(), batch_size=64)(0), 5
    )
    (tiny.folder / "armed").write_text("")
    assert_same(
        first(online_feed(block_source(project), adapter, PoolExecutor(2), batch_size=64)(0), 5),
        expected,
    )
    assert (tiny.folder / "mark").exists(), "no worker was killed"


@pytest.mark.slow
def test_a_worker_killed_from_outside_loses_nothing(tmp_path):
    tiny, project, adapter = ready(tmp_path, ARMED.replace("WHAT", "import time; time.sleep(0.2)"))
    expected = first(
        online_feed(block_source(project), adapter, SerialExecutor(), batch_size=32)(0), 5
    )
    (tiny.folder / "armed").write_text("")
    feed = online_feed(block_source(project), adapter, PoolExecutor(2), batch_size=32)(0)
    _until(lambda: len(pids(tiny)) == 2, 60)
    os.kill(pids(tiny)[0], signal.SIGKILL)
    assert_same(first(feed, 5), expected)


def pids(tiny: Tiny) -> list[int]:
    return [int(mark.stem) for mark in tiny.folder.glob("*.pid")]


def test_a_simulator_that_always_kills_its_process_is_told(tmp_path):
    tiny, project, adapter = ready(
        tmp_path, ARMED.replace("WHAT", "import time; time.sleep(0.3); os.kill(os.getpid(), 11)")
    )
    (tiny.folder / "armed").write_text("")
    source = source_of(project, adapter, PoolExecutor(1))
    try:
        with pytest.raises(SimulatorError, match=r"died 2 times \(killed by SIGSEGV\)"):
            source.batch(0)
    finally:
        source.close()


@pytest.mark.parametrize("executor", [SerialExecutor(), PoolExecutor(1)], ids=["serial", "pool"])
def test_an_error_rises_with_its_type(tmp_path, executor):
    tiny, project, adapter = ready(tmp_path, ARMED.replace("WHAT", "raise ValueError('no')"))
    (tiny.folder / "armed").write_text("")
    source = source_of(project, adapter, executor)
    try:
        with pytest.raises(FailureRateError, match="simulations failed") as caught:
            source.batch(0)
        assert "ValueError: no" in caught.value.what
    finally:
        source.close()


def test_failures_are_counted_over_all_tasks(tmp_path):
    code = ARMED.replace(
        "WHAT",
        "return {'y': np.where(mu[:, None] > 1, np.nan, mu[:, None] + "
        "rng.standard_normal((len(mu), n)))}",
    )
    failures = {"simulate": {"failures": {"max_rate": 0.1}}}
    tiny, project, adapter = ready(tmp_path, "import numpy as np\n" + code, **failures)
    (tiny.folder / "armed").write_text("")
    plan = read_json(project.run.plan)
    put_json(
        project.run.plan, {**plan, "seconds_per_row": 1.0}
    )  # one block of 32 a task: no task has enough to judge
    source = source_of(project, adapter, SerialExecutor())
    with pytest.raises(FailureRateError, match=r"more than simulate\.failures\.max_rate = 0\.1"):
        for step in range(200):
            source.batch(step)
    assert int(source.facts()["failed"]) > 0  # type: ignore[call-overload]


def test_close_is_prompt_even_in_compiled_code_and_leaves_no_process(tmp_path):
    tiny, project, adapter = ready(tmp_path, ARMED.replace("WHAT", "ctypes.PyDLL(None).sleep(300)"))
    (tiny.folder / "armed").write_text("")
    feed = online_feed(block_source(project), adapter, PoolExecutor(2), batch_size=64)(0)
    _until(lambda: len(pids(tiny)) == 2, 60)
    assert feed.get(0.1) is None
    start = time.monotonic()
    feed.close()
    assert time.monotonic() - start < 10
    _until(lambda: not any(_lives(pid) for pid in pids(tiny)))


def test_a_resumed_run_in_this_process_is_the_same_to_the_last_bit(simulated):
    _, project, adapter = simulated
    one = source_of(project, adapter, SerialExecutor())
    expected = [one.batch(step) for step in range(30)]
    before = source_of(project, adapter, SerialExecutor())
    for step in range(11):
        before.batch(step)
    after = source_of(project, adapter, SerialExecutor())
    after.load(before.state())
    assert all(torch.equal(after.batch(step).z, expected[step].z) for step in range(11, 30))


def test_an_executor_that_cannot_is_refused(simulated):
    _, project, adapter = simulated
    with pytest.raises(ConfigError, match="cannot simulate while training"):
        online_feed(block_source(project), adapter, object(), batch_size=64)  # type: ignore[arg-type]


def numbered(**more):
    return ({"n": n, **more} for n in count())


def test_a_stream_keeps_the_order_and_retries(tmp_path):
    stream = PoolExecutor(2).stream(works.die_once, numbered(folder=str(tmp_path)), ahead=5)
    try:
        found = list(
            islice((one for one in (stream.get(5.0) for _ in count()) if one is not None), 12)
        )
    finally:
        stream.close()
    assert [result for _, result in found] == list(range(12)) and (tmp_path / "1").exists()


def test_our_own_bug_rises_from_a_stream():
    stream = PoolExecutor(1).stream(works.bug, numbered(), ahead=1)
    try:
        with pytest.raises(ZeroDivisionError, match="ours"):
            while stream.get(5.0) is None:
                pass
    finally:
        stream.close()
