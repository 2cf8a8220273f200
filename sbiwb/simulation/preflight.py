"""A few simulations before many: what comes out, how long it takes, and whether the same seed gives the same data."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from sbiwb.errors import SimulatorError
from sbiwb.records import Pairs, Ragged, Variable
from sbiwb.simulation.blocks import FailureCounter, Problem, simulate_block
from sbiwb.simulation.layout import Layout, layout_of

ROWS = {
    True: 16,
    False: 4,
}  # batched or not; fixed, because the layout must not depend on the clock
QUICK_S = 0.2


@dataclass(frozen=True)
class Preflight:
    """What a few simulations showed.

    Args:
        layout: Shape and dtype of each observable.
        seconds_per_row: Of one worker.
        bytes_per_row: On disk.
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
        SimulatorError: The same seed gave different data: the file uses a random generator of its own.
        FailureRateError: All of them failed.
    """
    rows, tally = ROWS[problem.simulator.batched], FailureCounter(max_rate=1.0)
    pairs, failures = simulate_block(replace(problem, layout=None), "preflight", 0, rows, tally)
    layout = layout_of(pairs.x, problem.missing)
    _check_missing(problem, layout)
    start = time.perf_counter()
    again, _ = simulate_block(
        replace(problem, layout=layout), "preflight", 0, rows, FailureCounter(max_rate=1.0)
    )
    seconds = (
        time.perf_counter() - start
    ) / rows  # of the second time: the first one may import and compile
    _compare(problem, pairs, again)
    if seconds * rows < QUICK_S:
        seconds = _time_block(replace(problem, layout=layout), block_size)
    return Preflight(layout, seconds, _bytes(pairs) / rows, len(failures) / tally.simulated, pairs)


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
    simulate_block(problem, "preflight", 1, block_size, FailureCounter(max_rate=1.0))
    return (time.perf_counter() - start) / block_size


def _compare(problem: Problem, first: Pairs, second: Pairs) -> None:
    for name in first.x:
        one, other = (_values(pairs.x[name]) for pairs in (first, second))
        if not np.array_equal(
            one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f"
        ):
            raise SimulatorError(
                f"gave two different '{name}' for the same parameters and seed: it uses a random generator of its own",
                where=problem.simulator.source.line(),
                todo="Take an argument `rng` (numpy.random.Generator) or `generator` (torch.Generator) and draw from that.",
            )


def _values(variable: Variable) -> np.ndarray:
    return variable.values if isinstance(variable, Ragged) else variable


def _bytes(pairs: Pairs) -> int:
    return sum(
        _values(column).nbytes
        for part in (pairs.theta, pairs.context, pairs.x)
        for column in part.values()
    )
