"""The verb `reference`: the posterior of real observations by a road that needs no training,
written as `sample` writes its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sbiwb import report
from sbiwb.contracts import ReferencePart, Reporter, Target
from sbiwb.errors import ConfigError, GateFailed, RunError
from sbiwb.extras import check_installed
from sbiwb.files import put_json, sha256, stable_hash
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.joint_model import LearnedDensities
from sbiwb.project.likelihoods import folder_of, wanted
from sbiwb.project.observe import DataSets, NamedObservation
from sbiwb.project.opening import write_config
from sbiwb.project.project import Project
from sbiwb.project.target import Densities, density_target, target_of
from sbiwb.project.trained import posterior_of
from sbiwb.project.trained_likelihood import has_likelihood, likelihood_of
from sbiwb.records import take
from sbiwb.rundir import PosteriorDir, put_provenance
from sbiwb.seeds import generator, place
from sbiwb.simulation.layout import Layout
from sbiwb.simulation.source import is_density
from sbiwb.steps.exact.exact_draws import ExactDraws, draw_method, judge_chains
from sbiwb.steps.exact.saved_results import put_part, read_part
from sbiwb.steps.infer.observable_pictures import ObservablePictures
from sbiwb.steps.infer.posterior_draws import PosteriorDraws, rows_of
from sbiwb.steps.infer.posterior_files import write_draws, write_table
from sbiwb.steps.infer.posterior_pictures import PosteriorPictures
from sbiwb.stopping import raise_on_signal
from sbiwb.workflow.predict import Predictor
from sbiwb.workflow.sample import PICTURES
from sbiwb.workflow.sample_draws import LikelihoodSource
from sbiwb.workflow.simulate_plan import try_simulator


@dataclass(frozen=True)
class Referenced:
    """What a method found of one observation.

    Args:
        name: The observation.
        method: Kind of the method.
        folder: Where its files are.
        rows: The summary table.
        facts: Of each data set: acceptance, log evidence, Pareto k, ...; the worst R-hat and the
            least effective sample size.
        warnings: Reasons not to take the draws for the posterior.
        seconds: Wall time of the method.
    """

    name: str
    method: str
    folder: Path
    rows: tuple[report.Row, ...]
    facts: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...]
    seconds: float


def reference(
    project: Project,
    observation: NamedObservation | None,
    method: ReferencePart,
    reporter: Reporter,
    *,
    draws: int,
    seed: int,
    likelihood: LikelihoodSource | None = None,
) -> Referenced:
    """Draws from the posterior of an observation by a reference method.

    Args:
        project: With `log_likelihood`, `posterior` or `log_density` in its simulator file; trained
            where the method starts from that.
        observation: Its file, and how to read it; None for a file that is a density by itself.
        method: A part of the family `references`.
        reporter: Where progress goes.
        draws: Draws for each data set.
        seed: Root of all random numbers.
        likelihood: The simulator file's or the learned one; None: the file's where it has one.

    Raises:
        ConfigError: The file lacks what the method needs, or a package is not installed.
        DataError: The observation does not fit, or no start has a finite density.
        RunError: The method starts from the amortized posterior, and nothing is trained.
    """
    check_installed(*method.packages, extra="reference", where=f"--method {method.kind}")
    with raise_on_signal():
        torch.set_num_threads(1)
        sampling = _ReferenceRun(project, method, reporter, draws, seed, likelihood)
        data, targets = sampling.targets(observation)
        folder = project.run.reference(sampling.folder_name, data.name)
        begun = time.perf_counter()
        results = []
        for which, target in enumerate(targets):
            path = folder / "parts" / f"{which:05d}.h5"
            identity = sampling.identity(data, which)
            rng = generator(seed, "reference", place(data.name), which)
            result = read_part(path, identity)
            if result is None:
                result = method.run(target, draws, rng, reporter)
                put_part(path, result, identity)
            results.append(result)
        exact = ExactDraws(method, data, results, folder, seed, time.perf_counter() - begun)
        return sampling.write(exact)


def check_reference(referenced: Referenced) -> None:
    """The gate.

    Raises:
        GateFailed: A warning stands: the draws are not known to be of the posterior.
    """
    if not referenced.warnings:
        return
    first, *others = referenced.warnings
    more = f" (and {len(others)} more)" if others else ""
    raise GateFailed(
        f"{referenced.method} on {referenced.name}: {first}{more}",
        where=referenced.folder,
        todo="Draw more, start elsewhere (--option warmup=..., start=..., thin=...), or take "
        "another --method; --no-gate lets it pass.",
    )


@dataclass(frozen=True)
class _ReferenceRun:
    """A reference method on the data of a project."""

    project: Project
    method: ReferencePart
    reporter: Reporter
    draws: int
    seed: int
    likelihood: LikelihoodSource | None

    @property
    def is_learned(self) -> bool:
        """Whether the likelihood is the learned one."""
        if self.likelihood is not None:
            return self.likelihood == "learned"
        has_own = self.project.densities.has_likelihood or self.project.source.optional("posterior")
        return not has_own and has_likelihood(self.project)

    @property
    def folder_name(self) -> str:
        """Of the method's results: those by a learned likelihood lie apart."""
        return Path(self.method.kind).stem + ("-learned" if self.is_learned else "")

    def targets(self, observation: NamedObservation | None) -> tuple[DataSets, list[Target]]:
        """The data sets of an observation, and the posterior of each."""
        project = self.project
        if observation is None:
            target = density_target(project.densities, project.config.problem.parameters)
            return DataSets("density", ("density",), {}, {}, {}), [target]
        if is_density(project.source):
            raise ConfigError(
                "is a density by itself", where=project.source.path, todo="Leave out --observation."
            )
        data = project.observe(observation, self._layout())
        for note in data.notes:
            self.reporter.say(f"{data.name}: {note}.")
        posterior, densities = self._amortized(), self._densities()
        targets = [
            target_of(densities, data.x, data.context, which, posterior)
            for which in range(len(data))
        ]
        return data, targets

    def identity(self, data: DataSets, which: int) -> str:
        """Hash of all that decides the draws of one data set.

        The network's weights too, where the method makes use of them.
        """
        project, row, weights = self.project, np.array([which]), None
        if self.method.uses_amortized:
            weights = weights_hash(project.run)
        x = {name: take(values, row)[0].tolist() for name, values in data.variables.items()}
        return stable_hash(
            {
                "data_hash": project.own_hash,
                "method": self.method.model_dump(mode="json"),
                "x": x,
                "weights": weights,
                "draws": self.draws,
                "seed": self.seed,
                "name": data.name,
                "data set": which,
                "likelihood": self._likelihood_hash(),
            }
        )

    def write(self, exact: ExactDraws) -> Referenced:
        """Files and pictures of the draws, with who made them."""
        project, method, name = self.project, exact.method, exact.data.name
        if not project.run.config.is_file():  # that of a trained run stays as it was trained
            write_config(project)
        judged = judge_chains(exact, project.prior.columns)
        warnings = tuple(judged.warnings)
        rows, failed = self._write_draws(exact, warnings)
        put_json(
            exact.folder / "method.json",
            {"method": method.model_dump(mode="json"), "data_sets": judged.rows},
        )
        draw_method(exact, project.prior.columns)
        facts = {
            "data_hash": project.own_hash,
            "method": method.kind,
            "seed": exact.seed,
            "likelihood": "learned" if self.is_learned else "exact",
        }
        put_provenance(exact.folder, seconds=exact.seconds, facts=facts)
        for sentence in (*warnings, *failed):
            self.reporter.warn(f"{name}: {sentence}")
        folder, seconds = exact.folder, exact.seconds
        return Referenced(name, method.kind, folder, rows, judged.facts, warnings, seconds)

    def _densities(self) -> Densities:
        """Of the simulator file, or the learned ones."""
        project = self.project
        if not self.is_learned:
            return project.densities
        return LearnedDensities(project.source, likelihood_of(project, self.reporter))

    def _likelihood_hash(self) -> str:
        """Of the simulator file, or of the weights."""
        project = self.project
        if not self.is_learned:
            return sha256(project.source.path.read_bytes())
        runs = [folder_of(project.run, name) for name in wanted(project.config)]
        return " ".join(weights_hash(run) for run in runs)

    def _layout(self) -> Layout:
        """What the simulator returns: as planned, or as a few simulations show."""
        layout = self.project.problem.layout
        return try_simulator(self.project).layout if layout is None else layout

    def _amortized(self) -> Posterior | None:
        """The trained posterior where the method makes use of it."""
        if not self.method.uses_amortized:
            return None
        run = self.project.run
        if not run.best.is_file():
            raise RunError(
                f"{self.method.kind} starts from the amortized posterior, and nothing is trained",
                where=run.path,
                todo="Run `sbiwb run` on the config first, or choose another start: "
                "--option start=prior (importance: proposal=prior).",
            )
        return posterior_of(self.project, self.reporter)

    def _write_draws(
        self, exact: ExactDraws, warnings: Sequence[str]
    ) -> tuple[tuple[report.Row, ...], Sequence[str]]:
        """Files and pictures as `sample` has them; the summary table, and what failed to
        simulate."""
        project, data, seed = self.project, exact.data, exact.seed
        theta = np.stack([result.theta for result in exact.results])
        draws = PosteriorDraws(data, theta, project.prior, project.derived.of(theta))
        rows = rows_of(draws)
        predicted, failed = Predictor(project, self.reporter).simulate(data, theta, seed)
        about = {
            "run": project.run.name,
            "data_hash": project.own_hash,
            "method": exact.method.kind,
            "seed": str(seed),
        }
        posterior_dir, constants = PosteriorDir(exact.folder), project.config.problem.constants
        write_table(posterior_dir, draws, rows, warnings=[*warnings, *failed])
        omitted = write_draws(
            posterior_dir, draws, about=about, constants=constants, predicted=predicted
        )
        if omitted:
            self.reporter.say(f"{data.name}: {omitted}.")
        observables = ObservablePictures.of(project.source, project.config.model.inputs)
        PosteriorPictures(draws, rows, observables, predicted, PICTURES).write(exact.folder)
        return tuple(rows), failed
