"""The verb `predict`: data simulated from the posterior of an observation or from the prior, also
under another context, or drawn from the learned likelihood instead."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sbiwb.contracts import Reporter
from sbiwb.errors import DataError, SimulatorError
from sbiwb.files import put
from sbiwb.project.emulator import LearnedEmulator
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.observe import DataSets, NamedObservation
from sbiwb.project.plan import read_plan
from sbiwb.project.project import Project
from sbiwb.project.simulations import Forward, Simulations
from sbiwb.project.trained import posterior_of
from sbiwb.project.trained_likelihood import likelihood_weights
from sbiwb.records import Columns
from sbiwb.report.saving import put_picture
from sbiwb.rundir import versions
from sbiwb.seeds import generator, place
from sbiwb.steps.infer.distrust import MAX_WARNINGS
from sbiwb.steps.infer.observable_pictures import ObservablePictures
from sbiwb.stopping import raise_on_signal
from sbiwb.store import hdf5
from sbiwb.store.shards import flatten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PICTURES = 6  # data sets that get one each
PREDICTED = 200  # simulations from the posterior of one data set
PREDICTED_MANY = 20  # and of each of several
PICTURE_FILES = ("{}.png", "{}.svg", "{}-[0-9].png", "{}-[0-9].svg")


@dataclass(frozen=True)
class Predicted:
    """Data simulated from a posterior, or from the prior.

    Args:
        name: The observation, or `prior`.
        file: The HDF5 file: theta/NAME (n, ...), context/NAME (n, ...), x/NAME (n, ...) or
            x/NAME/values and x/NAME/offsets, and for each simulation its `data_set` (a place among
            `labels`) and posterior `draw`.
        pictures: Beside it.
        simulations: The data themselves.
        warnings: Sentences on failures, and on data that no simulation resembles.
    """

    name: str
    file: Path
    pictures: tuple[Path, ...]
    simulations: Simulations
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Start:
    """Where simulations begin: parameters (N, S, D) and context of N data sets, and the real data
    if there are any."""

    name: str
    folder: Path
    theta: np.ndarray
    context: Columns
    data: DataSets | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Means:
    """What gives the data: the simulator, or the learned likelihood.

    Args:
        forward: Itself.
        word: What becomes of data.
        facts: What the file says of it.
    """

    forward: Forward
    word: str = "simulated"
    facts: Mapping[str, object] = field(default_factory=lambda: {"made_by": "simulator"})


@dataclass(frozen=True)
class _Drawn:
    """Data, where they begin, and how they came about."""

    start: _Start
    simulations: Simulations
    word: str


def predict(
    project: Project,
    reporter: Reporter,
    *,
    observation: NamedObservation | None,
    draws: int,
    seed: int,
    context: Mapping[str, float] | None = None,
    output: Path | None = None,
    emulate: bool = False,
) -> Predicted:
    """Simulates data at posterior draws of an observation, or at draws from the prior.

    Parameters are learned from the observation as it is; `context` changes the simulations alone:
    what would 200 trials look like?

    Args:
        project: A trained run; for the prior any project.
        reporter: Where progress goes.
        observation: Real data, as `sample` takes them; None for the prior.
        draws: Simulations for each data set, or from the prior. For one data set they are the first
            draws of `sample` with this seed.
        seed: Root of draws and simulations.
        context: Design variables that are fixed to a number.
        output: Folder to write to; without it `sample/OBSERVATION/` or `predict/prior/` of the run.
        emulate: Whether the learned likelihood takes the simulator's place.

    Raises:
        DataError: The observation does not fit, or there is no such context variable.
        RunError: Nothing is trained yet, or no likelihood.
        SimulatorError: Not one simulation came out.
    """
    fixed = dict(context or {})
    predictor = Predictor(project, reporter)
    for name, value in fixed.items():
        predictor.check_context(name, value)
    with raise_on_signal():
        torch.set_num_threads(1)  # chunks of draws are what shares the cores
        start = predictor.start(observation, draws, seed)
        design = {**start.context, **predictor.fixed_columns(fixed, len(start.theta))}
        means = _Means(project.forward)
        if emulate:
            means = predictor.likelihood(start, design, seed)
        done = means.forward.simulate(start.theta, design, seed, reporter, name=start.name)
    stem = (output or start.folder) / _stem(means, fixed)
    file = stem.with_name(f"{stem.name}.h5")
    about = {**predictor.about(start, fixed, seed), **means.facts}
    put(file, hdf5.image(_arrays(start, done), about))
    observables = ObservablePictures.of(project.source, project.config.model.inputs)
    drawn = _Drawn(start, done, means.word)
    pictures = _put_pictures(stem, _pictures(observables, drawn, fixed))
    warnings = (*start.warnings, *done.warnings)
    for warning in warnings:
        reporter.warn(f"{start.name}: {warning}")
    return Predicted(start.name, file, pictures, done, warnings)


@dataclass(frozen=True)
class Predictor:
    """Simulates data with what a run has learned.

    Args:
        project: A trained run; for the prior any project.
        reporter: Where progress goes.
    """

    project: Project
    reporter: Reporter

    def simulate(
        self, data: DataSets, theta: np.ndarray, seed: int
    ) -> tuple[Simulations | None, tuple[str, ...]]:
        """Data simulated from the first posterior draws of each data set.

        Args:
            data: N data sets.
            theta: Their draws, (N, S, D).
            seed: Root of the simulations.

        Returns:
            The simulations, None where all failed; and sentences on what failed.
        """
        if not data.x:  # a density by itself simulates nothing
            return None, ()
        count = PREDICTED if len(data) == 1 else PREDICTED_MANY
        first, forward = theta[:, :count], self.project.forward
        try:
            done = forward.simulate(first, data.context, seed, self.reporter, name=data.name)
        except SimulatorError as error:
            return None, (f"nothing could be simulated from the posterior: {error.what}",)
        return done, tuple(done.warnings)

    def check_context(self, name: str, value: float) -> None:
        """Refuses a value that a context variable cannot have.

        Raises:
            DataError: It cannot, or there is no such variable.
        """
        context = self.project.context
        if name not in context:
            raise DataError(
                f"no context variable '{name}'",
                where="context",
                todo=f"There are: {', '.join(context) or 'none in this problem'}.",
            )
        if not math.isfinite(value):
            raise DataError(
                f"{value} is no number to simulate with",
                where=f"context {name}",
                todo=f"For example {name}=100.",
            )
        if context[name].discrete and value != round(value):
            raise DataError(
                f"{value:g} is no integer",
                where=f"context {name}",
                todo=f"For example {name}={round(value)}.",
            )

    def fixed_columns(self, fixed: Mapping[str, float], n: int) -> dict[str, np.ndarray]:
        """The fixed design variables of n data sets."""
        context = self.project.context
        shapes = {name: (n, *context[name].event) for name in fixed}
        return {name: np.full(shapes[name], value) for name, value in fixed.items()}

    def start(self, observation: NamedObservation | None, draws: int, seed: int) -> _Start:
        """Draws from the posterior of an observation, or from the prior.

        Raises:
            DataError: The observation does not fit.
            RunError: Nothing is trained yet.
        """
        if observation is None:
            return self._from_prior(draws, seed)
        return self._from_posterior(observation, draws, seed)

    def likelihood(self, start: _Start, design: Columns, seed: int) -> _Means:
        """The learned likelihood in the simulator's place.

        Data sets are as large as those observed; from the prior, as those of test pairs.

        Raises:
            RunError: There is none.
        """
        project = self.project
        learned = LearnedEmulator.of(project, self.reporter)
        if start.data is None:
            rng = generator(seed, "predictive", place("sizes"))
            emulator = learned.like_test_pairs(len(start.theta), design, rng)
        else:
            emulator = learned.like(start.data.x, design)
        weights = json.dumps(likelihood_weights(project))
        facts = {"made_by": "learned likelihood", "likelihood_weights": weights}
        return _Means(emulator, "emulated", facts)

    def about(self, start: _Start, fixed: Mapping[str, float], seed: int) -> dict[str, object]:
        """What the file says of itself."""
        run = self.project.run
        facts: dict[str, object] = {
            "name": start.name,
            "run": run.name,
            "data_hash": self.project.data_hash,
            "seed": seed,
            "context": json.dumps(dict(fixed)),
            "versions": json.dumps(versions()),
        }
        if start.data is not None:
            facts["weights"] = weights_hash(run)
        return facts

    def _from_prior(self, draws: int, seed: int) -> _Start:
        project = self.project
        drawn = project.problem.draw(generator(seed, "prior", 1), draws)
        folder, theta = project.run.path / "predict" / "prior", project.prior.stack(drawn.theta)
        return _Start("prior", folder, theta[:, None], drawn.context, None)

    def _from_posterior(self, observation: NamedObservation, draws: int, seed: int) -> _Start:
        project = self.project
        posterior = posterior_of(project, self.reporter)
        data = project.observe(observation, read_plan(project.data_run).layout)
        for note in data.notes:
            self.reporter.say(f"{data.name}: {note}.")
        theta = posterior.sample(data.variables, draws, generator(seed, "sample", place(data.name)))
        warnings = tuple(posterior.ood_warnings(data.variables)[:MAX_WARNINGS])
        folder = project.run.sample(data.name)
        return _Start(data.name, folder, theta, data.context, data, warnings)


def _stem(means: _Means, fixed: Mapping[str, float]) -> str:
    """Of the file: `predictive-n=200`, or `predictive-emulated-n=200`."""
    stem = "predictive"
    if means.word != "simulated":
        stem += f"-{means.word}"
    changes = (f"-{name}={value:.12g}" for name, value in fixed.items())
    return f"{stem}{''.join(changes)}"


def _arrays(start: _Start, done: Simulations) -> dict[str, np.ndarray]:
    """The file's arrays: columns as shards have them, and where each simulation comes from."""
    arrays = flatten(done.pairs)
    if start.data is None:
        return arrays
    labels = np.array([label.encode() for label in start.data.labels])
    data_set, draw = np.divmod(done.rows, done.shape[1])
    return {**arrays, "data_set": data_set, "draw": draw, "labels": labels}


def _put_pictures(stem: Path, figures: Iterator[tuple[str, Figure]]) -> tuple[Path, ...]:
    """Writes each as PNG and as SVG; those of an earlier prediction are removed."""
    for pattern in PICTURE_FILES:
        for old in stem.parent.glob(pattern.format(stem.name)):
            old.unlink()
    paths = (put_picture(stem.with_name(stem.name + ending), figure) for ending, figure in figures)
    return tuple(paths)


def _pictures(
    observables: ObservablePictures, drawn: _Drawn, fixed: Mapping[str, float]
) -> Iterator[tuple[str, Figure]]:
    """One for each of the first data sets, or one of the prior, with the end of the file's name."""
    start, done = drawn.start, drawn.simulations
    changes = "".join(f", {name} = {value:g}" for name, value in fixed.items())
    if start.data is None:
        title = f"{drawn.word.capitalize()} from the prior{changes}"
        yield "", observables.prior(done.pairs.x, title)
        return
    for i, label in enumerate(start.data.labels[:MAX_PICTURES]):
        simulated = done.of(i)
        if len(next(iter(simulated.values()))):
            observed = start.data.observed(i)
            title = f"{label}: {drawn.word} from the posterior{changes}"
            ending = "" if len(start.data) == 1 else f"-{i + 1}"
            yield ending, observables.predictive(observed, simulated, title)
