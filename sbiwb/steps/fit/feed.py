"""Fresh pairs while training: tasks of blocks of the split `online` for worker processes, and what the network can read comes back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import count
from typing import Any

import numpy as np

from sbiwb.contracts import Executor
from sbiwb.errors import ConfigError, SbiwbError
from sbiwb.executors.pool import PoolExecutor, Stream
from sbiwb.executors.serial import SerialExecutor
from sbiwb.files import read_json
from sbiwb.project.adapter import Adapter, restore_adapter
from sbiwb.project.opening import open_run
from sbiwb.project.project import Project
from sbiwb.records import Pairs
from sbiwb.simulation.blocks import FailureCounter, simulate_block
from sbiwb.training.online import FEW, Fresh, SimulationFeed
from sbiwb.training.sources import TensorPairs

SPLIT = "online"
TASK_S = 0.05  # a task should cost this at least: handing it over and its result back costs about a millisecond


def online_feed(
    project: Project,
    adapter: Adapter,
    executor: Executor,
    *,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
) -> Callable[[int], SimulationFeed]:
    """What `RollingPairs` begins simulating with; the run folder must hold the plan and this very config.

    Args:
        project: What is simulated.
        adapter: Fitted on the training pairs.
        executor: Who simulates: a pool's workers ahead of training, or this process when pairs are missing.
        batch_size: Pairs a step, those of all ranks together.
        rank: Which process this is.
        world: Processes in all; this one draws every world-th block.

    Raises:
        ConfigError: This executor cannot go on while training does.
    """
    share = -(-batch_size // world)
    per_task = _blocks_per_task(project, share)
    work = partial(simulate_piece, json.dumps(adapter.state()))

    def tasks(first_block: int) -> Iterator[dict[str, Any]]:
        for start in count(first_block, per_task * world):
            yield {
                "run": str(project.run.path),
                "blocks": [start + world * k for k in range(per_task)],
            }

    max_rate = project.config.simulate.failures.max_rate
    if isinstance(executor, PoolExecutor):
        ahead = 2 * executor.workers + -(-share // (per_task * project.block_size))
        return lambda first: Ahead(
            executor.stream(work, tasks(first), ahead=ahead),
            tally=FailureCounter(max_rate),
            step=world,
        )
    if isinstance(executor, SerialExecutor):
        # One task after the other, each when its result is asked for: they need no end.
        return lambda first: InStep(
            executor.run(work, tasks(first)),  # type: ignore[arg-type]
            tally=FailureCounter(max_rate),
            step=world,
        )
    raise ConfigError(
        "machine.executor  cannot simulate while training",
        todo="Use executor: pool or serial with train.regime: online.",
    )


def _blocks_per_task(project: Project, share: int) -> int:
    """As many as make a task worth handing over, by the time that the preflight measured; a few batches at most."""
    seconds = read_json(project.data_run.plan)["seconds_per_row"] * project.block_size
    worth = math.ceil(TASK_S / max(seconds, 1e-9))
    return max(1, min(worth, FEW * share // project.block_size))


class Ahead:
    """A `SimulationFeed` whose blocks other processes make in the meantime.

    Args:
        stream: Tasks and what `simulate_piece` made of them, in the order of blocks.
        tally: Counts failures, and stops when there are too many.
        step: From one block of this rank to the next.
    """

    def __init__(self, stream: Stream, *, tally: FailureCounter, step: int) -> None:
        self._stream, self._tally, self._step = stream, tally, step

    def get(self, timeout_s: float) -> Fresh | None:
        """The next pairs, where they come in time."""
        found = self._stream.get(timeout_s)
        return None if found is None else _fresh(*found, self._tally, self._step)

    def close(self) -> None:
        """Ends the processes, whatever they do."""
        self._stream.close()


class InStep:
    """A `SimulationFeed` that simulates in this process, only when pairs are missing; so a resumed run is the same to the last bit.

    Args:
        results: Tasks and what `simulate_piece` makes of them when it is asked, in the order of blocks.
        tally: Counts failures, and stops when there are too many.
        step: From one block of this rank to the next.
    """

    def __init__(
        self, results: Iterator[tuple[dict[str, Any], Any]], *, tally: FailureCounter, step: int
    ) -> None:
        self._results, self._tally, self._step = results, tally, step

    def get(self, timeout_s: float) -> Fresh | None:
        """The next pairs, however long they take; none where there is no time at all."""
        return _fresh(*next(self._results), self._tally, self._step) if timeout_s > 0 else None

    def close(self) -> None:
        """Nothing runs."""


def _fresh(task: dict[str, Any], result: Any, tally: FailureCounter, step: int) -> Fresh:
    if isinstance(result, SbiwbError):
        raise result
    tally.add(result["simulated"], result["failed"], result["example"])
    return Fresh(
        TensorPairs.of(result["z"], result["inputs"], "cpu"),
        task["blocks"][-1] + step,
        result["failed"],
    )


def simulate_piece(adapter_state: str, task: dict[str, Any]) -> dict[str, Any]:
    """Some blocks, simulated and adapted, in any process of this machine.

    Args:
        adapter_state: As JSON.
        task: run, blocks (their numbers).

    Returns:
        z (N, D), inputs by name (values, mask), and how many simulations were made and failed, with an example.
    """
    project = open_run(task["run"])
    problem, tally = project.problem, FailureCounter(project.config.simulate.failures.max_rate)
    parts = [
        simulate_block(problem, SPLIT, block, project.block_size, tally)[0]
        for block in task["blocks"]
    ]
    pairs, adapter = Pairs.join(parts), _adapter(task["run"], adapter_state)
    return {
        "z": adapter.z(project.prior.stack(pairs.theta)).astype(np.float32),
        "inputs": adapter.arrays(pairs),
        "simulated": tally.simulated,
        "failed": tally.failed,
        "example": tally.examples[-1] if tally.examples else "",
    }


@lru_cache(maxsize=1)
def _adapter(run: str, state: str) -> Adapter:
    """Restored once a process."""
    project = open_run(run)
    return restore_adapter(project.config.model, project.prior, json.loads(state))
