"""Fresh pairs while training: blocks of the split `online`, simulated and adapted by workers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.contracts import Executor
from sbiwb.errors import ConfigError, SbiwbError
from sbiwb.executors.pool import PoolExecutor, Stream
from sbiwb.executors.serial import SerialExecutor
from sbiwb.project.adapter import Adapter, restore_adapter
from sbiwb.project.opening import open_run
from sbiwb.records import Pairs
from sbiwb.simulation.blocks import FailureCounter, simulate_block
from sbiwb.training.online import MIN_BATCHES, Fresh, SimulationFeed
from sbiwb.training.sources import TensorPairs

SPLIT = "online"
MIN_TASK_S = 0.05  # handing a task over and its result back costs about a millisecond

OpenFeed = Callable[[int], SimulationFeed]
"""Begins to simulate at a block."""
Task = dict[str, Any]


@dataclass(frozen=True)
class BlockSource:
    """What is simulated.

    Args:
        run: A run folder with the plan and the config of this training.
        block_size: Pairs of a block.
        seconds_per_row: Of one worker, as the preflight measured.
        max_rate: Largest tolerated share of failures.
    """

    run: Path
    block_size: int
    seconds_per_row: float
    max_rate: float

    def blocks_per_task(self, share: int) -> int:
        """As many as make a task worth handing over, but a few batches at most.

        Args:
            share: Pairs of a batch in one process.
        """
        worth = math.ceil(MIN_TASK_S / max(self.seconds_per_row * self.block_size, 1e-9))
        return max(1, min(worth, MIN_BATCHES * share // self.block_size))

    def tasks(self, first_block: int, per_task: int, step: int) -> Iterator[Task]:
        """Tasks without an end.

        Args:
            first_block: Of the first task.
            per_task: Blocks of a task.
            step: From one block of this process to the next.
        """
        for start in count(first_block, per_task * step):
            blocks = list(range(start, start + per_task * step, step))
            yield {"run": str(self.run), "blocks": blocks}


def online_feed(
    source: BlockSource,
    adapter: Adapter,
    executor: Executor,
    *,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
) -> OpenFeed:
    """What a `ReplayBuffer` begins simulating with.

    Args:
        source: What is simulated.
        adapter: Fitted on the training pairs.
        executor: Who simulates: a pool's workers ahead of training, or this process when pairs are
            missing.
        batch_size: Pairs a step, those of all ranks together.
        rank: Which process this is.
        world: Processes in all; this one draws every world-th block.

    Raises:
        ConfigError: This executor cannot go on while training does.
    """
    share = -(-batch_size // world)
    per_task = source.blocks_per_task(share)
    work = partial(simulate_piece, json.dumps(adapter.state()))
    if isinstance(executor, PoolExecutor):
        ahead = 2 * executor.workers + -(-share // (per_task * source.block_size))
        return lambda first: Ahead(
            executor.stream(work, source.tasks(first, per_task, world), ahead=ahead),
            counter=FailureCounter(source.max_rate),
            step=world,
        )
    if isinstance(executor, SerialExecutor):
        return lambda first: InStep(
            map(work, source.tasks(first, per_task, world)),
            counter=FailureCounter(source.max_rate),
            step=world,
        )
    raise ConfigError(
        "machine.executor  cannot simulate while training",
        todo="Use executor: pool or serial with train.regime: online.",
    )


@dataclass(frozen=True)
class Piece:
    """Some blocks as the network reads them.

    Args:
        blocks: Their numbers.
        z: Unconstrained parameters, (N, D) float32.
        inputs: Values and mask of each input.
        simulated: Simulations that were made.
        failed: Failures among them, which were replaced.
        example: Of a failure; empty where there was none.
    """

    blocks: Sequence[int]
    z: np.ndarray
    inputs: dict[str, tuple[np.ndarray, np.ndarray | None]]
    simulated: int
    failed: int
    example: str

    def fresh(self, counter: FailureCounter, step: int) -> Fresh:
        """The pairs as tensors, once their failures are counted."""
        counter.add(self.simulated, self.failed, self.example)
        pairs = TensorPairs.of(self.z, self.inputs, "cpu")
        return Fresh(pairs, self.blocks[-1] + step, self.failed)


class Ahead:
    """A `SimulationFeed` whose blocks other processes make in the meantime.

    Args:
        stream: Tasks and what `simulate_piece` made of them, in the order of blocks.
        counter: Counts failures, and stops when there are too many.
        step: From one block of this rank to the next.
    """

    def __init__(self, stream: Stream[Piece], *, counter: FailureCounter, step: int) -> None:
        self._stream, self._counter, self._step = stream, counter, step

    def get(self, timeout_s: float) -> Fresh | None:
        """The next pairs, where they come in time."""
        done = self._stream.get(timeout_s)
        if done is None:
            return None
        _, piece = done
        if isinstance(piece, SbiwbError):
            raise piece
        return piece.fresh(self._counter, self._step)

    def close(self) -> None:
        """Ends the processes, whatever they do."""
        self._stream.close()


class InStep:
    """A `SimulationFeed` that simulates in this process, only when pairs are missing.

    So a resumed run is the same to the last bit.

    Args:
        pieces: What `simulate_piece` makes when it is asked, in the order of blocks.
        counter: Counts failures, and stops when there are too many.
        step: From one block of this rank to the next.
    """

    def __init__(self, pieces: Iterator[Piece], *, counter: FailureCounter, step: int) -> None:
        self._pieces, self._counter, self._step = pieces, counter, step

    def get(self, timeout_s: float) -> Fresh | None:
        """The next pairs, however long they take; none where there is no time at all."""
        if timeout_s <= 0:
            return None
        return next(self._pieces).fresh(self._counter, self._step)

    def close(self) -> None:
        """Nothing runs."""


def simulate_piece(adapter_state: str, task: Task) -> Piece:
    """Some blocks, simulated and adapted, in any process of this machine.

    Args:
        adapter_state: As JSON.
        task: run, blocks (their numbers).
    """
    run, blocks = task["run"], task["blocks"]
    project, adapter = open_run(run), _adapter(run, adapter_state)
    counter = FailureCounter(project.config.simulate.failures.max_rate)
    problem, size = project.problem, project.block_size
    parts = [simulate_block(problem, SPLIT, block, size, counter)[0] for block in blocks]
    pairs = Pairs.join(parts)
    return Piece(
        blocks=blocks,
        z=adapter.z(project.prior.stack(pairs.theta)).astype(np.float32),
        inputs=adapter.arrays(pairs),
        simulated=counter.simulated,
        failed=counter.failed,
        example=next(reversed(counter.examples), ""),
    )


@lru_cache(maxsize=1)
def _adapter(run: str, state: str) -> Adapter:
    """Restored once a process."""
    project = open_run(run)
    return restore_adapter(project.config.model, project.prior, json.loads(state))
