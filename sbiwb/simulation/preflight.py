"""A few simulations before many: what comes out, how long it takes, and whether twice the same."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from sbiwb.errors import SimulatorError
from sbiwb.records import Pairs, Ragged, Variable, as_ragged
from sbiwb.simulation.blocks import Problem, simulate_block
from sbiwb.simulation.failures import MEMORY, TIMEOUT, Failure, FailureCounter
from sbiwb.simulation.layout import Layout, cast_columns, layout_of, values_of
from sbiwb.simulation.source import SimulatorSource

BATCHED_ROWS = 16  # fixed, because the layout must not depend on the clock
SINGLE_ROWS = 4
QUICK_S = 0.2  # a preflight below that says little about the time of a block


@dataclass(frozen=True)
class Preflight:
    """What a few simulations showed.

    Args:
        layout: Shape and dtype of each observable.
        seconds_per_row: Of one worker.
        bytes_per_row: On disk, by the types that the simulator returned.
        failure_rate: Share of failed simulations among these few.
        example: The pairs themselves.
    """

    layout: Layout
    seconds_per_row: float
    bytes_per_row: float
    failure_rate: float
    example: Pairs


def preflight(problem: Problem, block_size: int) -> Preflight:
    """Simulates a few pairs twice.

    Raises:
        SimulatorError: The same seed gave different data: the file draws from elsewhere.
        FailureRateError: All of them failed.
    """
    rows = _rows(problem)
    pairs, failures = _simulate(replace(problem, layout=None), rows)
    layout = layout_of(pairs.x, problem.missing)
    _check_missing(problem, layout)
    problem = replace(problem, layout=layout)
    start = time.perf_counter()
    again, failures_again = _simulate(problem, rows)
    seconds = (time.perf_counter() - start) / rows  # the first time may import and compile
    if not _depends_on_clock([*failures, *failures_again]):
        _compare(problem, pairs, again)
    if seconds * rows < QUICK_S:
        seconds = _time_block(problem, block_size)
    return Preflight(
        layout,
        seconds_per_row=seconds,
        bytes_per_row=_bytes(pairs) / rows,
        failure_rate=len(failures) / (rows + len(failures)),
        example=replace(pairs, x=cast_columns(layout, pairs.x)),
    )


def _rows(problem: Problem) -> int:
    if problem.simulator.batched:
        return BATCHED_ROWS
    return SINGLE_ROWS


def _simulate(problem: Problem, rows: int) -> tuple[Pairs, list[Failure]]:
    return simulate_block(problem, "preflight", 0, rows, FailureCounter(max_rate=1.0))


def _check_missing(problem: Problem, layout: Layout) -> None:
    unknown = sorted(set(problem.missing) - set(layout))
    if unknown:
        raise SimulatorError(
            f"does not return {', '.join(unknown)}, which problem.missing names",
            where=problem.simulator.source.line(),
            todo=f"It returns: {', '.join(layout)}.",
        )


def _time_block(problem: Problem, block_size: int) -> float:
    start = time.perf_counter()
    simulate_block(problem, "preflight", 1, block_size, FailureCounter(1.0))
    return (time.perf_counter() - start) / block_size


def _depends_on_clock(failures: Iterable[Failure]) -> bool:
    """Whether the same seed need not fail again, so that other pairs may have replaced it."""
    return any(failure.kind in (TIMEOUT, MEMORY) for failure in failures)


def _compare(problem: Problem, first: Pairs, second: Pairs) -> None:
    """Refuses a simulator that gave two different results for the same seeds."""
    for name in first.x:
        if not _same(first.x[name], second.x[name]):
            raise _not_repeated(problem.simulator.source, name)


def _not_repeated(source: SimulatorSource, name: str) -> SimulatorError:
    return SimulatorError(
        f"gave two different '{name}' for the same parameters and seed: "
        "it uses a random generator of its own",
        where=source.line(),
        todo=source.seed_advice,
    )


def _same(first: Variable, second: Variable) -> bool:
    if isinstance(first, Ragged) or isinstance(second, Ragged):
        first, second = as_ragged(first), as_ragged(second)
        if not np.array_equal(first.lengths, second.lengths):
            return False
    return np.array_equal(values_of(first), values_of(second), equal_nan=True)


def _bytes(pairs: Pairs) -> int:
    columns = [*pairs.theta.values(), *pairs.context.values(), *pairs.x.values()]
    return sum(values_of(column).nbytes for column in columns)
