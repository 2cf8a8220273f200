"""Training pairs made while training: a rolling buffer that fresh pairs flow through.

Each pair leaves it in a limited number of batches. Fresh pairs fill the places of used-up ones, and
those of the oldest where none is used up: where simulation is faster than training, pairs are used
less often than allowed. Where it is slower, training waits rather than use a pair too often.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from sbiwb.errors import ConfigError
from sbiwb.seeds import generator
from sbiwb.training.sources import BatchSource, Inputs, SourceState, TensorPairs

MIN_BATCHES = (
    4  # that a batch is drawn from, at least: fewer would come again and again almost unchanged
)
GLANCE_S = 0.2  # between two looks at `check` while waiting
REGION = 1 << 40  # blocks that one beginning has for itself


@dataclass(frozen=True)
class Fresh:
    """Some pairs just simulated.

    Args:
        pairs: On any device.
        next_block: The first block of this rank after them.
        failed: Simulations that failed on the way and were replaced.
    """

    pairs: TensorPairs
    next_block: int
    failed: int = 0


class SimulationFeed(Protocol):
    """Simulates block after block; the order of what it gives never depends on timing."""

    def get(self, timeout_s: float) -> Fresh | None:
        """The next pairs, where they come in time; with 0, only what costs no waiting."""
        ...

    def close(self) -> None:
        """Ends threads and processes, promptly."""
        ...


class ReplayBuffer(BatchSource):
    """A `BatchSource` without an end: a buffer of fresh pairs, each used `uses` times at most.

    A batch is drawn without replacement among the pairs with uses left. There are always at least a
    few batches of these, and half of all pairs simulated so far up to half of the buffer; training
    waits for them. So the buffer grows also under a slow simulator.

    Args:
        feed: Begins simulating at a block of this rank.
        batch_size: Pairs a step, those of all ranks together; `buffer` at most.
        buffer: Pairs kept at most, those of all ranks together.
        uses: Batches that a pair is in, at most.
        seed: `train.seed`; a step's rows depend on it, the step and what the buffer holds.
        device: Where the buffer lies.
        rank: Which process this is.
        world: Processes in all; each has a buffer and simulations of its own.
        check: Called again and again while waiting; may raise.

    Warning:
        A resumed run goes on with the pairs it had and never draws a block twice, but when blocks
        arrive depends on the machine: it is the same to the last bit only with a feed that is never
        ahead (in this process).
    """

    pairs: int | None = None

    def __init__(
        self,
        feed: Callable[[int], SimulationFeed],
        *,
        batch_size: int,
        buffer: int,
        uses: int,
        seed: int,
        device: str = "cpu",
        rank: int = 0,
        world: int = 1,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.batch_size = min(batch_size, buffer)
        if self.batch_size < world:
            raise ConfigError(
                f"train.batch_size  {self.batch_size} pairs are too few for {world} processes",
                todo="Make it larger.",
            )
        self.steps_per_epoch = buffer // self.batch_size
        self.check = check
        self._open = feed
        self._feed: SimulationFeed | None = None
        self._closed = False
        self._uses, self._seed, self._device, self._place = uses, seed, device, (rank, world)
        capacity = len(range(rank, buffer, world))
        self._share = len(range(rank, self.batch_size, world))
        self._kept: TensorPairs | None = None  # (capacity, ...)
        self._left = np.zeros(capacity, np.int64)  # uses; 0 also where nothing was ever put
        self._born = np.zeros(capacity, np.int64)  # number of the pair among all simulated ones
        self._next_block, self._begun = rank, 1
        self._welcome = 0  # pairs that are taken without need
        self._simulated, self._failed, self._waited_s = 0, 0, 0.0

    @property
    def alive(self) -> int:
        """Pairs with uses left."""
        return int(np.count_nonzero(self._left))

    def facts(self) -> dict[str, object]:
        """For the progress line, of this rank: pairs, failures, and seconds waited for them."""
        facts: dict[str, object] = {"simulated": self._simulated}
        if self._failed:
            facts["failed"] = self._failed
        return {**facts, "waited_s": round(self._waited_s, 1)}

    def batch(self, step: int) -> TensorPairs:
        """This rank's share of the pairs of a step, on its device.

        Raises:
            SbiwbError: Simulating failed, or `check` says to stop; no pair is used then.
        """
        self._refill()
        rng = generator(self._seed, "batch", step, self._place[0])
        rows = rng.choice(np.flatnonzero(self._left), self._share, replace=False)
        self._left[rows] -= 1
        return self._buffer.take(torch.from_numpy(rows).to(self._device))

    @property
    def _buffer(self) -> TensorPairs:
        if self._kept is None:
            raise RuntimeError("the buffer is empty")
        return self._kept

    @property
    def _min_alive(self) -> int:
        """Pairs with uses left, before a batch is drawn.

        Half of the buffer at most, so that fresh ones find free places.
        """
        wanted = max(MIN_BATCHES * self._share, self._simulated // 2)
        return max(self._share, min(len(self._left) // 2, wanted))

    def _refill(self) -> None:
        """Takes a batch's worth of what is there, and waits for what must be there.

        More than a batch's worth would go unused.
        """
        if self._feed is None:
            self._feed = self._open(self._next_block)
        self._welcome = min(self._welcome, 0) + self._share
        while True:
            if self.alive < self._min_alive:
                self._wait(self._feed)
            elif self._welcome <= 0 or not self._take(self._feed):
                return

    def _wait(self, feed: SimulationFeed) -> None:
        """Waits a moment for fresh pairs."""
        start = time.monotonic()
        fresh = feed.get(GLANCE_S)
        self._waited_s += time.monotonic() - start
        if fresh is not None:
            self._put(fresh)
        self.check()

    def _take(self, feed: SimulationFeed) -> bool:
        """Takes fresh pairs that are there already; whether there were any."""
        fresh = feed.get(0.0)
        if fresh is None:
            return False
        self._put(fresh)
        return True

    def _put(self, fresh: Fresh) -> None:
        """Into the places of used-up pairs first, of the oldest then."""
        pairs = fresh.pairs[: len(self._left)]
        n = len(pairs)
        if self._kept is None:
            self._kept = _empty(pairs, len(self._left), self._device)
        places = np.argsort(np.where(self._left > 0, self._born, -1), kind="stable")[:n]
        self._kept = _written(self._kept, torch.from_numpy(places), pairs)
        self._left[places] = self._uses
        self._born[places] = self._simulated + np.arange(n)
        self._simulated += n
        self._welcome -= n
        self._failed += fresh.failed
        self._next_block = fresh.next_block

    def state(self) -> SourceState:
        """The buffer, its counts, and where simulating goes on: what one rank needs.

        Others take it as a sign to begin elsewhere.
        """
        used = int(np.flatnonzero(self._born + self._left).max(initial=-1)) + 1
        z, inputs = None, dict[str, list[Tensor | None]]()
        if self._kept is not None:
            # copies, which are saved without the rest of what they are a part of
            kept = self._kept[:used].reshaped(torch.clone)
            z, inputs = kept.z, {name: list(pair) for name, pair in kept.inputs.items()}
        return {
            "place": list(self._place),
            "z": z,
            "inputs": inputs,
            "left": torch.from_numpy(self._left[:used].copy()),
            "born": torch.from_numpy(self._born[:used].copy()),
            "next_block": self._next_block,
            "begun": self._begun,
            "simulated": self._simulated,
            "failed": self._failed,
            "waited_s": self._waited_s,
        }

    def load(self, state: SourceState) -> None:
        """Goes back to a saved state.

        That of another rank, or of another number of ranks, begins anew at blocks nobody has drawn.
        """
        self._begun = state["begun"] + 1
        self._kept, self._left[:], self._born[:] = None, 0, 0
        if state["place"] != list(self._place):
            self._next_block = self._begun * REGION + self._place[0]
            return
        self._next_block = state["next_block"]
        self._simulated, self._failed = state["simulated"], state["failed"]
        self._waited_s = state["waited_s"]
        if state["z"] is not None:
            self._load_pairs(state)

    def _load_pairs(self, state: SourceState) -> None:
        n = len(state["z"])
        self._left[:n], self._born[:n] = state["left"].cpu().numpy(), state["born"].cpu().numpy()
        inputs = {name: (values, mask) for name, (values, mask) in state["inputs"].items()}
        pairs = TensorPairs(state["z"], inputs)
        self._kept = _written(_empty(pairs, len(self._left), self._device), torch.arange(n), pairs)

    def close(self) -> None:
        """Ends the simulating; a second time does nothing."""
        if self._feed is not None and not self._closed:
            self._closed = True
            self._feed.close()


def _empty(like: TensorPairs, n: int, device: str) -> TensorPairs:
    """Room for n such pairs, zero."""
    return like.reshaped(
        lambda tensor: torch.zeros((n, *tensor.shape[1:]), dtype=tensor.dtype, device=device)
    )


def _written(kept: TensorPairs, places: Tensor, pairs: TensorPairs) -> TensorPairs:
    """`kept` with these pairs at these places, in its own memory unless a longer set arrives."""
    places = places.to(kept.z.device)
    kept.z.index_copy_(0, places, pairs.z.to(kept.z.device))
    inputs: Inputs = {}
    for name, (values, mask) in kept.inputs.items():
        fresh, fresh_mask = pairs.inputs[name]
        if mask is not None and fresh_mask is not None:
            mask = _merged(mask, fresh_mask, places)
        inputs[name] = _merged(values, fresh, places), mask
    return TensorPairs(kept.z, inputs)


def _merged(old: Tensor, new: Tensor, places: Tensor) -> Tensor:
    """Rows put into others, either padded with zeros to the length of the longer.

    Args:
        old: (N, M', ...).
        new: (n, M, ...).
        places: Of the new rows among the old, (n,).
    """
    if old.ndim > 1 and old.shape[1] != new.shape[1]:
        length = max(old.shape[1], new.shape[1])
        old, new = _lengthened(old, length), _lengthened(new, length)
    return old.index_copy_(0, places, new.to(old.device))


def _lengthened(tensor: Tensor, length: int) -> Tensor:
    return pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, length - tensor.shape[1]))
