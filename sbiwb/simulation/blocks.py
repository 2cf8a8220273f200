"""Blocks of simulated pairs: a failed row is replaced by a new pair and kept in a ledger.

Rows come from `SeedSequence(seed, spawn_key=(stream, block, attempt))`, parameters before the
simulator is called; so a block is the same bytes wherever and whenever it is made.

A batch that fails as a whole, by an exception or by the death of its process, is done again at the
same parameters in smaller calls, each from a stream of its own. A Python function is called row by
row, spawn_key (stream, block, attempt, row); an external program for halves of the batch, halves of
these, and so on, spawn_key (stream, block, attempt, first row, rows) or, for one row, as before.
The rows that fail alone are the guilty ones. What replaces them is a new pair from the stream of
the next attempt. So what comes out depends on the parameters and seeds, not on who noticed the
failure: a worker that died, or a simulator in a process of its own (`sandbox`). Only what a clock
or the machine's memory decides may differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np

from sbiwb.contracts import Distribution
from sbiwb.records import Columns, Pairs
from sbiwb.seeds import generator
from sbiwb.simulation.calls import RowCalls, Stream, simulate_rows
from sbiwb.simulation.expected import Expected, Reasons, RowOutcome
from sbiwb.simulation.failures import Failure, FailureCounter
from sbiwb.simulation.layout import Layout, cast_columns
from sbiwb.simulation.simulator import Simulates

__all__ = ["Failure", "FailureCounter", "Problem", "Reasons", "simulate_at", "simulate_block"]

MAX_ATTEMPTS = 100  # per row


class SamplesTheta(Protocol):
    """What simulating needs of a prior."""

    def sample(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Problem:
    """All that a block needs.

    Args:
        prior: Draws theta.
        context: Distributions of the design variables.
        simulator: The user's function.
        seed: `simulate.seed`.
        layout: What every row must look like; None while it is being found out.
        missing: Observables in which NaN is a value, a missing one.
    """

    prior: SamplesTheta
    context: Mapping[str, Distribution]
    simulator: Simulates
    seed: int
    layout: Layout | None = None
    missing: Collection[str] = ()

    def draw(self, rng: np.random.Generator, n: int) -> Pairs:
        """Parameters and context of n new pairs."""
        theta = self.prior.sample(rng, n)
        context = {
            name: _column(distribution, distribution.sample(rng, n))
            for name, distribution in self.context.items()
        }
        return Pairs(theta, context, {})

    @property
    def expected(self) -> Expected:
        """What every row must look like, as far as it is known."""
        return Expected(self.layout, self.missing, self.simulator.source)


def _column(distribution: Distribution, values: np.ndarray) -> np.ndarray:
    """(n,) for a scalar variable, integers where it is discrete."""
    if distribution.discrete:
        values = values.astype(np.int64)
    if distribution.event == ():
        return values[:, 0]
    return values


class Position(NamedTuple):
    """Where an attempt draws from."""

    stream: str
    block: int
    attempt: int


@dataclass(frozen=True)
class Attempt:
    """New pairs for rows of a block, as far as they came out.

    Args:
        position: Where they were drawn from.
        rows: Their places in the block.
        drawn: Their parameters and context.
        outcome: What the simulator made of them.
    """

    position: Position
    rows: np.ndarray
    drawn: Pairs
    outcome: RowOutcome

    @property
    def valid(self) -> np.ndarray:
        """Which of the rows came out."""
        return np.setdiff1d(np.arange(len(self.rows)), list(self.outcome.reasons))

    def pairs(self, layout: Layout | None) -> Pairs:
        """The valid pairs, in the types of the layout where it is known."""
        x = self.outcome.x
        if layout is not None:
            x = cast_columns(layout, x)
        return replace(self.drawn.take(self.valid), x=x)

    def failures(self) -> list[Failure]:
        """The others."""
        return list(map(self._failure, sorted(self.outcome.reasons)))

    def _failure(self, i: int) -> Failure:
        kind, message = self.outcome.reasons[i]
        return Failure(
            block=self.position.block,
            attempt=self.position.attempt,
            row=int(self.rows[i]),
            kind=kind,
            message=message,
            theta=_row(self.drawn.theta, i),
            context=_row(self.drawn.context, i),
            seconds=self.outcome.seconds[i],
        )


def _row(columns: Columns, i: int) -> dict[str, np.ndarray]:
    return {name: column[i] for name, column in columns.items()}


@dataclass
class OpenBlock:
    """A block whose rows come out one attempt after another.

    Args:
        open_rows: Places of the rows that have not come out yet.
        places: Of the rows that have, by attempt.
        parts: These rows.
        failures: Simulations that were replaced on the way.
    """

    open_rows: np.ndarray
    places: list[np.ndarray] = field(default_factory=list)
    parts: list[Pairs] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether every row has come out."""
        return len(self.open_rows) == 0

    def add(self, attempt: Attempt, layout: Layout | None) -> None:
        """Takes the valid rows of an attempt, and notes why the others failed."""
        valid = attempt.valid
        if len(valid):
            self.places.append(self.open_rows[valid])
            self.parts.append(attempt.pairs(layout))
        self.failures += attempt.failures()
        self.open_rows = np.delete(self.open_rows, valid)

    def pairs(self) -> Pairs:
        """All rows in their order."""
        order = np.argsort(np.concatenate(self.places), kind="stable")
        return Pairs.join(self.parts).take(order)


def simulate_block(
    problem: Problem, stream: str, block: int, rows: int, counter: FailureCounter
) -> tuple[Pairs, list[Failure]]:
    """One block of valid pairs and the failures that were replaced on the way.

    Args:
        problem: What is simulated.
        stream: Split: train, validation, test, or preflight.
        block: Its number in that stream.
        rows: Pairs in it.
        counter: Counts of the shard that this block belongs to.

    Raises:
        FailureRateError: Too many failures, or a row failed in every one of its 100 attempts.
        SimulatorError: A result has the wrong form, and no row is to blame.
    """
    state, expected = OpenBlock(np.arange(rows)), problem.expected
    for number in range(MAX_ATTEMPTS):
        attempt = _attempt(problem, Position(stream, block, number), state.open_rows, expected)
        counter.add_all(len(attempt.rows), attempt.failures())
        state.add(attempt, problem.layout)
        if state.is_full:
            return state.pairs(), state.failures
        expected = expected.after(attempt.outcome)
    counter.refuse(f"one row in each of its {MAX_ATTEMPTS} attempts")


def _attempt(problem: Problem, position: Position, rows: np.ndarray, expected: Expected) -> Attempt:
    """New pairs for these rows."""
    rng = generator(problem.seed, *position)
    drawn = problem.draw(rng, len(rows))
    calls = RowCalls(problem.simulator, drawn.theta, drawn.context, _parts(problem.seed, position))
    return Attempt(position, rows, drawn, simulate_rows(calls, rng, expected))


def _parts(seed: int, position: Position) -> Stream:
    """The stream of each part of an attempt, by its first row and its size; of a row by itself."""

    def stream(first: int, size: int) -> np.random.Generator:
        if size == 1:
            return generator(seed, *position, first)
        return generator(seed, *position, first, size)

    return stream


def simulate_at(
    problem: Problem, theta: Columns, context: Columns, rng: np.random.Generator
) -> tuple[Columns, Reasons]:
    """Observables at given parameters, for predictions.

    Args:
        problem: What is simulated.
        theta: Parameters by name, (N,) or (N, K).
        context: Design variables by name, (N, ...).
        rng: For all rows; what is done again draws from streams spawned of it.

    Returns:
        Observables of the rows that did not fail, and why the others did, by row.
    """
    calls = RowCalls(problem.simulator, theta, context, _spawned(rng))
    outcome = simulate_rows(calls, rng, problem.expected)
    return outcome.x, outcome.reasons


def _spawned(rng: np.random.Generator) -> Stream:
    """A stream for each call in turn."""
    return lambda first, size: rng.spawn(1)[0]
