"""The verb `sample`: the posterior of real observations, as draws, a table and pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sbiwb import report
from sbiwb.contracts import Reporter
from sbiwb.diagnostics import family
from sbiwb.errors import CorruptFile, GateFailed, RunError
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.observation_choice import choose_observations, named_observations
from sbiwb.project.observation_options import context_values, from_file
from sbiwb.project.observe import DataSets, NamedObservation
from sbiwb.project.overlays import Overlays
from sbiwb.project.plan import read_plan
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.trained import posterior_of
from sbiwb.report.saving import put_picture
from sbiwb.rundir import PosteriorDir, put_provenance
from sbiwb.steps.exact.refine import Outcome, Refined, write_refined
from sbiwb.steps.infer import distrust
from sbiwb.steps.infer.distrust import SimulationGap
from sbiwb.steps.infer.observable_pictures import ObservablePictures
from sbiwb.steps.infer.posterior_draws import PosteriorDraws, rows_of
from sbiwb.steps.infer.posterior_files import write_draws, write_table
from sbiwb.steps.infer.posterior_pictures import PosteriorPictures
from sbiwb.steps.joint.observed import Consistency, warning_of, write_consistency
from sbiwb.steps.judge.measure import (
    MAX_TRAINING_SIMULATIONS,
    SummarySpaces,
)
from sbiwb.steps.trust.conformal_intervals import regions_of, with_conformal
from sbiwb.steps.trust.verdict import Trust, first_to_look_at, trust_attributes
from sbiwb.stopping import raise_on_signal
from sbiwb.words import counted
from sbiwb.workflow.predict import Predictor
from sbiwb.workflow.sample_draws import Drawer, LikelihoodSource, ObservedDraws, SampleOptions
from sbiwb.workflow.sample_shares import (
    EPISTEMIC,
    EpistemicShares,
    epistemic_shares,
    usual_shares,
    with_share,
)
from sbiwb.workflow.sample_trust import TrustEvidence, TrustJudge

__all__ = [
    "PICTURES",
    "Sampled",
    "choose_observations",
    "context_values",
    "from_file",
    "named_observations",
    "sample",
]

MISSPECIFICATION = "misspecification"
PICTURES = 3  # of many data sets that get pictures of their own


@dataclass(frozen=True)
class Sampled:
    """Posterior of one observation (one or many data sets).

    Args:
        name: The observation.
        folder: Where its files are.
        rows: The summary table.
        warnings: Sentences on data that no simulation resembles, and on draws outside the prior.
        seconds: Wall time of the amortized draws alone.
        refined: What became of each data set, where draws were to be repaired.
        consistency: Of each data set with the learned likelihood, where there is one.
        trust: How far the posterior of each data set can be trusted.
    """

    name: str
    folder: Path
    rows: tuple[report.Row, ...]
    warnings: tuple[str, ...]
    seconds: float
    refined: tuple[Refined, ...] = ()
    consistency: tuple[Consistency, ...] = ()
    trust: tuple[Trust, ...] = ()

    @property
    def suspects(self) -> list[Trust]:
        """The data sets that do not pass, the worst first."""
        return first_to_look_at(self.trust)


def check_gate(results: Sequence[Sampled]) -> None:
    """Whether the posterior of every data set may be used.

    Raises:
        GateFailed: The trust verdict of one is `fail`, with its reason and remedy.
    """
    for result in results:
        failing = [one for one in result.suspects if one.verdict == "fail"]
        if failing:
            worst = failing[0]
            raise GateFailed(
                f"is not to be trusted at {counted(len(failing), 'data set')}, above all "
                f"{worst.data_set}: {worst.reason}",
                where=result.name,
                todo=f"{worst.remedy[:1].upper()}{worst.remedy[1:]}.",
            )


def sample(
    project: Project,
    observations: Sequence[NamedObservation],
    reporter: Reporter,
    *,
    draws: int,
    seed: int,
    how: str | None = None,
    likelihood: LikelihoodSource | None = None,
    ess: int = 0,
    pictures: int = PICTURES,
    verify: bool = False,
    truth: Path | None = None,
    reference: Path | None = None,
) -> list[Sampled]:
    """Infers observations.

    Args:
        project: A trained run.
        observations: Their files, and how to read them.
        reporter: Where progress goes.
        draws: Posterior draws for each data set.
        seed: Root of the draws.
        how: What repairs the draws where they need it; None leaves them as the network gives them.
        likelihood: By which; None: the simulator file's where it has one, else the learned one.
        ess: Effective draws that importance weights must be worth.
        pictures: How many data sets of an observation with many get a pair plot and simulations
            over the data, the first ones; all of them share a picture.
        verify: Whether to judge each data set also by simulations from its posterior, and by
            classifiers.
        truth: A file with the true parameters of each data set, for the pictures.
        reference: A folder of draws by another method, for the pictures.

    Raises:
        ConfigError: Draws are to be repaired, and the simulator file has no `log_likelihood`.
        DataError: An observation does not fit the simulator.
        RunError: Nothing is trained yet, there is nothing to infer, or the reference is one of
            other parameters or data.
    """
    if not observations:
        raise RunError(
            "names no observation",
            where="problem.observations",
            todo="Add one to the YAML, or name a file: sbiwb sample CONFIG data.csv",
        )
    options = SampleOptions(draws, seed, how, likelihood, ess)
    with raise_on_signal():
        torch.set_num_threads(1)  # chunks of draws are what shares the cores
        posterior = posterior_of(project, reporter)
        drawer = Drawer(project, posterior, reporter, options)
        judge = TrustJudge(project, posterior, reporter, seed, verify)
        overlays = Overlays(posterior.columns, truth, reference)
        sampler = _Sampler(project, posterior, reporter, drawer, judge, pictures, overlays)
        layout = read_plan(project.data_run).layout
        data = [project.observe(observation, layout) for observation in observations]
        return [sampler.sample(sets) for sets in data]


@dataclass(frozen=True)
class _Sampler:
    """The trained posterior of a project, and what its draws are compared with."""

    project: Project
    posterior: Posterior
    reporter: Reporter
    drawer: Drawer
    judge: TrustJudge
    pictures: int
    overlays: Overlays

    def sample(self, data: DataSets) -> Sampled:
        """Infers one observation, and writes what is found."""
        project, options, start = self.project, self.drawer.options, time.perf_counter()
        truths, reference = self.overlays.truths(data), self.overlays.draws(data)
        misfit = self._misfit(data)
        drawn = self.drawer.draw(data, misfit.odd)
        draws = self._posterior_draws(data, drawn.theta)
        shares = epistemic_shares(self.posterior, data, options.seed)
        trust = self._trust(data, misfit, drawn)
        conformal = None if drawn.likelihood else self.judge.conformal(data, drawn.theta)
        rows = [with_share(row, shares) for row in rows_of(draws)]
        rows = with_conformal(rows, data.labels, self.posterior.columns, conformal)
        predictor = Predictor(project, self.reporter)
        predicted, failed = predictor.simulate(data, drawn.theta, options.seed)
        warnings = [*self._warnings(draws, misfit, drawn), *failed]

        folder = PosteriorDir(project.run.sample(data.name))
        about = {**self._about(), **trust_attributes(trust)}
        write_table(
            folder,
            draws,
            rows,
            warnings=warnings,
            misfit=misfit.values,
            trust=[result.to_json() for result in trust],
            regions=regions_of(data.labels, conformal),
        )
        constants = project.config.problem.constants
        omitted = write_draws(
            folder,
            draws,
            about={**about, "likelihood": drawn.likelihood},
            constants=constants,
            predicted=predicted,
            log_likelihood=drawn.log_likelihood,
        )
        observables = ObservablePictures.of(project.source, project.config.model.inputs)
        pictures = PosteriorPictures(
            draws, rows, observables, predicted, self.pictures, truths, reference
        )
        pictures.write(folder.path)
        self._put_shares(folder, data, shares)
        self._put_evidence(folder, drawn)
        seconds = time.perf_counter() - start
        put_provenance(folder.path, seconds=seconds, facts=self._provenance(drawn))
        self._tell(data, warnings, omitted)
        return Sampled(
            data.name,
            folder.path,
            tuple(rows),
            tuple(warnings),
            drawn.seconds,
            drawn.refined,
            drawn.consistency,
            tuple(trust),
        )

    def _put_shares(self, folder: PosteriorDir, data: DataSets, shares: EpistemicShares) -> None:
        """The picture of how unsure the networks themselves are, where there are several."""
        if shares:
            usual = usual_shares(self.project.run)
            figure = report.shares_picture(data.labels, shares.by_column, usual)
            put_picture(folder.path / EPISTEMIC, figure)

    def _put_evidence(self, folder: PosteriorDir, drawn: ObservedDraws) -> None:
        """What a likelihood has said of the draws; what it said of earlier ones goes."""
        folder.refined.unlink(missing_ok=True)
        if self.drawer.options.how is not None:
            write_refined(folder.path, drawn.refined, self.drawer.options.how)
        if drawn.consistency:
            write_consistency(folder.path, drawn.consistency)

    def _provenance(self, drawn: ObservedDraws) -> dict[str, object]:
        return {
            "weights": weights_hash(self.project.run),
            "data_hash": self.project.data_hash,
            "seed": self.drawer.options.seed,
            "draws": self.drawer.options.draws,
            "draw_seconds": drawn.seconds,
            "likelihood": drawn.likelihood,
        }

    def _tell(self, data: DataSets, warnings: Sequence[str], omitted: str) -> None:
        for warning in warnings:
            self.reporter.warn(f"{data.name}: {warning}")
        for note in filter(None, [omitted, *data.notes]):
            self.reporter.say(f"{data.name}: {note}.")

    def _trust(self, data: DataSets, misfit: SimulationGap, drawn: ObservedDraws) -> list[Trust]:
        """A verdict for each data set."""
        context, prior = self.project.context, self.project.prior
        cautions = [
            *distrust.at_most_a_few(self.posterior.ood_warnings(data.variables)),
            *distrust.context_outside(context, data),
            *distrust.draws_outside(prior, drawn.theta),
        ]
        known = TrustEvidence(misfit, drawn.consistency, cautions, bool(drawn.likelihood))
        return self.judge.judge(data, drawn.theta, known)

    def _posterior_draws(self, data: DataSets, theta: np.ndarray) -> PosteriorDraws:
        theta_map = self.posterior.theta_map
        return PosteriorDraws(
            data,
            theta,
            self.project.prior,
            self.project.derived.of(theta),
            theta_map.circular,
            theta_map.levels,
        )

    def _warnings(
        self, draws: PosteriorDraws, misfit: SimulationGap, drawn: ObservedDraws
    ) -> list[str]:
        """Why not to trust the posterior."""
        data = draws.data
        left = [result for result in drawn.refined if result.verdict == Outcome.LEFT]
        return [
            *misfit.unknown,
            *distrust.at_most_a_few(self.posterior.ood_warnings(data.variables)),
            *distrust.context_outside(self.project.context, data),
            *distrust.unlike_simulations(misfit.values),
            *distrust.draws_outside(self.project.prior, drawn.theta),
            *(f"{result.data_set}: {result.reason}" for result in left),
            *self._inconsistency(drawn),
        ]

    def _inconsistency(self, drawn: ObservedDraws) -> list[str]:
        """Where the draws contradict the likelihood and were not repaired by it."""
        if drawn.likelihood:
            return []
        return warning_of(drawn.consistency, drawn.test_pairs)

    def _about(self) -> dict[str, str]:
        """What the files say of where the draws come from."""
        run = self.project.run
        return {
            "run": run.name,
            "data_hash": self.project.data_hash,
            "weights": weights_hash(run),
            "seed": str(self.drawer.options.seed),
        }

    def _misfit(self, data: DataSets) -> SimulationGap:
        """How far each data set lies from the simulations."""
        project, diagnose = self.project, self.project.config.diagnose
        try:
            test = load_split(project, "test")
            train = load_split(project, "train", most=MAX_TRAINING_SIMULATIONS)
        except (RunError, CorruptFile) as error:
            unknown = f"not compared with the simulations: {error.where} {error.what}"
            return SimulationGap(unknown=(unknown,))
        missing = tuple(project.config.problem.missing)
        spaces = SummarySpaces(self.posterior, missing, diagnose.seed)
        features = spaces.summaries(train, test, [data])
        checks = [section for section in diagnose.checks if section.kind == MISSPECIFICATION]
        check = next(iter(checks), family.parse(MISSPECIFICATION))
        values = family.module(MISSPECIFICATION).compute(features, check).values
        return SimulationGap(tuple(values), tuple(features.spaces))
