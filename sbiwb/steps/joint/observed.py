"""What posterior and likelihood say together of real data: self-consistency, and the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binom

from sbiwb.files import finite, put_json
from sbiwb.pareto import TRUSTED_K, importance_weights
from sbiwb.steps.joint.consistency import p_values, spreads

ALPHA = 0.05  # of all data sets of an observation together
FILE = "consistency.json"


@dataclass(frozen=True)
class Consistency:
    """Of one data set.

    Args:
        data_set: Its label.
        spread: Of the log evidence over posterior draws, in nats.
        usual: What 95 % of the test pairs stay below.
        p: Chance of a spread as large, by the test pairs.
        log_evidence: log p(x) by importance weights of the posterior's draws.
        log_evidence_error: Its standard error.
        pareto_k: Of the weights; above 0.7 the evidence is worth nothing.
    """

    data_set: str
    spread: float
    usual: float
    p: float
    log_evidence: float
    log_evidence_error: float
    pareto_k: float

    @property
    def has_evidence(self) -> bool:
        return self.pareto_k <= TRUSTED_K


def consistencies(
    labels: Sequence[str], c: np.ndarray, usual: np.ndarray, draws: int
) -> list[Consistency]:
    """Of each data set.

    Args:
        labels: Of N data sets.
        c: log p(theta) + log l(x | theta) - log q(theta | x) at draws of q, (N, S).
        usual: Spreads at test pairs.
        draws: From how many draws each of these is; as many are looked at here.
    """
    spread = spreads(c[:, :draws])
    chances, limit = p_values(spread, usual), float(np.quantile(usual, 0.95))
    results = []
    for place, label in enumerate(labels):
        weights = importance_weights(c[place], np.zeros(c.shape[1]))
        results.append(
            Consistency(
                label,
                float(spread[place]),
                limit,
                float(chances[place]),
                weights.log_integral,
                weights.log_integral_error,
                weights.pareto_k,
            )
        )
    return results


def inconsistent(results: Sequence[Consistency], number: int) -> list[Consistency]:
    """The data sets whose posterior contradicts the likelihood, the worst first.

    After Holm's correction; where so many data sets are judged that no rank among the test pairs
    could be rejected, those below 5 % where they are more than chance has.

    Args:
        results: Of all data sets.
        number: Test pairs.
    """
    ordered = sorted(results, key=lambda result: result.p)
    if len(ordered) > ALPHA * (1 + number):
        suspects = [result for result in ordered if result.p <= ALPHA]
        by_chance = binom.sf(len(suspects) - 1, len(ordered), ALPHA)
        return suspects if by_chance < ALPHA else []
    rejected = []
    for place, result in enumerate(ordered):
        if result.p * (len(ordered) - place) > ALPHA:
            break
        rejected.append(result)
    return rejected


def warning_of(results: Sequence[Consistency], number: int) -> list[str]:
    """One sentence on the data sets at which the posterior contradicts the likelihood.

    Args:
        results: Of all data sets.
        number: Test pairs, which are the least p-value that there can be.
    """
    rejected = inconsistent(results, number)
    if not rejected:
        return []
    worst = rejected[0]
    where = worst.data_set if len(rejected) == 1 else f"{len(rejected)} data sets"
    return [
        f"posterior and likelihood contradict each other at {where} (log evidence varies by "
        f"{worst.spread:.2g} nats over its draws, at 95 % of {number} test pairs by less than "
        f"{worst.usual:.2g}; p = {worst.p:.2g}): use --refine importance --likelihood learned, "
        "and look whether the data are unlike the simulations"
    ]


def write_consistency(folder: Path, results: Sequence[Consistency]) -> None:
    """consistency.json, numbers that are not finite as null."""
    put_json(folder / FILE, {"data_sets": [finite(asdict(result)) for result in results]})
