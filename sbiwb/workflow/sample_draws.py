"""Draws of real data: by the posterior network, repaired by a likelihood, and held against it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from sbiwb.contracts import OutputKind, Reporter
from sbiwb.errors import DataError
from sbiwb.posterior import Posterior
from sbiwb.project.joint_model import JointModel, LearnedDensities
from sbiwb.project.learned_likelihood import LearnedLikelihood
from sbiwb.project.observe import DataSets
from sbiwb.project.project import Project
from sbiwb.project.target import Densities, refinement_targets
from sbiwb.project.trained_likelihood import has_likelihood, likelihood_of
from sbiwb.seeds import generator, place
from sbiwb.steps.exact.pooled_draws import PooledDraws, pooled_draws
from sbiwb.steps.exact.refine import Outcome, Refined, Repair, refine
from sbiwb.steps.joint.observed import Consistency, consistencies
from sbiwb.workflow.train_likelihoods import Agreement, agreement_of

LikelihoodSource = Literal["exact", "learned"]
MAX_PROPOSALS = 3_200_000  # for a data set, where effective draws are asked for


@dataclass(frozen=True)
class SampleOptions:
    """How real data are drawn.

    Args:
        draws: For each data set.
        seed: Root of the draws.
        how: What repairs the draws; None leaves them as the network gives them.
        likelihood: Which one repairs; None: the simulator file's where it has one, else the learned
            one.
        ess: Effective draws that importance weights must be worth; 0: as many as there come.
    """

    draws: int
    seed: int
    how: str | None = None
    likelihood: LikelihoodSource | None = None
    ess: int = 0


@dataclass(frozen=True)
class ObservedDraws:
    """Draws of an observation.

    Args:
        theta: (N, S, D).
        seconds: Wall time of the amortized draws alone.
        refined: What became of each data set, where draws were to be repaired.
        likelihood: What repaired them; empty where nothing did.
        consistency: Of each data set, where a likelihood is learned.
        test_pairs: That the spreads are held against.
        log_likelihood: Of each member (N, S, M), or of each data set (N, S), by structure.
    """

    theta: np.ndarray
    seconds: float
    refined: tuple[Refined, ...] = ()
    likelihood: str = ""
    consistency: tuple[Consistency, ...] = ()
    test_pairs: int = 0
    log_likelihood: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawer:
    """Draws real data by the networks of a run.

    Args:
        project: The run.
        posterior: Its trained posterior.
        reporter: Where progress goes.
        options: How.
    """

    project: Project
    posterior: Posterior
    reporter: Reporter
    options: SampleOptions

    def draw(self, data: DataSets, odd: Sequence[str]) -> ObservedDraws:
        """Draws of one observation.

        Args:
            data: Its N data sets.
            odd: Labels of those that no simulation resembles.
        """
        options, start = self.options, time.perf_counter()
        rng = generator(options.seed, "sample", place(data.name))
        theta = self.posterior.sample(data.variables, options.draws, rng)
        seconds = time.perf_counter() - start
        consistency = self._consistency(data, theta)
        if options.how is None:
            return ObservedDraws(
                theta,
                seconds,
                consistency=consistency,
                test_pairs=self._test_pairs,
                log_likelihood=self._log_likelihood(data, theta),
            )
        theta, refined = self._refined(data, theta, odd)
        return ObservedDraws(
            theta,
            seconds,
            tuple(refined),
            self.source,
            consistency,
            self._test_pairs,
            self._log_likelihood(data, theta),
        )

    @property
    def source(self) -> LikelihoodSource:
        """Which likelihood repairs draws."""
        if self.options.likelihood is not None:
            return self.options.likelihood
        if self.project.densities.has_likelihood or self.learned is None:
            return "exact"
        return "learned"

    @cached_property
    def learned(self) -> LearnedLikelihood | None:
        """The learned likelihood, where there is one."""
        if not has_likelihood(self.project):
            return None
        return likelihood_of(self.project, self.reporter)

    @cached_property
    def agreement(self) -> Agreement | None:
        return agreement_of(self.project, self.reporter)

    @property
    def _test_pairs(self) -> int:
        return len(self.agreement.spreads) if self.agreement else 0

    def _refined(
        self, data: DataSets, theta: np.ndarray, odd: Sequence[str]
    ) -> tuple[np.ndarray, list[Refined]]:
        options = self.options
        densities: Densities = self.project.densities
        if self.source == "learned":
            learned = self.learned or likelihood_of(self.project, self.reporter)
            densities = LearnedDensities(self.project.source, learned)
        targets = refinement_targets(densities, self.posterior, data, theta)
        if self.source == "exact" or options.how == Repair.NUTS:
            return refine(
                targets,
                data,
                theta,
                str(options.how),
                self.reporter,
                unlike=odd,
                seed=options.seed,
                ess=options.ess,
            )
        share = self.agreement.share if self.agreement else 1.0
        repaired, results = theta.copy(), []
        for which, label in enumerate(data.labels):
            rng, begun = generator(options.seed, "refine", place(data.name), which), time.time()
            try:
                pooled = pooled_draws(
                    targets(which),
                    share,
                    options.draws,
                    rng,
                    self.reporter,
                    ess=options.ess,
                    most=MAX_PROPOSALS if options.ess else 0,
                )
            except DataError as error:
                results.append(_left(label, error.what, time.time() - begun))
                continue
            repaired[which] = pooled.theta
            results.append(_of_pool(label, pooled, time.time() - begun))
        return repaired, results

    def _consistency(self, data: DataSets, theta: np.ndarray) -> tuple[Consistency, ...]:
        """How far posterior and likelihood agree at each data set."""
        learned, agreement = self.learned, None
        if learned is not None and self.posterior.output_kind == OutputKind.JOINT:
            agreement = self.agreement
        if learned is None or agreement is None:
            return ()
        c = JointModel(self.posterior, learned).log_evidence_at(theta, data.x, data.context)
        usual = np.array(agreement.spreads)
        return tuple(consistencies(data.labels, c, usual, agreement.draws))

    def _log_likelihood(self, data: DataSets, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Of each member at the draws, where all data sets have as many; else of each data set."""
        if self.learned is None:
            return {}
        each = [
            self.learned.log_probs(points, data.x, data.context, which)
            for which, points in enumerate(theta)
        ]
        arrays = {}
        for name in self.learned.factors:
            parts = [part[name] for part in each]
            if len({part.shape for part in parts}) > 1 or parts[0].shape[1] == 1:
                parts = [part.sum(1) for part in parts]
            arrays[name] = np.stack(parts)
        return arrays


def _of_pool(label: str, pooled: PooledDraws, seconds: float) -> Refined:
    reason = (
        f"learned likelihood with the share {pooled.share:.2f}, Pareto k {pooled.pareto_k:.2f}, "
        f"efficiency {pooled.efficiency:.1%}"
    )
    verdict = Outcome.REFINED if pooled.share else Outcome.KEPT
    return Refined(
        label,
        verdict,
        reason,
        pooled.pareto_k,
        pooled.efficiency,
        pooled.log_evidence,
        pooled.proposals,
        seconds,
    )


def _left(label: str, why: str, seconds: float) -> Refined:
    return Refined(label, Outcome.LEFT, why, np.inf, 0.0, -np.inf, 0, seconds)
