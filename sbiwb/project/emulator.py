"""Data of a learned likelihood in place of the simulator's: the same call, no simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sbiwb.contracts import Distribution, Reporter
from sbiwb.errors import SimulatorError
from sbiwb.project.learned_likelihood import LearnedLikelihood, LikelihoodFactor
from sbiwb.project.plan import read_plan
from sbiwb.project.project import Project
from sbiwb.project.simulations import Collected, Simulations, asked_pairs
from sbiwb.project.splits import load_split
from sbiwb.project.trained_likelihood import likelihood_of
from sbiwb.records import Columns, Pairs, Variable, take
from sbiwb.seeds import generator, place
from sbiwb.simulation.expected import batch_problems
from sbiwb.simulation.layout import Layout, cast_columns

CHUNK = 256  # data sets drawn from one seed

Sizes = Mapping[str, np.ndarray]
"""Members of N data sets by structure, (N,) each, where their number varies."""


@dataclass(frozen=True)
class Emulator:
    """Draws data from a learned likelihood; takes the place of a `ForwardSimulator`.

    Args:
        likelihood: That draws.
        layout: Form and types of the observables, as the shards have them.
        design: What context variables are drawn from.
        sizes: Of the N data sets that are simulated.
    """

    likelihood: LearnedLikelihood
    layout: Layout
    design: Mapping[str, Distribution]
    sizes: Sizes

    def simulate(
        self, theta: np.ndarray, context: Columns, seed: int, reporter: Reporter, *, name: str = ""
    ) -> Simulations:
        """Draws data chunk by chunk; what is not finite is left out.

        Args:
            theta: (N, S, D).
            context: Design variables of the N data sets, each (N, ...).
            seed: Root of the draws.
            reporter: Where progress goes.
            name: Of the observation, so that two with one seed have noise of their own.

        Raises:
            SimulatorError: Not one data set came out.
        """
        asked = asked_pairs(self.likelihood.prior, self.design, theta, context)
        total, collected = len(asked), Collected([], [], {})
        with reporter.task("emulate", total, unit="data sets") as ticker:
            for start in range(0, total, CHUNK):
                rows = np.arange(start, min(start + CHUNK, total))
                rng = generator(seed, "predictive", place(f"emulated {name}"), start)
                x = self._emulated(asked.take(rows), rows // theta.shape[1], rng)
                reasons = batch_problems(x, self.layout)
                good = np.delete(np.arange(len(rows)), list(reasons))
                whole = {name: take(values, good) for name, values in x.items()}
                collected.add(asked, rows, whole, reasons)
                ticker.advance(len(rows))
        if not collected.parts:
            raise _nothing_finite(total)
        return collected.simulations((theta.shape[0], theta.shape[1]))

    def _emulated(
        self, asked: Pairs, data_set: np.ndarray, rng: np.random.Generator
    ) -> dict[str, Variable]:
        """Observables of these pairs, each as large as its data set."""
        theta = self.likelihood.prior.stack(asked.theta)
        sizes = {name: count[data_set] for name, count in self.sizes.items()}
        x = self.likelihood.sample(theta, asked.context, sizes, rng)
        return cast_columns(self.layout, {name: x[name] for name in self.layout})


def _nothing_finite(total: int) -> SimulatorError:
    return SimulatorError(
        f"not one of {total} data sets of the learned likelihood is finite",
        where="predict --emulate",
        todo="Train it longer: model.likelihood.train.steps, or simulate instead.",
    )


@dataclass(frozen=True)
class LearnedEmulator:
    """The learned likelihood of a run, from which emulators of data sets of any size are made.

    Args:
        project: The run.
        likelihood: What it has learned.
    """

    project: Project
    likelihood: LearnedLikelihood

    @classmethod
    def of(cls, project: Project, reporter: Reporter) -> LearnedEmulator:
        """Opens the likelihood of a run.

        Raises:
            RunError: It is not trained, or on another problem.
        """
        return cls(project, likelihood_of(project, reporter))

    def like(self, x: Columns, context: Columns) -> Emulator:
        """An emulator of data sets as large as these.

        Args:
            x: Observables of N data sets.
            context: Design variables of what is to be emulated; one that is the number of members
                decides it.
        """
        sizes = {name: factor.pairs.rows(x).lengths for name, factor in self._varying.items()}
        return self._emulator(sizes, context)

    def like_test_pairs(self, n: int, context: Columns, rng: np.random.Generator) -> Emulator:
        """An emulator of n data sets as large as test pairs drawn with replacement.

        Args:
            n: How many.
            context: As in `like`.
            rng: Draws the pairs.
        """
        emulator = self._emulator({}, context)
        if emulator.sizes.keys() >= self._varying.keys():
            return emulator
        test = load_split(self.project, "test")
        drawn = self.like(test.take(rng.integers(len(test), size=n)).x, context)
        return replace(emulator, sizes=drawn.sizes)

    @property
    def _varying(self) -> dict[str, LikelihoodFactor]:
        """The structures whose data sets have members of a number of their own."""
        factors = self.likelihood.factors.items()
        return {name: factor for name, factor in factors if factor.pairs.has_varying_size}

    def _emulator(self, sizes: Sizes, context: Columns) -> Emulator:
        """With these sizes, but for those that a context variable decides."""
        counted = {}
        for name, factor in self._varying.items():
            for other in context.keys() - set(factor.members.given):
                counted[name] = np.asarray(context[other]).astype(np.int64)
        layout = read_plan(self.project.data_run).layout
        return Emulator(self.likelihood, layout, self.project.context, {**sizes, **counted})
