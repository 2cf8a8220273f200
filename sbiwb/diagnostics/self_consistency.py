r"""Self-consistency: does the posterior obey Bayes' rule with the learned likelihood?

    c(theta) = log p(theta) + log l(x | theta) - log q(theta | x)

is a test quantity like any other: among its values at draws of an exact posterior, that at the
truth has a uniform rank, whatever the likelihood l is. So a rejection is a finding on the
posterior; and no test quantity sees more than one that nears log p(theta | x) - log q(theta | x),
the very error of the posterior, as it does where l is right.

The effect, max |ECDF - z|, has a meaning of its own where l is right: c orders theta by the ratio
of the exact posterior to q, so that it is their total variation distance, and a classifier of draws
and truths is right with the chance (1 + effect) / 2.

How much c varies over the draws of a data set, which would be 0 by Bayes' rule, tells how far the
two contradict each other, whichever is wrong; it is shown, not judged.

References:
    Modrák et al. 2025, https://arxiv.org/abs/2211.02383.
    Schmitt et al. 2024, https://arxiv.org/abs/2310.04395.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticResult
from sbiwb.diagnostics import _calibration, _inputs, _sbc_pictures, sbc
from sbiwb.diagnostics.sbc import RankedQuantity
from sbiwb.evidence import EvidenceKind, LogEvidences, Quantity, Shape, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITY = "log evidence"
RANKS, SPREAD = "self_consistency_log_gamma", "self_consistency_spread"
TAIL = 0.01  # of the draws at either end, that count as what lies at that quantile
HEADING = "Self-consistency: does the posterior obey Bayes' rule with the likelihood?"
WORDS = {
    Shape.BIASED_LOW: "the likelihood tells the truth from draws of the posterior",
    Shape.BIASED_HIGH: "where they differ, the likelihood leads away from the truth",
}
OTHERWISE = "posterior and likelihood contradict each other"
DEFINITIONS = {
    RANKS: "log(gamma / its 5 % quantile under uniform ranks), below 0 rejects, of the ranks of "
    "log p(theta) + log l(x|theta) - log q(theta|x) at the truth among that at draws; uniform for "
    "an exact posterior, whatever the likelihood l [Modrák et al. 2025]",
    SPREAD: "standard deviation of the same over the draws of a data set, the median over test "
    "pairs, in nats; 0 by Bayes' rule [Schmitt et al. 2024]",
}


class Config(_calibration.CalibrationConfig):
    """Options of self-consistency."""

    takes: ClassVar[EvidenceKind] = EvidenceKind.LOG_EVIDENCES

    tolerance: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Largest effect that warns only, where the check rejects; with a likelihood "
        "that is right, twice what a classifier of draws and truths beats chance by.",
    )


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """Ranks of the log evidence, and how much it varies.

    Args:
        ranks: As of any test quantity.
        values: `self_consistency_log_gamma` and `self_consistency_spread`.
    """

    ranks: sbc.Result
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = DEFINITIONS


def compute(evidences: LogEvidences, config: Config) -> Result:
    """Ranks of c at the truth among c at draws."""
    quantity = Quantity(evidences.truth, evidences.draws)
    ranks = _inputs.quantity_ranks(quantity, generator(evidences.seed, "ranks", 4))
    trouble = _inputs.quantity_trouble(QUANTITY, quantity)
    ranked = RankedQuantity(QUANTITY, ranks[:, 0], trouble)
    judged = sbc.judged([ranked], evidences.draws.shape[1], config.alpha)
    return Result(judged, (_ranked(judged.values[0]), _spread(evidences.draws)))


def _ranked(value: Value) -> Value:
    """The number of the ranks, in words of its own."""
    reason = value.reason
    if value.shapes:
        reason = WORDS.get(value.shapes[0], OTHERWISE)
    return replace(value, name=RANKS, reason=reason, shapes=())


def _spread(draws: np.ndarray) -> Value:
    """How much c (N, S) varies over draws, in the median."""
    spreads = np.full(len(draws), np.nan)
    if draws.shape[1] > 1 and not np.isnan(draws).any():
        with np.errstate(invalid="ignore"):
            low, high = np.quantile(draws, [TAIL, 1 - TAIL], axis=1, keepdims=True)
            whole = np.isfinite(low + high)[:, 0]
        spreads[whole] = np.clip(draws[whole], low[whole], high[whole]).std(axis=1, ddof=1)
    finite = spreads[np.isfinite(spreads)]
    if not len(finite):
        return Value(SPREAD, QUANTITY, None, reason=f"{QUANTITY} is not finite")
    low, high = np.quantile(finite, [0.05, 0.95])
    reason = f"it varies by {np.median(finite):.2g} nats over draws (90 %: {low:.2g} to {high:.2g})"
    return Value(SPREAD, QUANTITY, float(np.median(finite)), reason=reason)


def plot(result: Result) -> Figure:
    """Rank histogram and ECDF difference of the log evidence."""
    return _sbc_pictures.histograms(result.ranks, [0], HEADING)
