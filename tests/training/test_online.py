"""The rolling buffer: no pair more often than asked, none lost, and the same pairs after a
resume."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pytest
import torch

from sbiwb.errors import ConfigError, SimulatorError, Stopped
from sbiwb.training.online import MIN_BATCHES, REGION, Fresh, ReplayBuffer, SimulationFeed
from sbiwb.training.sources import TensorPairs

BLOCK = 8


def pairs_of(block: int, *, lengths: bool = False) -> TensorPairs:
    """BLOCK pairs whose z says which they are; with lengths, the sets of block b have 1 + b % 5
    members."""
    z = torch.arange(BLOCK * block, BLOCK * (block + 1), dtype=torch.float32)[:, None]
    if not lengths:
        return TensorPairs(z, {"x": (2 * z, None)})
    members = 1 + block % 5
    return TensorPairs(
        z,
        {
            "s": (
                (z[:, :, None] + 1).repeat(1, members, 1),
                torch.ones(BLOCK, members, dtype=torch.bool),
            ),
            "x": (2 * z, None),
        },
    )


class Blocks:
    """A feed that is `ahead` blocks ahead at every call, or never."""

    def __init__(
        self,
        first: int,
        *,
        ahead: bool = False,
        step: int = 1,
        lengths: bool = False,
        fails_at: int | None = None,
    ) -> None:
        self.block, self.ahead, self.step, self.lengths, self.fails_at = (
            first,
            ahead,
            step,
            lengths,
            fails_at,
        )
        self.drawn: list[int] = []
        self.closed = 0

    def get(self, timeout_s: float) -> Fresh | None:
        if timeout_s == 0 and not self.ahead:
            return None
        if self.block == self.fails_at:
            raise SimulatorError("broke")
        self.drawn.append(self.block)
        self.block += self.step
        return Fresh(pairs_of(self.drawn[-1], lengths=self.lengths), self.block, failed=1)

    def close(self) -> None:
        self.closed += 1


def source_of(
    *, buffer: int = 64, batch_size: int = 8, uses: int = 3, **more: Any
) -> tuple[ReplayBuffer, list[Blocks]]:
    """A source, and the feeds it has opened."""
    place = {name: more.pop(name) for name in ("rank", "world") if name in more}
    check = {name: more.pop(name) for name in ("check",) if name in more}
    feeds: list[Blocks] = []

    def opened(first: int) -> SimulationFeed:
        feeds.append(Blocks(first, step=place.get("world", 1), **more))
        return feeds[-1]

    return ReplayBuffer(
        opened, batch_size=batch_size, buffer=buffer, uses=uses, seed=5, **place, **check
    ), feeds


def ids(batch: TensorPairs) -> list[int]:
    return [int(one) for one in batch.z[:, 0]]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(
    ("buffer", "batch_size", "uses"), [(64, 8, 3), (8, 8, 2), (5, 8, 1), (100, 7, 8), (4, 2, 5)]
)
def test_no_pair_is_used_too_often_nor_twice_in_a_batch(ahead, buffer, batch_size, uses):
    source, _ = source_of(buffer=buffer, batch_size=batch_size, uses=uses, ahead=ahead)
    seen: Counter[int] = Counter()
    for step in range(150):
        batch = source.batch(step)
        assert len(set(ids(batch))) == source.batch_size == min(batch_size, buffer)
        assert torch.equal(batch.inputs["x"][0], 2 * batch.z)
        assert source.alive <= buffer
        seen.update(ids(batch))
    assert max(seen.values()) <= uses


def test_a_slow_simulator_is_used_up_and_training_waits():
    source, feeds = source_of(uses=3)
    seen = Counter(one for step in range(400) for one in ids(source.batch(step)))
    assert [one for one in range(BLOCK * 100) if seen[one] != 3] == [], (
        "a pair with uses left gave way"
    )
    assert len(feeds[0].drawn) * BLOCK <= 400 * 8 / 3 + 64


def begun(**more: Any) -> tuple[ReplayBuffer, list[Blocks]]:
    source, feeds = source_of(**more)
    source.batch(0)
    return source, feeds


def test_a_quick_simulator_replaces_the_oldest_pairs():
    source, (feed,) = begun(ahead=True, uses=100)
    for step in range(1, 50):
        drawn = ids(source.batch(step))
        assert min(drawn) >= BLOCK * len(feed.drawn) - 64
        assert len(feed.drawn) == max(MIN_BATCHES, step + 1), (
            "a batch's worth of fresh pairs a step"
        )


def test_of_long_pieces_no_more_than_a_batch_a_step_is_taken():
    source, feeds = source_of(ahead=True, buffer=256, batch_size=3)
    for step in range(100):
        source.batch(step)
    assert 300 <= len(feeds[0].drawn) * BLOCK <= 300 + MIN_BATCHES * 3 + BLOCK


def test_training_begins_with_a_few_batches_and_the_buffer_grows_to_its_half():
    source, (feed,) = begun(buffer=200, uses=4)
    assert len(feed.drawn) == MIN_BATCHES
    for step in range(1, 100):
        source.batch(step)
        assert source.alive >= min(100, source.facts()["simulated"] // 2) - 8  # type: ignore[operator]
    assert source.alive >= 100 - 8


def test_a_protocol_source():
    source, _ = source_of(buffer=64, batch_size=8)
    assert (source.pairs, source.batch_size, source.steps_per_epoch) == (None, 8, 8)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("stop", [1, 7, 40])
def test_a_resumed_run_equals_the_undisturbed_one(stop, lengths):
    undisturbed, _ = source_of(lengths=lengths)
    expected = [undisturbed.batch(step) for step in range(80)]
    first, (feed,) = begun(lengths=lengths)
    for step in range(1, stop):
        first.batch(step)
    second, feeds = source_of(lengths=lengths)
    second.load(through_a_file(first.state()))
    assert second.facts() == first.facts()
    for step in range(stop, 80):
        assert_equal(second.batch(step), expected[step])
    drawn = feed.drawn + feeds[0].drawn
    assert drawn == list(range(len(drawn))), "a block was drawn twice, or left out"


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def assert_equal(a: TensorPairs, b: TensorPairs) -> None:
    assert torch.equal(a.z, b.z)
    for name, (values, mask) in a.inputs.items():
        other, other_mask = b.inputs[name]
        assert torch.equal(values, other)
        assert (mask is None and other_mask is None) or torch.equal(mask, other_mask)


def test_a_state_before_the_first_step_and_one_saved_twice():
    source, _ = source_of()
    again, feeds = source_of()
    again.load(through_a_file(source.state()))
    assert again.batch(0).z.shape == (8, 1) and feeds[0].drawn[0] == 0
    state = again.state()
    for step in range(1, 20):
        again.batch(step)
    third, _ = source_of()
    third.load(state)
    assert third.facts()["simulated"] == MIN_BATCHES * BLOCK, "a state changed after it was taken"


def test_going_back_in_the_same_run():
    source, _ = begun()
    state, expected = source.state(), source.batch(1)
    for step in range(2, 40):
        source.batch(step)
    source.load(state)
    assert source.facts()["simulated"] == MIN_BATCHES * BLOCK
    assert_equal(source.batch(1), expected)


def test_a_state_holds_no_more_than_the_buffer():
    source, _ = begun(buffer=4096)
    buffer = io.BytesIO()
    torch.save(source.state(), buffer)
    assert buffer.tell() < 10_000


def test_sets_of_different_size_are_padded_to_the_longest_so_far():
    source, (feed,) = begun(lengths=True, buffer=80, ahead=True)
    for step in range(1, 30):
        batch = source.batch(step)
        values, mask = batch.inputs["s"]
        assert mask is not None
        members = 1 + (batch.z[:, 0].long() // BLOCK) % 5
        assert torch.equal(mask.sum(1), members)
        assert torch.equal(values[:, :, 0], torch.where(mask, batch.z + 1, 0.0))
        assert values.shape[1] == min(5, len(feed.drawn)), step


def test_ranks_draw_other_blocks_and_share_batch_and_buffer():
    seen: list[set[int]] = []
    for rank in range(3):
        source, feeds = source_of(rank=rank, world=3, batch_size=8, buffer=65)
        batches = [source.batch(step) for step in range(20)]
        assert {len(batch) for batch in batches} == {len(range(rank, 8, 3))}
        assert all(block % 3 == rank for block in feeds[0].drawn)
        assert source.alive <= len(range(rank, 65, 3))
        seen.append({one for batch in batches for one in ids(batch)})
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_the_state_of_another_rank_begins_at_blocks_that_nobody_drew():
    zero, _ = begun(rank=0, world=2)
    drawn: list[list[int]] = []
    for _ in range(3):  # stopped and resumed again and again, from what rank 0 saved
        one, feeds = source_of(rank=1, world=2)
        one.load(zero.state())
        one.batch(0)
        drawn.append(feeds[0].drawn)
        again, _ = source_of(rank=0, world=2)
        again.load(zero.state())
        zero = again
    assert [blocks[0] for blocks in drawn] == [begun * REGION + 1 for begun in (2, 3, 4)]
    alone, feeds = source_of()
    alone.load(zero.state())
    alone.batch(0)
    assert feeds[0].drawn[0] == 5 * REGION


def test_what_fails_in_the_feed_rises_and_uses_nothing():
    source, _ = source_of(fails_at=MIN_BATCHES + 1)
    source.batch(0)
    with pytest.raises(SimulatorError, match="broke"):
        for step in range(1, 100):
            before = source.state()["left"].clone()
            source.batch(step)
    assert torch.equal(source.state()["left"], before)


def test_check_may_stop_a_wait():
    calls = []

    def check() -> None:
        calls.append(0)
        if len(calls) == 2:
            raise Stopped("now")

    source, _ = source_of(check=check)
    with pytest.raises(Stopped):
        source.batch(0)
    assert source.facts()["simulated"] == 2 * BLOCK
    assert len(ids(source.batch(0))) == 8, "it can go on"


def test_facts_and_close():
    source, feeds = begun()
    facts = source.facts()
    assert (facts["simulated"], facts["failed"]) == (MIN_BATCHES * BLOCK, MIN_BATCHES) and facts[
        "waited_s"
    ] == pytest.approx(0, abs=1)
    source.close()
    source.close()
    assert feeds[0].closed == 1
    source_of()[0].close()


def test_a_batch_too_small_for_its_processes_is_refused():
    with pytest.raises(ConfigError, match="2 pairs are too few for 4 processes"):
        source_of(batch_size=2, rank=0, world=4)


def test_pieces_longer_than_the_buffer():
    source, _ = source_of(buffer=3, batch_size=2)
    assert all(len(set(ids(source.batch(step)))) == 2 for step in range(30))
