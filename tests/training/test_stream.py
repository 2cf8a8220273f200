"""Streamed pairs: every pair once an epoch, the same batches from any first step, fair ranks,
bounded memory, and ends that are prompt."""

import gc
import threading
import weakref
from concurrent.futures import wait
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sbiwb.errors import ConfigError, CorruptFile, DataError, DiskError, Stopped
from sbiwb.training import stream as module
from sbiwb.training.sources import BatchSource, TensorPairs
from sbiwb.training.stream import StreamedPairs
from sbiwb.training.window_order import WindowOrder

WAIT_S = 30  # for another thread; reached only where a test fails
ROWS = (7, 7, 7, 7, 7, 3)


def shard(number: int, rows: int, length: int | None = None) -> TensorPairs:
    """Pairs numbered through all shards: z is 1000 * shard + row, and every input says it again."""
    z = 1000.0 * number + torch.arange(rows)[:, None]
    inputs = {"vector": (z.repeat(1, 2), None)}
    if length is not None:
        mask = torch.arange(length) < 1 + torch.arange(rows)[:, None] % length
        inputs["set"] = ((z[:, :, None] + torch.ones(1, length, 2)) * mask[:, :, None], mask)
    return TensorPairs(z, inputs)


@dataclass
class Shards:
    """A loader that remembers what it was asked for."""

    rows: tuple[int, ...] = ROWS
    lengths: dict[int, int] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def __call__(self, number: int) -> TensorPairs:
        self.asked.append(number)
        return shard(number, self.rows[number], self.lengths.get(number))


@pytest.fixture
def stream():
    """Makes streams and closes them."""
    made = []

    def make(load=None, rows=ROWS, *, batch_size=4, seed=0, window=15, **ranks) -> StreamedPairs:
        made.append(
            StreamedPairs(
                load or Shards(rows), rows, batch_size=batch_size, seed=seed, window=window, **ranks
            )
        )
        return made[-1]

    yield make
    for source in made:
        source.close()


def epoch(source: StreamedPairs, number: int = 0) -> list[int]:
    """The pairs of an epoch in order."""
    first = number * source.steps_per_epoch
    return [
        int(z)
        for step in range(first, first + source.steps_per_epoch)
        for z in source.batch(step).z[:, 0]
    ]


def everything(rows=ROWS) -> set[int]:
    return {1000 * number + row for number, size in enumerate(rows) for row in range(size)}


def live_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sbiwb-stream"]


def test_is_a_source(stream):
    source: BatchSource = stream()
    assert (source.pairs, source.batch_size, source.steps_per_epoch, source.state()) == (
        38,
        4,
        9,
        {},
    )
    source.load({})


@pytest.mark.parametrize("window", [1, 7, 15, 1000])
@pytest.mark.parametrize("batch_size", [1, 4, 10, 38, 500])
def test_every_pair_once_an_epoch(stream, window, batch_size):
    source = stream(window=window, batch_size=batch_size)
    for number in range(3):
        seen = epoch(source, number)
        assert (
            len(seen)
            == len(set(seen))
            == source.steps_per_epoch * source.batch_size
            > len(everything()) - batch_size
        )
        assert set(seen) <= everything()


def test_what_fills_no_batch_is_another_rest_each_epoch(stream):
    source = stream(batch_size=20)
    rests = {frozenset(everything() - set(epoch(source, number))) for number in range(4)}
    assert len(rests) == 4 and {len(rest) for rest in rests} == {18}


def test_orders_differ_between_epochs_and_seeds(stream):
    orders = [
        epoch(stream(batch_size=1, seed=seed), number) for seed in (0, 1) for number in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == sorted(everything()) for order in orders)


def test_inputs_follow_their_parameters(stream):
    source = stream(Shards(lengths=dict.fromkeys(range(6), 5)))
    for step in range(source.steps_per_epoch):
        batch = source.batch(step)
        values, mask = batch.inputs["set"]
        torch.testing.assert_close(batch.inputs["vector"][0], batch.z.repeat(1, 2))
        torch.testing.assert_close(
            values, ((batch.z + 1)[:, :, None] * mask[:, :, None]).repeat(1, 1, 2)
        )


def test_pairs_of_a_window_are_mixed_across_its_shards(stream):
    seen = epoch(stream(rows=(50, 50), window=100, batch_size=10))
    assert all(
        {number // 1000 for number in seen[start : start + 10]} == {0, 1}
        for start in range(0, 100, 10)
    )


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.integers(1, 9), min_size=3, max_size=9),
    window=st.integers(1, 20),
    batch=st.integers(1, 6),
    world=st.integers(1, 3),
    first=st.integers(0, 40),
    data=st.data(),
)
def test_a_resumed_run_gets_the_same_pairs(rows, window, batch, world, first, data):
    rank = data.draw(st.integers(0, world - 1))

    def make(load):
        return StreamedPairs(
            load, rows, batch_size=batch * world, seed=3, window=window, rank=rank, world=world
        )

    whole, resumed = make(Shards(tuple(rows))), make(Shards(tuple(rows)))
    expected = [whole.batch(step).z for step in range(first + 10)]
    for step in range(first, first + 10):
        torch.testing.assert_close(resumed.batch(step).z, expected[step], rtol=0, atol=0)
    torch.testing.assert_close(
        resumed.batch(first // 2).z, expected[first // 2], rtol=0, atol=0
    )  # and from any other
    whole.close()
    resumed.close()


def test_resuming_reads_no_window_before(stream):
    rows, load = (10,) * 12, Shards((10,) * 12)
    windows = WindowOrder(rows, 20, 0).windows(0)
    stream(load, rows, window=20, batch_size=5).batch(windows[4].start // 5)
    needed = set(windows[4].shards) | set(windows[5].shards)
    assert set(load.asked) <= needed and set(windows[4].shards) <= set(load.asked)


def test_windows_follow_from_the_sizes_alone():
    order = WindowOrder(ROWS, 15, 0)
    for number in range(5):
        windows = order.windows(number)
        assert sorted(one for window in windows for one in window.shards) == list(range(6))
        assert [window.start for window in windows] == np.cumsum(
            [0, *(window.rows for window in windows[:-1])]
        ).tolist()
        assert all(
            window.rows == sum(ROWS[one] for one in window.shards) <= 15 for window in windows
        )
        assert all(
            sorted(order.slots(window).tolist()) == list(range(window.rows)) for window in windows
        )


def test_a_shard_larger_than_the_window_is_one_of_its_own():
    assert [len(window.shards) for window in WindowOrder(ROWS, 1, 0).windows(0)] == [1] * 6


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("rows", [ROWS, (5, 5, 5), (1, 2, 3, 4, 5, 6, 7)])
def test_ranks_share_an_epoch_without_overlap(stream, world, rows):
    sources = [
        stream(rows=rows, batch_size=2 * world, rank=rank, world=world) for rank in range(world)
    ]
    assert len({source.steps_per_epoch for source in sources}) == 1
    for number in range(6):
        parts = [epoch(source, number) for source in sources]
        joined = [one for part in parts for one in part]
        assert {len(part) for part in parts} == {
            sources[0].steps_per_epoch * sources[0].batch_size // world
        }
        assert len(joined) == len(set(joined)) and set(joined) <= everything(rows)


def test_every_rank_has_the_least_whatever_it_gets():
    for world in (1, 2, 3):
        orders = [WindowOrder(ROWS, 15, 0, rank, world) for rank in range(world)]
        had = [
            sum(window.rows for window in order.windows(number))
            for order in orders
            for number in range(50)
        ]
        assert min(had) >= orders[0].min_rows_per_rank
    assert min(had) == orders[0].min_rows_per_rank == 10  # and no less would do


def test_windows_that_no_step_uses_are_not_read(stream):
    rows, load = (10,) * 5, Shards((10,) * 5)
    source = stream(
        load, rows, window=10, batch_size=2, rank=0, world=2
    )  # three shards for rank 0, two for rank 1
    epoch(source)
    source.close()
    first, second = (WindowOrder(rows, 10, 0, 0, 2).windows(number) for number in (0, 1))
    assert source.steps_per_epoch == 20 and load.asked in (
        [*first[0].shards, *first[1].shards, *second[0].shards],
        [*first[0].shards, *first[1].shards],
    )


def test_more_than_there_are_makes_one_batch_of_all(stream):
    source = stream(batch_size=500)
    assert (source.batch_size, source.steps_per_epoch, set(epoch(source))) == (38, 1, everything())


def test_refuses_a_batch_that_ranks_cannot_share():
    with pytest.raises(
        ConfigError,
        match=r"train.batch_size  4 cannot be shared equally by 3 processes  Take 3 or 6",
    ):
        StreamedPairs(Shards(), ROWS, batch_size=4, seed=0, window=15, world=3)


def test_refuses_fewer_shards_than_ranks():
    with pytest.raises(
        ConfigError, match=r"2 shards cannot be shared by 3 processes  Use 2 processes at most"
    ):
        StreamedPairs(Shards(), [5, 5], batch_size=3, seed=0, window=15, world=3)


def test_a_batch_straddles_windows(stream):
    order = WindowOrder(ROWS, 1, 0).windows(0)
    batch = stream(window=1, batch_size=20).batch(0)
    assert {int(z) // 1000 for z in batch.z} == {
        window.shards[0] for window in order if window.start < 20
    }


@pytest.mark.parametrize("window", [1, 15, 1000])
def test_ragged_inputs_are_padded_to_the_longest_of_the_batch(stream, window):
    lengths = {0: 2, 1: 6, 2: 3, 3: 1, 4: 4, 5: 5}
    source = stream(Shards(lengths=lengths), window=window, batch_size=9)
    for step in range(2 * source.steps_per_epoch):
        batch = source.batch(step)
        values, mask = batch.inputs["set"]
        assert values.shape[:2] == mask.shape and mask.dtype == torch.bool
        own = torch.tensor([1 + int(z) % 1000 % lengths[int(z) // 1000] for z in batch.z])
        torch.testing.assert_close(mask, torch.arange(mask.shape[1]) < own[:, None])
        torch.testing.assert_close(values[~mask], torch.zeros_like(values[~mask]))
        assert (values[mask] > 0).all()


@pytest.mark.parametrize(
    "error",
    [CorruptFile("is missing", where="shard-000003.h5"), DiskError("gone"), MemoryError()],
    ids=repr,
)
def test_an_error_of_the_thread_rises_in_batch(stream, error):
    def load(number):
        if number == 3:
            raise error
        return shard(number, ROWS[number])

    source = stream(load, window=1, batch_size=1)
    bad = next(window for window in WindowOrder(ROWS, 1, 0).windows(0) if window.shards == (3,))
    for step in range(bad.start):
        source.batch(step)
    for _ in range(2):  # again, where one asks again
        with pytest.raises(type(error)) as caught:
            source.batch(bad.start)
        assert caught.value is error


def test_a_shard_that_comes_back_is_read(stream):
    broken = {0, 1, 2, 3, 4, 5}

    def load(number):
        if number in broken:
            broken.clear()
            raise CorruptFile("is missing")
        return shard(number, ROWS[number])

    source = stream(load)
    with pytest.raises(CorruptFile):
        source.batch(0)
    assert source.batch(0).z.equal(stream().batch(0).z)


def test_refuses_a_shard_of_another_size(stream):
    with pytest.raises(DataError, match=r"training shard \d  has 2 pairs and should have [37]"):
        stream(lambda number: shard(number, 2)).batch(0)


@dataclass
class Gate:
    """A loader that stops inside the shard after `free` of them, until it is let go."""

    free: int
    inside: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    asked: list[int] = field(default_factory=list)

    def __call__(self, number: int) -> TensorPairs:
        self.asked.append(number)
        if len(self.asked) > self.free:
            self.inside.set()
            assert self.go.wait(WAIT_S)
        return shard(number, 10)


def test_close_ends_the_thread(stream):
    before = live_threads()
    source = stream()
    source.batch(0)
    (thread,) = set(live_threads()) - set(before)
    assert thread.daemon
    source.close()
    source.close()
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="after close"):
        source.batch(0)


def test_close_does_not_wait_for_a_hanging_shard(stream, monkeypatch):
    monkeypatch.setattr("sbiwb.training.prefetch.CLOSE_S", 0.01)
    before, gate = live_threads(), Gate(free=3)
    source = stream(gate, (10,) * 9, window=30)
    source.batch(0)
    assert gate.inside.wait(WAIT_S)
    (thread,) = set(live_threads()) - set(before)
    source.close()
    assert thread.is_alive()  # in the middle of the fourth shard
    gate.go.set()
    thread.join(WAIT_S)
    assert not thread.is_alive() and len(gate.asked) == 4  # the rest of the window is given up


def test_waiting_can_be_broken_off(stream):
    gate = Gate(free=0)

    def check():
        raise Stopped("by a signal")

    source = stream(gate, (10,) * 9, check=check)
    with pytest.raises(Stopped):
        source.batch(0)
    gate.go.set()
    assert source.batch(0).z.equal(stream(Gate(free=99), (10,) * 9).batch(0).z)


def test_a_forgotten_stream_ends_its_thread():
    before = live_threads()
    source = StreamedPairs(Shards(), ROWS, batch_size=4, seed=0, window=15)
    source.batch(0)
    (thread,) = set(live_threads()) - set(before)
    del source
    gc.collect()
    assert not thread.is_alive()


def test_a_jump_gives_up_the_window_on_its_way(stream):
    rows, gate = (10,) * 9, Gate(free=3)
    source = stream(gate, rows, window=30, batch_size=10)
    source.batch(0)
    assert gate.inside.wait(WAIT_S)
    gate.go.set()
    jumped = source.batch(6)  # the third window
    assert jumped.z.equal(stream(Gate(free=99), rows, window=30, batch_size=10).batch(6).z)


class Alive:
    """Lives as long as the tensor it is tied to."""

    def __init__(self, tensor: torch.Tensor) -> None:
        tensor.owner = self


def test_two_windows_and_a_shard_are_alive_at_most(stream, monkeypatch):
    rows, put = (10,) * 12, module._put
    windows, shards = weakref.WeakSet(), weakref.WeakSet()
    counts = []

    def counted_put(whole, part, slots, total):
        result = put(whole, part, slots, total)
        if total == 30:
            windows.add(Alive(result.z))
        return result

    def load(number):
        part = shard(number, 10)
        shards.add(Alive(part.z))
        counts.append((len(windows), len(shards)))
        return part

    monkeypatch.setattr(module, "_put", counted_put)
    source = stream(load, rows, window=30, batch_size=7)
    for step in range(4 * source.steps_per_epoch):
        source.batch(step)
        wait([source._ahead._job.result], WAIT_S)  # the thread gets as far ahead as it ever may
        counts.append((len(windows), len(shards)))
    assert max(count for count, _ in counts) == 2
    assert max(count for _, count in counts) == 1


def test_a_batch_that_is_kept_keeps_no_window(stream):
    batch = stream(Shards(lengths=dict.fromkeys(range(6), 5)), window=1000).batch(0)
    tensors = [batch.z, *batch.inputs["set"], batch.inputs["vector"][0]]
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in tensors)
