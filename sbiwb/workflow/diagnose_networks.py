"""The networks that `diagnose` judges together: the run's own, and its learned likelihoods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sbiwb.contracts import Reporter
from sbiwb.diagnostics import (
    NETWORK,
    Advice,
    Judgment,
    Training,
    advise,
    advise_likelihood,
    judge,
)
from sbiwb.evidence import Draws
from sbiwb.project.likelihoods import folder_of, wanted
from sbiwb.project.opening import open_project
from sbiwb.project.project import Project
from sbiwb.rundir import RunDir, TrainProvenance, read_provenance
from sbiwb.steps.judge import checks as judge_checks
from sbiwb.steps.judge.checks import CheckResult, RunFacts
from sbiwb.steps.judge.strata import Stratum, strata
from sbiwb.workflow.diagnose_evidence import evidence_of

MIN_VALIDATIONS = 5  # from which we know whether the loss was still falling


@dataclass(frozen=True)
class CheckedNetwork:
    """What was computed of one network.

    Args:
        project: The run that it is trained in.
        name: What it is called among others; empty for the run's own.
        draws: Of the test pairs.
        results: Of every check and stratum.
        parts: The strata.
        small_parts: Sentences on those with too few pairs.
    """

    project: Project
    name: str
    draws: Draws
    results: Sequence[CheckResult]
    parts: Sequence[Stratum]
    small_parts: Sequence[str]

    @property
    def structure(self) -> str:
        """Whose likelihood it is; empty for a posterior."""
        members = self.project.members
        return members.members_of if members is not None else ""

    def named_results(self) -> Iterator[CheckResult]:
        """Results under names that tell the networks apart."""
        prefix = f"{self.name}{NETWORK}" if self.name else ""
        for check, config, result in self.results:
            yield f"{prefix}{check}", config, result

    def own(self, judgments: Sequence[Judgment]) -> list[Judgment]:
        """Judgments of this network."""
        return [judgment for judgment in judgments if judgment.network == self.name]

    def advice(self, judgments: Sequence[Judgment]) -> list[Advice]:
        """What its own judgments look like, and what to change."""
        own, training = self.own(judgments), training_of(self.project.run)
        if self.structure:
            return advise_likelihood(self.structure, own, training)
        return advise(own, training)


@dataclass(frozen=True)
class CheckedRun:
    """All that was computed, before it is written.

    Args:
        own: The run's own network.
        likelihoods: Those beside it.
        judgments: Of every number of all of them.
        advice: What they look like, and what to change.
    """

    own: CheckedNetwork
    likelihoods: Sequence[CheckedNetwork]
    judgments: Sequence[Judgment]
    advice: Sequence[Advice]

    @classmethod
    def of(cls, own: CheckedNetwork, likelihoods: Sequence[CheckedNetwork]) -> CheckedRun:
        """Verdicts over everything together."""
        networks = [own, *likelihoods]
        judgments = judge([result for network in networks for result in network.named_results()])
        advice = [finding for network in networks for finding in network.advice(judgments)]
        return cls(own, likelihoods, judgments, advice)

    def parts(self) -> Iterator[CheckedRun]:
        """Each likelihood by itself, with the verdicts that it has among all."""
        for network in self.likelihoods:
            judgments = [judgment.alone() for judgment in network.own(self.judgments)]
            alone = replace(network, name="")
            yield CheckedRun(alone, (), judgments, alone.advice(judgments))


def checked_run(project: Project, reporter: Reporter) -> CheckedRun:
    """Evidence, all checks on it, and verdicts over everything.

    Args:
        project: A trained run.
        reporter: Where progress goes.
    """
    likelihoods = list(_likelihoods(project, reporter))
    is_whole = bool(likelihoods) and len(likelihoods) == len(wanted(project.config))
    own = _checked(project, reporter, has_joint=is_whole and not project.prior.joint)
    beside = []
    for likelihood in likelihoods:
        name = likelihood.run.name
        reporter.say(f"Likelihood of {name}:")
        beside.append(_checked(likelihood, reporter, name=f"likelihood {name}"))
    return CheckedRun.of(own, beside)


def _likelihoods(project: Project, reporter: Reporter) -> Iterator[Project]:
    """The trained likelihoods of a run; why others are not judged is told."""
    for name in wanted(project.config):
        run = folder_of(project.run, name)
        if not run.best.is_file():
            reporter.say(f"The likelihood of {name} is not trained yet, and not judged.")
            continue
        likelihood = open_project(run.path)
        members = likelihood.members
        if members is None or members.data_hash != project.data_hash:
            reporter.warn(
                f"the likelihood of {name} is trained on another problem, and not judged: run "
                "`sbiwb train --fresh` on the config."
            )
            continue
        config = likelihood.config.model_copy(update={"machine": project.config.machine})
        yield replace(likelihood, config=config)


def _checked(
    project: Project, reporter: Reporter, *, name: str = "", has_joint: bool = False
) -> CheckedNetwork:
    """Evidence of one network, and all checks on it."""
    options = project.config.diagnose
    evidence = evidence_of(project, reporter, has_joint=has_joint)
    parts, small = strata(evidence.draws, options.by, options.strata)
    for sentence in small:
        reporter.say(f"Stratum {sentence}.")
    posterior = evidence.run.posterior
    facts = RunFacts(
        posterior.output_kind,
        lambda: bool(evidence.observations),
        project.is_imported,
        project.config.train.regime == "online",
        has_joint,
    )
    checks = judge_checks.judgeable(options.checks, facts, len(posterior.networks), reporter)
    results = judge_checks.run_checks(checks, evidence, parts, reporter)
    return CheckedNetwork(project, name, evidence.draws, results, parts, small)


def training_of(run: RunDir) -> Training | None:
    """How training ended; after a handful of validations nobody knows whether it was done."""
    end = read_provenance(run.train, TrainProvenance)
    if end is None:
        return None
    return Training(
        still_falling=end.still_falling or _validations(run) < MIN_VALIDATIONS,
        gap=end.gap,
        overfits=end.overfits,
        best_step=end.best_step,
        best_loss=end.best_loss,
        last_loss=end.last_loss,
        last_train_loss=end.last_train_loss,
    )


def _validations(run: RunDir) -> int:
    """How many validations there were; enough where nobody wrote them down."""
    if not run.metrics.is_file():
        return MIN_VALIDATIONS
    return len(run.metrics.read_bytes().splitlines())
