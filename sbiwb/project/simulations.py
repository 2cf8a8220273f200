"""Data simulated at given parameters with a project's simulator."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sbiwb.contracts import Reporter
from sbiwb.errors import SimulatorError
from sbiwb.project.project import Project
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
    def warnings(self) -> tuple[str, ...]:
        """A sentence on what failed, with the first reason; none where nothing did."""
        if not self.failed:
            return ()
        kind, message = next(iter(self.failed.values()))
        total = self.shape[0] * self.shape[1]
        return (
            f"{len(self.failed)} of {total} simulations failed and are left out, the first by {kind}: {message}",
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
        total = self.shape[0] * self.shape[1]
        if isinstance(variable, Ragged):
            lengths = np.zeros(total, np.int64)
            lengths[self.rows] = variable.lengths
            return Ragged(variable.values, np.concatenate([[0], np.cumsum(lengths)]))
        whole = np.full((total, *variable.shape[1:]), np.nan)
        whole[self.rows] = variable
        return whole


def simulations(
    project: Project,
    theta: np.ndarray,
    context: Columns,
    seed: int,
    reporter: Reporter,
    *,
    name: str = "",
) -> Simulations:
    """Simulates data at given parameters, chunk by chunk; each chunk has a stream of its own, and failures are left out.

    Args:
        project: Whose simulator it is.
        theta: (N, S, D).
        context: Design variables of the N data sets, each (N, ...).
        seed: Root of the simulations.
        reporter: Where progress goes.
        name: Of the observation, so that two with one seed have noise of their own.

    Raises:
        SimulatorError: Not one simulation came out, or a result has the wrong form.
    """
    (n, s, _), problem = theta.shape, project.problem
    known = {
        name: np.repeat(_typed(project, name, values), s, axis=0)
        for name, values in context.items()
    }
    asked = Pairs(project.prior.unstack(theta.reshape(n * s, -1)), known, {})
    parts: list[Pairs] = []
    rows: list[np.ndarray] = []
    failed: Reasons = {}
    with reporter.task("predict", n * s, unit="simulations") as ticker:
        for chunk, start in enumerate(range(0, n * s, project.block_size)):
            here = np.arange(start, min(start + project.block_size, n * s))
            x, reasons = _chunk(
                problem, asked.take(here), generator(seed, "predictive", place(name), chunk)
            )
            failed |= {start + row: reason for row, reason in sorted(reasons.items())}
            good = np.setdiff1d(here, [start + row for row in reasons])
            if len(good):
                parts.append(replace(asked.take(good), x=x))
                rows.append(good)
            ticker.advance(len(here))
    if not parts:
        kind, message = failed[0]
        raise SimulatorError(
            f"not one of {n * s} simulations came out, the first failed by {kind}: {message}",
            where=project.simulator.source.line(),
            todo="Mend the simulator for parameters and context like these.",
        )
    return Simulations(Pairs.join(parts), np.concatenate(rows), (n, s), failed)


def _chunk(problem: Problem, asked: Pairs, rng: np.random.Generator) -> tuple[Columns, Reasons]:
    """The observables of one chunk that came out, in the types that the shards have, and why the others did not."""
    x, reasons = simulate_at(problem, asked.theta, asked.context, rng)
    return x if problem.layout is None else {
        name: problem.layout[name].cast(variable) for name, variable in x.items()
    }, reasons


def _typed(project: Project, name: str, values: Variable) -> np.ndarray:
    """Context as the simulator is always given it: integers where it is discrete."""
    return (
        np.asarray(values).astype(np.int64)
        if project.context[name].discrete
        else np.asarray(values, np.float64)
    )
