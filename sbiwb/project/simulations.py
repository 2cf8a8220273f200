"""Data simulated at given parameters, and what failed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sbiwb.contracts import Distribution, Reporter
from sbiwb.errors import SimulatorError
from sbiwb.priors import Prior
from sbiwb.records import Columns, Pairs, Ragged, Variable, take
from sbiwb.seeds import generator, place
from sbiwb.simulation.blocks import Problem, Reasons, simulate_at


@dataclass(frozen=True)
class Simulations:
    """Data simulated at S parameter vectors for each of N data sets.

    Args:
        pairs: Those that came out, in order.
        rows: Which of the N * S they are, (n,).
        shape: (N, S).
        failed: Why the others failed: row, (kind, message).
    """

    pairs: Pairs
    rows: np.ndarray
    shape: tuple[int, int]
    failed: Reasons

    @property
    def total(self) -> int:
        """Simulations that were tried."""
        return self.shape[0] * self.shape[1]

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence on what failed, with the first reason; none where nothing did."""
        if not self.failed:
            return ()
        kind, message = next(iter(self.failed.values()))
        return (
            f"{len(self.failed)} of {self.total} simulations failed and are left out, "
            f"the first by {kind}: {message}",
        )

    def of(self, data_set: int) -> dict[str, Variable]:
        """The observables simulated for one data set."""
        mine = np.flatnonzero(self.rows // self.shape[1] == data_set)
        return {name: take(variable, mine) for name, variable in self.pairs.x.items()}

    def filled(self) -> dict[str, Variable]:
        """All N * S rows of each observable: NaN, or no members, where one failed."""
        return {name: self._filled(variable) for name, variable in self.pairs.x.items()}

    def _filled(self, variable: Variable) -> Variable:
        if not self.failed:
            return variable
        if isinstance(variable, Ragged):
            lengths = np.zeros(self.total, np.int64)
            lengths[self.rows] = variable.lengths
            return Ragged(variable.values, np.concatenate([[0], np.cumsum(lengths)]))
        whole = np.full((self.total, *variable.shape[1:]), np.nan)
        whole[self.rows] = variable
        return whole


class Forward(Protocol):
    """What gives data at parameters: the simulator, or what stands in its place."""

    def simulate(
        self, theta: np.ndarray, context: Columns, seed: int, reporter: Reporter, *, name: str = ""
    ) -> Simulations: ...


def asked_pairs(
    prior: Prior, design: Mapping[str, Distribution], theta: np.ndarray, context: Columns
) -> Pairs:
    """Parameters and context of all N * S simulations, without observables.

    Args:
        prior: Names and types of the parameters.
        design: What context variables are drawn from.
        theta: (N, S, D).
        context: Design variables of the N data sets.
    """
    n, s, size = theta.shape
    repeated = {}
    for name, values in context.items():
        repeated[name] = np.repeat(_typed(design[name], values), s, axis=0)
    return Pairs(prior.unstack(theta.reshape(n * s, size)), repeated, {})


def _typed(part: Distribution, values: Variable) -> np.ndarray:
    """Context as the simulator is always given it: integers where it is discrete."""
    if part.discrete:
        return np.asarray(values).astype(np.int64)
    return np.asarray(values, np.float64)


@dataclass(frozen=True)
class Collected:
    """What came out of the chunks so far: pairs, their rows, and why others failed, by row."""

    parts: list[Pairs]
    rows: list[np.ndarray]
    failed: Reasons

    def add(self, asked: Pairs, rows: np.ndarray, x: Columns, reasons: Reasons) -> None:
        """One chunk: observables x of the rows without a reason to fail."""
        start = int(rows[0])
        for row in sorted(reasons):
            self.failed[start + row] = reasons[row]
        good = np.delete(rows, sorted(reasons))
        if len(good):
            self.parts.append(replace(asked.take(good), x=x))
            self.rows.append(good)

    def simulations(self, shape: tuple[int, int]) -> Simulations:
        """All that came out, at least one."""
        pairs, rows = Pairs.join(self.parts), np.concatenate(self.rows)
        return Simulations(pairs, rows, shape, self.failed)


@dataclass(frozen=True)
class ForwardSimulator:
    """The problem's simulator, called at given parameters.

    Args:
        problem: What is simulated.
        prior: Names and types of the parameters.
        block_size: Rows of a chunk, which has a stream of its own.
    """

    problem: Problem
    prior: Prior
    block_size: int

    def simulate(
        self, theta: np.ndarray, context: Columns, seed: int, reporter: Reporter, *, name: str = ""
    ) -> Simulations:
        """Simulates data chunk by chunk; failures are left out.

        Args:
            theta: (N, S, D).
            context: Design variables of the N data sets, each (N, ...).
            seed: Root of the simulations.
            reporter: Where progress goes.
            name: Of the observation, so that two with one seed have noise of their own.

        Raises:
            SimulatorError: Not one simulation came out, or a result has the wrong form.
        """
        asked = asked_pairs(self.prior, self.problem.context, theta, context)
        total = len(asked)
        collected = Collected([], [], {})
        with reporter.task("predict", total, unit="simulations") as ticker:
            for chunk, start in enumerate(range(0, total, self.block_size)):
                rows = np.arange(start, min(start + self.block_size, total))
                rng = generator(seed, "predictive", place(name), chunk)
                x, reasons = self._chunk(asked.take(rows), rng)
                collected.add(asked, rows, x, reasons)
                ticker.advance(len(rows))
        if not collected.parts:
            self._refuse(total, collected.failed)
        return collected.simulations((theta.shape[0], theta.shape[1]))

    def _chunk(self, asked: Pairs, rng: np.random.Generator) -> tuple[Columns, Reasons]:
        """Observables that came out, typed as the shards', and why the others did not."""
        x, reasons = simulate_at(self.problem, asked.theta, asked.context, rng)
        layout = self.problem.layout
        if layout is not None:
            x = {name: layout[name].cast(variable) for name, variable in x.items()}
        return x, reasons

    def _refuse(self, total: int, failed: Reasons) -> None:
        kind, message = failed[0]
        raise SimulatorError(
            f"not one of {total} simulations came out, the first failed by {kind}: {message}",
            where=self.problem.simulator.source.line(),
            todo="Mend the simulator for parameters and context like these.",
        )
