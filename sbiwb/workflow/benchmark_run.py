"""The run of one job of a benchmark: trained, drawn from, and scored on fresh pairs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.contracts import OutputKind, Silent
from sbiwb.errors import DataError
from sbiwb.posterior import Posterior
from sbiwb.project.checkpoint_facts import CheckpointFacts
from sbiwb.project.joint_model import LearnedDensities
from sbiwb.project.likelihoods import likelihood_projects
from sbiwb.project.plan import read_plan
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.target import target_of
from sbiwb.project.trained_likelihood import likelihood_of
from sbiwb.records import Columns, Variable
from sbiwb.rundir import Provenance, read_provenance
from sbiwb.seeds import generator
from sbiwb.steps.exact.pooled_draws import pooled_draws
from sbiwb.steps.exact.reference_posteriors import ReferenceSet
from sbiwb.training.checkpoint import newest
from sbiwb.workflow import train
from sbiwb.workflow.train_choices import complete
from sbiwb.workflow.train_likelihoods import agreement_of, train_likelihoods


@dataclass(frozen=True)
class BenchmarkRun:
    """The run of a job, as it is scored."""

    project: Project

    def train(self) -> float:
        """Trains, or goes on; the wall time of the start that ended it.

        A training of another model is set aside.
        """
        start, run = time.perf_counter(), self.project.run
        train.train(self.project, Silent(), fresh=_is_of_another_model(self.project))
        provenance = read_provenance(run.train, Provenance)
        return time.perf_counter() - start if provenance is None else provenance.seconds

    def train_likelihoods(self) -> dict[str, float]:
        """Trains those that are asked for; seconds by step."""
        start = time.perf_counter()
        likelihoods = [complete(own, Silent()) for own in likelihood_projects(self.project)]
        fresh = any(map(_is_of_another_model, likelihoods))
        trained = list(train_likelihoods(self.project, Silent(), fresh=fresh))
        return {"likelihood": time.perf_counter() - start} if trained else {}

    def draws(self, posterior: Posterior, observed: Columns, count: int, seed: int) -> np.ndarray:
        """Draws (N, S, D) of all observations: of the posterior, or of it and the likelihood."""
        rng = generator(seed, "sample")
        agreement = agreement_of(self.project, Silent())
        if agreement is None:
            return posterior.sample(observed, count, rng)
        learned = likelihood_of(self.project, Silent())
        densities = LearnedDensities(self.project.source, learned)
        pooled = []
        for which in range(len(next(iter(observed.values())))):
            target = target_of(densities, observed, {}, which, posterior)
            drawn = pooled_draws(target, agreement.share, count, rng, Silent())
            pooled.append(drawn.theta)
        return np.stack(pooled)

    def observed(self, sets: Sequence[ReferenceSet]) -> dict[str, Variable]:
        """All observations of a task as data sets of its only observable.

        Raises:
            DataError: The task has several observables, or the sizes do not fit.
        """
        project = self.project
        layout = read_plan(project.data_run).layout
        if len(layout) != 1 or project.context or any(part.ragged for part in layout.values()):
            raise DataError(
                f"has the variables {', '.join([*layout, *project.context])}, "
                "and reference posteriors hold one array x of one size",
                where=project.source.path,
                todo="Return one array of one size from the simulator.",
            )
        ((name, observable),) = layout.items()
        sizes = int(np.prod(observable.shape)), project.prior.size
        for reference in sets:
            if (reference.x.size, reference.theta_true.size) != sizes:
                raise DataError(
                    f"takes {sizes[0]} numbers for {sizes[1]} parameters; "
                    f"references have {reference.x.size} for {reference.theta_true.size}",
                    where=project.source.path,
                    todo="Take the references of this task.",
                )
        return {name: np.stack([reference.x.reshape(observable.shape) for reference in sets])}

    def nlpd(self, posterior: Posterior) -> float | None:
        """-mean log q(theta | x) of the test pairs; None where there is no density."""
        if posterior.output_kind != OutputKind.JOINT:
            return None
        pairs, prior = load_split(self.project, "test"), self.project.prior
        return float(-posterior.log_prob(prior.stack(pairs.theta), pairs.variables).mean())


def _is_of_another_model(project: Project) -> bool:
    """Whether what was trained before in its folder is another model."""
    before, _ = newest(project.run.train)
    if before is None:
        return False
    return CheckpointFacts.of(before.content, before.path).model_hash != project.model_hash
