"""Blocks of simulated pairs: a failed row is replaced by a new pair and kept in a ledger.

Rows come from `SeedSequence(seed, spawn_key=(stream, block, attempt))`, parameters before the simulator is called; so a block is the
same bytes wherever and whenever it is made.

A batch that fails as a whole, by an exception or by the death of its process, is done again row by row at the same parameters, each row
from a stream of its own, spawn_key (stream, block, attempt, row): the rows that fail again are the guilty ones. What replaces them is a
new pair from the stream of the next attempt. So what comes out depends on the parameters and seeds, not on who noticed the failure: a
worker that died, or a simulator in a process of its own (`sandbox`). Only what a clock or the machine's memory decides may differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import numpy as np

from sbiwb.contracts import Distribution
from sbiwb.errors import FailureRateError, SbiwbError, SimulatorError
from sbiwb.intervals import binomial_upper_quantile
from sbiwb.records import Columns, Pairs, Ragged, Variable, take
from sbiwb.seeds import generator
from sbiwb.simulation.layout import Layout, Observable, layout_of
from sbiwb.simulation.simulator import Simulates, reason, stack

ATTEMPTS = 100  # per row, at most
JUDGED_AFTER = 200  # simulations, before a failure rate is judged


class SamplesTheta(Protocol):
    """What simulating needs of a prior."""

    def sample(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Failure:
    """One simulation that failed.

    Args:
        block: With `attempt` (and `row`, where rows were simulated one by one) the place of its seed in the stream.
        attempt: How many pairs had been tried for this row before.
        row: Its place in the block.
        kind: exception, timeout, memory, not finite, shape, killed by SIGSEGV, exit code 3, ...
        message: Why, in a sentence; of an exception it begins with its class.
        theta: Its parameters.
        context: Its design variables.
        seconds: What it took, a share of its batch where it failed within one.
    """

    block: int
    attempt: int
    row: int
    kind: str
    message: str
    theta: Mapping[str, np.ndarray]
    context: Mapping[str, np.ndarray]
    seconds: float

    @property
    def reason(self) -> str:
        """What failures are counted by: the kind, of an exception its class."""
        return self.message.partition(":")[0] if self.kind == "exception" else self.kind


@dataclass
class FailureCounter:
    """Simulations and failures so far; knows when there are too many.

    Args:
        max_rate: Largest tolerated share of failures.
        simulated: Simulations, failed ones included.
        failed: Failures among them.
    """

    max_rate: float
    simulated: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, simulated: int, failed: int, example: str = "") -> None:
        """Counts, and stops when the failures exceed what `max_rate` explains (one-sided, 99 %).

        Raises:
            FailureRateError: With the rate and an example.
        """
        self.simulated, self.failed = self.simulated + simulated, self.failed + failed
        self.examples += [example] * bool(example)
        if self.simulated < JUDGED_AFTER:
            return
        if self.failed > binomial_upper_quantile(self.simulated, self.max_rate):
            self.refuse(f"more than simulate.failures.max_rate = {self.max_rate:g}")
        if self.failed == self.simulated:
            self.refuse("not one came out")

    def refuse(self, why: str) -> NoReturn:
        raise FailureRateError(
            f"{self.failed} of {self.simulated} simulations failed ({self.failed / self.simulated:.1%}), {why}; "
            f"for example: {self.examples[-1] if self.examples else 'see the shards'}",
            where="simulate",
            todo="Mend the simulator, narrow the prior, or raise max_rate if these failures are part of the model.",
        )


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

    def draw(
        self, rng: np.random.Generator, n: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Parameters and context of n new pairs."""
        theta = self.prior.sample(rng, n)
        context = {name: _columns(one, one.sample(rng, n)) for name, one in self.context.items()}
        return theta, context


def _columns(distribution: Distribution, values: np.ndarray) -> np.ndarray:
    """(n,) for a scalar variable, integers where it is discrete."""
    values = values.astype(np.int64) if distribution.discrete else values
    return values[:, 0] if distribution.event == () else values


def simulate_block(
    problem: Problem, stream: str, block: int, rows: int, tally: FailureCounter
) -> tuple[Pairs, list[Failure]]:
    """One block of valid pairs and the failures that were replaced on the way.

    Args:
        problem: What is simulated.
        stream: Split: train, validation, test, or preflight.
        block: Its number in that stream.
        rows: Pairs in it.
        tally: Counts of the shard this block belongs to.

    Raises:
        FailureRateError: Too many failures, or a row failed in every one of its 100 attempts.
    """
    good: list[tuple[np.ndarray, Pairs]] = []
    failures: list[Failure] = []
    open_rows = np.arange(rows)
    for attempt in range(ATTEMPTS):
        pairs, failed = _attempt(problem, stream, (block, attempt), open_rows)
        tally.add(len(open_rows), len(failed), _example(failed))
        failures += failed
        bad = {failure.row for failure in failed}
        kept = np.array([row not in bad for row in open_rows])
        if pairs is not None:
            good.append((open_rows[kept], pairs))
        open_rows = open_rows[~kept]
        if len(open_rows) == 0:
            order = np.argsort(np.concatenate([places for places, _ in good]), kind="stable")
            return Pairs.join([part for _, part in good]).take(order), failures
    tally.refuse(f"one row in each of its {ATTEMPTS} attempts")


def _example(failed: list[Failure]) -> str:
    if not failed:
        return ""
    first = failed[0]
    theta = ", ".join(
        f"{name}={np.array2string(np.asarray(value), precision=4)}"
        for name, value in {**first.theta, **first.context}.items()
    )
    return f"{first.message} (at {theta})"


def _attempt(
    problem: Problem, stream: str, position: tuple[int, int], rows: np.ndarray
) -> tuple[Pairs | None, list[Failure]]:
    """New pairs for `rows` from one stream: the valid ones, and the failures."""
    rng = generator(problem.seed, stream, *position)
    theta, context = problem.draw(rng, len(rows))
    x, found = _simulate(
        problem,
        theta,
        context,
        rng,
        lambda row: generator(problem.seed, stream, *position, int(row)),
    )
    reasons = found.reasons
    failures = [
        Failure(
            *position,
            int(rows[i]),
            *reasons[i],
            {n: c[i] for n, c in theta.items()},
            {n: c[i] for n, c in context.items()},
            found.seconds[i],
        )
        for i in sorted(reasons)
    ]
    kept = np.array([i for i in range(len(rows)) if i not in reasons], dtype=int)
    if not len(kept):
        return None, failures
    if problem.layout is not None:
        x = {name: problem.layout[name].cast(variable) for name, variable in x.items()}
    return Pairs(
        {n: c[kept] for n, c in theta.items()}, {n: c[kept] for n, c in context.items()}, x
    ), failures


Reasons = dict[int, tuple[str, str]]  # row: (kind, message)


@dataclass(frozen=True)
class _Failed:
    """Why rows failed, and the seconds each of them took."""

    reasons: Reasons
    seconds: Mapping[int, float]


def simulate_at(
    problem: Problem, theta: Columns, context: Columns, rng: np.random.Generator
) -> tuple[dict[str, Variable], Reasons]:
    """Observables at given parameters, for predictions; rows that fail are left out, and why they failed is told by row.

    Args:
        problem: What is simulated.
        theta: Parameters by name, (N,) or (N, K).
        context: Design variables by name, (N, ...).
        rng: For all rows; a batch that raises is done again row by row from streams spawned of it.
    """
    x, failed = _simulate(problem, theta, context, rng, lambda row: rng.spawn(1)[0])
    return x, failed.reasons


def _simulate(
    problem: Problem,
    theta: Columns,
    context: Columns,
    rng: np.random.Generator,
    own_rng: Callable[[int], np.random.Generator],
) -> tuple[dict[str, Variable], _Failed]:
    """Observables of the valid rows, and why the others failed; a batch that raises is done again row by row."""
    if problem.simulator.batched:
        start = time.perf_counter()
        try:
            x = problem.simulator(theta, context, rng)
        except (
            SbiwbError
        ):  # a result of the wrong form, or a signal that came meanwhile: no row is to blame
            raise
        except (
            Exception,
            SystemExit,
        ):  # the user's code may raise anything: the guilty rows are found below
            pass
        else:
            reasons = _invalid(problem, x)
            n = len(_first(theta))
            share = dict.fromkeys(reasons, (time.perf_counter() - start) / max(1, n))
            kept = np.array([row for row in range(n) if row not in reasons], dtype=int)
            return {
                name: take(variable, kept) if reasons else variable for name, variable in x.items()
            }, _Failed(reasons, share)
    return _one_by_one(problem, theta, context, own_rng)


def _one_by_one(
    problem: Problem,
    theta: Columns,
    context: Columns,
    own_rng: Callable[[int], np.random.Generator],
) -> tuple[dict[str, Variable], _Failed]:
    """The same, each row from its own stream."""
    results: list[dict[str, np.ndarray]] = []
    reasons: Reasons = {}
    seconds: dict[int, float] = {}
    for row in range(len(_first(theta))):
        start = time.perf_counter()
        try:
            result = problem.simulator.one(theta, context, row, own_rng(row))
        except SbiwbError:
            raise
        except (Exception, SystemExit) as error:
            reasons[row] = reason(error, problem.simulator.source.path)
        else:
            wrong = _row_problem(problem, result)
            if wrong is None:
                results.append(result)
            else:
                reasons[row] = wrong
        seconds[row] = time.perf_counter() - start
    return (stack(results) if results else {}), _Failed(reasons, seconds)


def _invalid(problem: Problem, x: dict[str, Variable]) -> Reasons:
    """Rows of a batch that are not finite or have the wrong shape; quick where all is well."""
    layout = problem.layout or layout_of(x, problem.missing)
    _check_names(problem, layout, set(x))
    reasons: Reasons = {}
    for name, variable in x.items():
        if _all_fine(variable, layout[name]):
            continue
        for row in range(len(variable)):
            wrong = layout[name].problem(variable[row])
            if wrong:
                reasons.setdefault(row, _reason(name, wrong))
    return reasons


def _all_fine(variable: Variable, one: Observable) -> bool:
    values = variable.values if isinstance(variable, Ragged) else variable
    if (
        isinstance(variable, Ragged) != one.ragged
        or not one.holds(values)
        or not one.is_valued(values)
    ):
        return False
    if isinstance(variable, Ragged):
        return values.shape[1:] == one.shape[1:] and bool(variable.lengths.all())
    return values.shape[1:] == one.shape


def _row_problem(problem: Problem, result: dict[str, np.ndarray]) -> tuple[str, str] | None:
    layout = problem.layout or layout_of(
        {name: value[None] for name, value in result.items()}, problem.missing
    )
    if set(result) != set(layout):
        return "shape", f"returned {', '.join(result)}; expected {', '.join(layout)}"
    for name, value in result.items():
        wrong = layout[name].problem(value)
        if wrong:
            return _reason(name, wrong)
    return None


def _reason(name: str, wrong: str) -> tuple[str, str]:
    return ("not finite" if "finite" in wrong else "shape"), f"'{name}' {wrong}"


def _check_names(problem: Problem, layout: Layout, found: set[str]) -> None:
    if found != set(layout):
        raise SimulatorError(
            f"returned {', '.join(sorted(found))} where it returned {', '.join(layout)} before",
            where=problem.simulator.source.line(),
            todo="Return the same observables every time.",
        )


def _first(columns: Columns) -> Variable:
    return next(iter(columns.values()), np.zeros(0))
