"""Importance sampling: draws of the amortized posterior, or of a normal distribution, weighted by
the exact density.

    w_s = p(z_s) / q(z_s),   log evidence = log mean_s w_s,   ESS = (sum w)² / sum w²

The draws handed back are drawn from the weighted ones without replacement, so that none comes
twice; see `sbiwb.pareto`.

Warning: beyond a Pareto k of 0.7 no number derived from the weights is to be trusted, the evidence
and the standard errors included. A proposal that misses a part of the posterior altogether is not
found out by its weights.

References:
    Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling,
        https://arxiv.org/abs/1507.02646
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sbiwb.contracts import Proposal, Reference, ReferencePart, Reporter, Target, TargetNeed
from sbiwb.errors import DataError
from sbiwb.families import Count

# share of the weight that drawing without replacement may move: C2ST rises by half of it at most
MAX_DISTORTION = 0.02


class Config(ReferencePart):
    """What is weighted, and how much of it."""

    needs: ClassVar[TargetNeed] = "density"

    proposal: Literal["amortized", "prior", "map", "normal"] = Field(
        "amortized",
        description="The trained network's posterior, or a normal on z: of the prior's mean and "
        "covariance, around the mode, or N(0, 1).",
    )
    width: float = Field(
        1.0, gt=0, le=1e3, description="Factor on the standard deviations of a normal proposal."
    )
    proposals: Count = Field(
        200_000, ge=100, le=1_000_000_000, description="Draws of the proposal."
    )

    @property
    def uses_amortized(self) -> bool:
        return self.proposal == "amortized"

    def run(
        self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Reference:
        """`draws` draws without duplicates; facts are `pareto_k`, `ess`, `efficiency`,
        `log_evidence` and its error, `distortion`.

        Raises:
            DataError: There is no amortized posterior to propose, or fewer proposals than draws are
                possible.
        """
        from sbiwb.pareto import distortion, importance_weights, resample

        z, log_density, log_proposal = self._weighted(target, rng, reporter)
        weights = importance_weights(log_density, log_proposal)
        moved = distortion(weights.log_weights, draws)
        facts = weights.facts(target.evidence)
        facts |= {"proposals": float(self.proposals), "distortion": moved}
        chosen = resample(z, weights.log_weights, draws, rng)
        warnings = (*weights.warnings(), *_distorted(moved, draws, weights.ess))
        return Reference(target.theta(chosen), facts=facts, warnings=warnings)

    def _weighted(
        self, target: Target, rng: np.random.Generator, reporter: Reporter
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """z (N, D), log p(z) (N,) and log q(z) (N,) of all proposals."""
        from sbiwb.references._proposals import weighted

        parts = []
        with reporter.task("importance", self.proposals, unit="proposals") as ticker:
            for part in weighted(target, self._proposal(target, rng), self.proposals, rng):
                parts.append(part)
                ticker.advance(len(part[0]))
        z, log_density, log_proposal = zip(*parts, strict=True)
        return np.concatenate(z), np.concatenate(log_density), np.concatenate(log_proposal)

    def _proposal(self, target: Target, rng: np.random.Generator) -> Proposal:
        from sbiwb.references._proposals import NormalProposal, normal_of

        if self.proposal == "normal":
            d = len(target.columns)
            return NormalProposal(np.zeros(d), self.width * np.eye(d))
        if self.proposal != "amortized":
            normal = normal_of(target, self.proposal, rng)
            return replace(normal, scale=self.width * normal.scale)
        if target.amortized is None:
            raise DataError(
                "there is no amortized posterior to propose from",
                where="importance",
                todo="Train the network first (sbiwb train), or choose proposal: map, prior or "
                "normal.",
            )
        return target.amortized


def _distorted(moved: float, draws: int, ess: float) -> tuple[str, ...]:
    if moved <= MAX_DISTORTION:
        return ()
    return (
        f"drawing {draws:,} without replacement moves {moved:.1%} of the weight, for the "
        f"effective number of draws is {ess:,.0f}: "
        "take more proposals or fewer draws.",
    )
