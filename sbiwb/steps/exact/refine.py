"""Refinement: amortized draws repaired by the exact likelihood, where they need it and can be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from sbiwb import references
from sbiwb.contracts import Reference, Reporter, Silent, Target
from sbiwb.errors import DataError
from sbiwb.files import finite, put_json
from sbiwb.pareto import TRUSTED_K
from sbiwb.project.observe import DataSets
from sbiwb.seeds import generator, place
from sbiwb.words import duration

MIN_EFFICIENCY = 0.95  # of the weights, from which on the draws are the posterior already
PILOT_PROPOSALS = 10_000
HOPELESS_K = (
    0.85  # Pareto k of the pilot that says, at two of its sd, that the true one is over 0.7
)
MIN_PROPOSALS, MAX_PROPOSALS = 200_000, 3_200_000
PROPOSALS_PER_DRAW = 20
PROPOSALS_GROWTH = 4
MIN_CHAIN_DRAWS = 2_000  # of which 400 must be effective


class Repair(StrEnum):
    """What repairs draws."""

    IMPORTANCE = "importance"
    NUTS = "nuts"


class Outcome(StrEnum):
    """What became of the draws of a data set."""

    KEPT = "kept"
    REFINED = "refined"
    LEFT = "left as it is"


@dataclass(frozen=True)
class Refined:
    """What became of one data set.

    Args:
        data_set: Its label.
        verdict: Kept: the amortized draws are the posterior already. Left: they are not, and could
            not be repaired.
        reason: A sentence.
        pareto_k: Of the importance weights of the amortized draws.
        efficiency: ESS of the weights over their number.
        log_evidence: log p(x), worth something where Pareto k is below 0.7.
        proposals: Evaluations of the likelihood by importance sampling.
        seconds: What it took.
    """

    data_set: str
    verdict: Outcome
    reason: str
    pareto_k: float
    efficiency: float
    log_evidence: float
    proposals: int
    seconds: float


@dataclass(frozen=True)
class Weighing:
    """Amortized draws weighed by the likelihood.

    Args:
        reference: Draws by the weights; None where there are none.
        proposals: How many were weighed.
        problem: Why there are no draws.
    """

    reference: Reference | None
    proposals: int
    problem: str = ""

    @property
    def pareto_k(self) -> float:
        return self._fact("pareto_k", math.inf)

    @property
    def efficiency(self) -> float:
        return self._fact("efficiency", 0.0)

    @property
    def ess(self) -> float:
        return self._fact("ess", 0.0)

    @property
    def log_evidence(self) -> float:
        return self._fact("log_evidence", -math.inf)

    @property
    def trusted(self) -> bool:
        """Whether the weights are worth something."""
        return self.reference is not None and self.pareto_k <= TRUSTED_K

    def _fact(self, name: str, otherwise: float) -> float:
        return otherwise if self.reference is None else self.reference.facts[name]


@dataclass(frozen=True)
class _Repaired:
    """Draws (S, D) with what became of them."""

    theta: np.ndarray
    verdict: Outcome
    reason: str


def refine(
    targets: Callable[[int], Target],
    data: DataSets,
    theta: np.ndarray,
    how: str,
    reporter: Reporter,
    *,
    unlike: Collection[str],
    seed: int,
    ess: int = 0,
) -> tuple[np.ndarray, list[Refined]]:
    """Draws (N, S, D), repaired where they need it, and what became of each data set.

    The weights p(x | theta) p(theta) / q(theta | x) of 200,000 draws or more decide: where nearly
    all count alike, the draws stay. Elsewhere `importance` draws from them without replacement, if
    their Pareto k is below 0.7; `nuts` runs chains from amortized draws. A pilot of 10,000 weights
    comes first: it says what the others will cost, and leaves them out where they are no use.

    Args:
        targets: The target of a data set by its place, as `project.target.refinement_targets` has.
        data: The N data sets.
        theta: Amortized draws of each, (N, S, D).
        how: What repairs, a value of `Repair`.
        reporter: Where progress goes.
        unlike: Labels of data sets that no simulation resembles, which count as in need whatever
            their weights say.
        seed: Root of all random numbers.
        ess: Effective draws that the weights must be worth, as far as proposals allow.
    """
    repaired, results = theta.copy(), []
    with reporter.task("refine", len(data), unit="data sets") as ticker:
        for which, label in enumerate(data.labels):
            rng = generator(seed, "refine", place(data.name), which)
            refinement = _Refinement(targets(which), label, Repair(how), reporter, rng, ess)
            repaired[which], result = refinement.run(theta[which], in_need=label in unlike)
            results.append(result)
            ticker.advance(k=f"{result.pareto_k:.2f}", last=result.verdict)
    return repaired, results


def write_refined(folder: Path, results: Sequence[Refined], how: str) -> None:
    """refined.json, numbers that are not finite as null."""
    rows = [finite(asdict(result)) for result in results]
    put_json(folder / "refined.json", {"method": how, "data_sets": rows})


@dataclass(frozen=True)
class _Refinement:
    """The refinement of one data set."""

    target: Target
    label: str
    how: Repair
    reporter: Reporter
    rng: np.random.Generator
    ess: int

    def run(self, theta: np.ndarray, *, in_need: bool) -> tuple[np.ndarray, Refined]:
        """Draws (S, D) and what became of them."""
        begun = time.perf_counter()
        weighing = self._weigh(len(theta))
        repaired = _Repaired(
            theta,
            Outcome.KEPT,
            f"the weights count alike (efficiency {weighing.efficiency:.0%})",
        )
        if in_need or not weighing.trusted or weighing.efficiency < MIN_EFFICIENCY:
            repaired = self._repair(theta, weighing)
        return repaired.theta, Refined(
            self.label,
            repaired.verdict,
            repaired.reason,
            weighing.pareto_k,
            weighing.efficiency,
            weighing.log_evidence,
            weighing.proposals,
            time.perf_counter() - begun,
        )

    def _weigh(self, draws: int) -> Weighing:
        """Weighed draws, of more and more proposals while they are too few for distinct draws."""
        begun = time.perf_counter()
        pilot = self._weighed(
            PILOT_PROPOSALS, PILOT_PROPOSALS // 10, self.rng.spawn(1)[0], Silent()
        )
        seconds = (time.perf_counter() - begun) / PILOT_PROPOSALS
        if pilot.reference is None or pilot.pareto_k > HOPELESS_K:
            return pilot
        proposals = max(MIN_PROPOSALS, PROPOSALS_PER_DRAW * draws)
        while True:
            self.reporter.say(
                f"{self.label}: {proposals:,} likelihoods, about {duration(proposals * seconds)}."
            )
            weighing = self._weighed(proposals, draws, self.rng, self.reporter)
            enough = weighing.reference is None or (
                not weighing.reference.warnings and weighing.ess >= self.ess
            )
            last = PROPOSALS_GROWTH * proposals > MAX_PROPOSALS
            if enough or last or not weighing.trusted:
                return weighing
            proposals *= PROPOSALS_GROWTH

    def _weighed(
        self, proposals: int, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Weighing:
        method = references.family.parse({"kind": "importance", "proposals": proposals})
        try:
            return Weighing(method.run(self.target, draws, rng, reporter), proposals)
        except DataError as error:
            return Weighing(None, proposals, error.what)

    def _repair(self, theta: np.ndarray, weighing: Weighing) -> _Repaired:
        if self.how == Repair.NUTS:
            return self._chain(theta, weighing)
        reference = weighing.reference
        if reference is None:
            return _Repaired(theta, Outcome.LEFT, weighing.problem)
        k = f"Pareto k {weighing.pareto_k:.2f}"
        if not weighing.trusted:
            return _Repaired(
                theta,
                Outcome.LEFT,
                f"Pareto k is {weighing.pareto_k:.2f}: weights of these draws cannot be trusted; "
                "train longer or on more pairs, or use --refine nuts",
            )
        if reference.warnings:
            reason = f"{k}, but {reference.warnings[0]}"
            return _Repaired(reference.theta, Outcome.REFINED, reason)
        reason = f"{k}, efficiency {weighing.efficiency:.1%}"
        return _Repaired(reference.theta, Outcome.REFINED, reason)

    def _chain(self, theta: np.ndarray, weighing: Weighing) -> _Repaired:
        """Draws of NUTS; chains long enough to be judged, however few draws are asked for."""
        method = references.family.parse({"kind": "nuts", "start": "amortized"})
        draws = max(len(theta), MIN_CHAIN_DRAWS)
        try:
            chains = method.run(self.target, draws, self.rng, self.reporter)
        except DataError as error:
            return _Repaired(theta, Outcome.LEFT, f"nuts: {error.what}")
        warnings = references.judge(chains, self.target.columns).warnings
        if warnings:
            return _Repaired(theta, Outcome.LEFT, f"nuts: {warnings[0]}")
        even = np.linspace(0, len(chains.theta) - 1, len(theta)).round().astype(int)
        reason = f"chains from amortized draws (Pareto k {weighing.pareto_k:.2f})"
        return _Repaired(chains.theta[even], Outcome.REFINED, reason)
