"""Refinement: amortized draws repaired by the exact likelihood, data set by data set, and only where they need it and can be."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sbiwb import references
from sbiwb.contracts import OutputKind, Reference, Reporter, Target
from sbiwb.errors import DataError
from sbiwb.files import finite, put_json
from sbiwb.pareto import TRUSTED_K
from sbiwb.posterior import Posterior
from sbiwb.project.observe import DataSets
from sbiwb.project.project import Project
from sbiwb.project.target import log_likelihood, target_of
from sbiwb.seeds import generator, place

How = Literal["importance", "nuts"]
GOOD = 0.95  # efficiency of weights above which draws are the posterior already
LEAST_PROPOSALS, MOST_PROPOSALS = 200_000, 3_200_000
A_DRAW = 20  # proposals for each draw at least
GROWN = 4
JUDGED = 2_000  # draws of chains at least, of which 400 must be effective
KEPT, REFINED, LEFT = "kept", "refined", "left as it is"


@dataclass(frozen=True)
class Refined:
    """What became of one data set.

    Args:
        data_set: Its label.
        verdict: kept (the amortized draws are the posterior already), refined, or left as it is (they are not, and could not be mended).
        reason: A sentence.
        pareto_k: Of the importance weights of the amortized draws.
        efficiency: ESS of the weights over their number.
        log_evidence: log p(x), worth something where Pareto k is below 0.7.
        proposals: Evaluations of the likelihood by importance sampling.
        seconds: What it took.
    """

    data_set: str
    verdict: str
    reason: str
    pareto_k: float
    efficiency: float
    log_evidence: float
    proposals: int
    seconds: float


def refine(
    project: Project,
    posterior: Posterior,
    data: DataSets,
    theta: np.ndarray,
    how: How,
    reporter: Reporter,
    *,
    unlike: Sequence[str],
    seed: int,
) -> tuple[np.ndarray, list[Refined]]:
    """Draws (N, S, D), repaired where they need it, and what became of each data set.

    The weights p(x | theta) p(theta) / q(theta | x) of 200,000 draws or more decide: where nearly all count alike, the draws stay.
    Elsewhere `importance` draws from them without replacement, if their Pareto k is below 0.7; `nuts` runs chains from amortized draws.

    Args:
        project: With a `log_likelihood` in its simulator file.
        posterior: The trained one.
        data: The data sets.
        theta: Amortized draws of each.
        how: What repairs.
        reporter: Where progress goes.
        unlike: Labels of data sets that no simulation resembles, which count as in need whatever their weights say.
        seed: Root of all random numbers.

    Raises:
        ConfigError: There is no likelihood, or a prior without a density.
        DataError: The network has no joint density, without which its draws cannot be weighed.
    """
    if posterior.output_kind != OutputKind.JOINT:
        raise DataError(
            f"the network gives {posterior.output_kind}, no joint density by which its draws could be weighed",
            where="sample --refine",
            todo="Leave out --refine, train a network with a density (model.inference: nsf), or run `sbiwb reference`.",
        )
    log_likelihood(
        project, data.x, data.context, 0, theta[0, :2]
    )  # refuses before anything is spent
    found, told = theta.copy(), []
    with reporter.task("refine", len(data), unit="data sets") as ticker:
        for i, label in enumerate(data.labels):
            target = target_of(project, data.x, data.context, i, posterior)
            rng = generator(seed, "refine", place(data.name), i)
            draws, one = _refine_one(
                target, theta[i], label, how, reporter, rng, in_need=label in unlike
            )
            found[i] = draws
            told.append(one)
            ticker.advance(k=f"{one.pareto_k:.2f}", last=one.verdict)
    return found, told


def write_refined(folder: Path, told: Sequence[Refined], how: How) -> None:
    """refined.json, numbers that are not finite as null."""
    put_json(
        folder / "refined.json", {"method": how, "data_sets": [finite(asdict(one)) for one in told]}
    )


def _refine_one(
    target: Target,
    theta: np.ndarray,
    label: str,
    how: How,
    reporter: Reporter,
    rng: np.random.Generator,
    *,
    in_need: bool,
) -> tuple[np.ndarray, Refined]:
    begun, draws = time.perf_counter(), len(theta)
    weighted, proposals = _weigh(target, draws, reporter, rng)
    if isinstance(weighted, DataError):
        one = Refined(label, LEFT, weighted.what, math.inf, 0.0, -math.inf, proposals, 0.0)
    else:
        facts = weighted.facts
        one = Refined(
            label,
            KEPT,
            "",
            facts["pareto_k"],
            facts["efficiency"],
            facts["log_evidence"],
            proposals,
            0.0,
        )
    found, verdict, reason = (
        theta,
        KEPT,
        f"the weights count alike (efficiency {one.efficiency:.0%})",
    )
    if (
        isinstance(weighted, DataError)
        or one.pareto_k > TRUSTED_K
        or one.efficiency < GOOD
        or in_need
    ):
        found, verdict, reason = _repaired(target, theta, weighted, one, how, reporter, rng)
    return found, replace(one, verdict=verdict, reason=reason, seconds=time.perf_counter() - begun)


def _weigh(
    target: Target, draws: int, reporter: Reporter, rng: np.random.Generator
) -> tuple[Reference | DataError, int]:
    """The weighted draws, or why there are none; of more and more proposals while those are too few for draws without replacement."""
    proposals = max(LEAST_PROPOSALS, A_DRAW * draws)
    while True:
        method: Any = references.family.parse({"kind": "importance", "proposals": proposals})
        try:
            found = method.run(target, draws, rng, reporter)
        except DataError as error:
            return error, proposals
        if (
            not found.warnings
            or found.facts["pareto_k"] > TRUSTED_K
            or GROWN * proposals > MOST_PROPOSALS
        ):
            return found, proposals
        proposals *= GROWN


def _repaired(
    target: Target,
    theta: np.ndarray,
    weighted: Reference | DataError,
    one: Refined,
    how: How,
    reporter: Reporter,
    rng: np.random.Generator,
) -> tuple[np.ndarray, str, str]:
    """Draws, verdict and reason."""
    if how == "nuts":
        return _chained(target, theta, one, reporter, rng)
    if isinstance(weighted, DataError):
        return theta, LEFT, one.reason
    if one.pareto_k > TRUSTED_K:
        todo = "train longer or on more pairs, or use --refine nuts"
        return (
            theta,
            LEFT,
            f"Pareto k is {one.pareto_k:.2f}: weights of these draws cannot be trusted; {todo}",
        )
    if weighted.warnings:
        return weighted.theta, REFINED, f"Pareto k {one.pareto_k:.2f}, but {weighted.warnings[0]}"
    return weighted.theta, REFINED, f"Pareto k {one.pareto_k:.2f}, efficiency {one.efficiency:.1%}"


def _chained(
    target: Target, theta: np.ndarray, one: Refined, reporter: Reporter, rng: np.random.Generator
) -> tuple[np.ndarray, str, str]:
    """The same of NUTS; chains are long enough to be judged, however few draws are asked for."""
    method: Any = references.family.parse({"kind": "nuts", "start": "amortized"})
    try:
        chains = method.run(target, max(len(theta), JUDGED), rng, reporter)
    except DataError as error:
        return theta, LEFT, f"nuts: {error.what}"
    warnings = references.judge(chains, target.columns).warnings
    if warnings:
        return theta, LEFT, f"nuts: {warnings[0]}"
    even = np.linspace(0, len(chains.theta) - 1, len(theta)).round().astype(int)
    return chains.theta[even], REFINED, f"chains from amortized draws (Pareto k {one.pareto_k:.2f})"
