r"""Self-consistency: does the posterior obey Bayes' rule with the learned likelihood?

    c(theta) = log p(theta) + log l(x | theta) - log q(theta | x)

is a test quantity like any other: among its values at draws of an exact posterior, that at the
truth has a uniform rank, whatever the likelihood l is. So a rejection is a finding on the
posterior; and no test quantity sees more than one that nears log p(theta | x) - log q(theta | x),
the very error of the posterior, as it does where l is right.

The effect, max |ECDF - z|, has a meaning of its own where l is right: c orders theta by the ratio
of the exact posterior to q, so that at one data set it is their total variation distance, and over
all of them about its mean; a classifier of draws and truths is right with the chance
(1 + effect) / 2.

References:
    Modrák et al. 2025, https://arxiv.org/abs/2211.02383.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sbiwb.contracts import DiagnosticResult
from sbiwb.diagnostics import _calibration, _inputs, _sbc_pictures, sbc
from sbiwb.diagnostics.sbc import RankedQuantity
from sbiwb.evidence import EvidenceKind, LogEvidences, Quantity, Shape, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITY = "log evidence"
NAME = "self_consistency_log_gamma"
HEADING = "Self-consistency: does the posterior obey Bayes' rule with the likelihood?"
WORDS = {
    Shape.BIASED_LOW: "the likelihood tells the truth from draws of the posterior",
    Shape.BIASED_HIGH: "where they differ, the likelihood leads away from the truth",
}
OTHERWISE = "posterior and likelihood contradict each other"
DEFINITION = (
    "log(gamma / its 5 % quantile under uniform ranks), below 0 rejects, of the ranks of "
    "log p(theta) + log l(x|theta) - log q(theta|x) at the truth among that at draws; uniform for "
    "an exact posterior, whatever the likelihood l; effect: max |ECDF - z|, with a right l "
    "about the total variation distance from the exact posterior [Modrák et al. 2025]"
)


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
    """Ranks of the log evidence.

    Args:
        ranks: As of any test quantity.
        values: `self_consistency_log_gamma`.
    """

    ranks: sbc.Result
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {NAME: DEFINITION}


def compute(evidences: LogEvidences, config: Config) -> Result:
    """Ranks of c at the truth among c at draws."""
    quantity = Quantity(evidences.truth, evidences.draws)
    ranks = _inputs.quantity_ranks(quantity, generator(evidences.seed, "ranks", 4))
    trouble = _inputs.quantity_trouble(QUANTITY, quantity)
    ranked = RankedQuantity(QUANTITY, ranks[:, 0], trouble)
    judged = sbc.judged([ranked], evidences.draws.shape[1], config.alpha)
    return Result(judged, (_value(judged.values[0]),))


def _value(ranked: Value) -> Value:
    """The number of the ranks, in words of its own."""
    reason = ranked.reason
    if ranked.shapes:
        reason = WORDS.get(ranked.shapes[0], OTHERWISE)
    return replace(ranked, name=NAME, reason=reason, shapes=())


def plot(result: Result) -> Figure:
    """Rank histogram and ECDF difference of the log evidence."""
    return _sbc_pictures.histograms(result.ranks, [0], HEADING)
