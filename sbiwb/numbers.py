"""What `diagnose` leaves for the other verbs: the verdict and the numbers behind it, typed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sbiwb.files import read_typed
from sbiwb.rundir import RunDir

REMEDY = "Run `sbiwb diagnose` on the config again: it writes it anew."

Verdict = Literal["pass", "warn", "fail", "info"]


@dataclass(frozen=True)
class JudgedNumber:
    """One number with its verdict; see `diagnostics.Judgment`."""

    check: str
    name: str
    parameter: str
    value: float | None
    effect: float | None
    effect_interval: tuple[float | None, float | None] | None
    p: float | None
    p_adjusted: float | None
    verdict: Verdict
    reason: str
    kind: str = ""
    warning: str | None = None
    shapes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdviceNote:
    """One finding; see `diagnostics.Advice`."""

    finding: str
    where: tuple[str, ...]
    causes: tuple[str, ...]
    todo: tuple[str, ...]
    severity: Verdict


@dataclass(frozen=True)
class StratumSize:
    """Test pairs of one stratum."""

    by: str
    label: str
    n: int


@dataclass(frozen=True)
class LikelihoodNumbers:
    """A likelihood judged beside the posterior.

    Args:
        name: How checks of it begin.
        structure: Whose members it is the density of.
        columns: Of a member.
        n: Test members, one of each data set.
        draws: Of each.
    """

    name: str
    structure: str
    columns: tuple[str, ...]
    n: int
    draws: int


@dataclass(frozen=True)
class StructureVerdict:
    """What repeated simulations say of an entry of `problem.structure`, or of two of them.

    Args:
        name: The entry, or both.
        claim: What the YAML says of it.
        p: Chance of data as far from that, if it were so; after Holm.
        verdict: pass: not contradicted; warn: contradicted.
    """

    name: str
    claim: str
    p: float
    verdict: Verdict


@dataclass(frozen=True)
class DiagnosisNumbers:
    """`numbers.json`.

    Args:
        verdict: The worst of all verdicts.
        summary: The same as a sentence.
        n: Test pairs.
        draws: Posterior draws of each.
        values: Every number.
        definitions: What the numbers mean, by name.
        advice: Findings, worst first.
        strata: Strata that were judged on their own.
        small_strata: Those with too few pairs, as sentences.
        prior_var_source: Where prior variances come from.
        leaked: Share of draws outside the prior's support, by column.
        epistemic_quantiles: 5, 50 and 95 % of the network's share of the variance, by column.
        likelihoods: Those that were judged beside the posterior.
        structure: What was tested of `problem.structure`.
    """

    verdict: Verdict
    summary: str
    n: int
    draws: int
    values: tuple[JudgedNumber, ...]
    definitions: dict[str, str] = field(default_factory=dict)
    advice: tuple[AdviceNote, ...] = ()
    strata: tuple[StratumSize, ...] = ()
    small_strata: tuple[str, ...] = ()
    prior_var_source: str = ""
    leaked: dict[str, float] = field(default_factory=dict)
    epistemic_quantiles: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    likelihoods: tuple[LikelihoodNumbers, ...] = ()
    structure: tuple[StructureVerdict, ...] = ()


def read_numbers(run: RunDir) -> DiagnosisNumbers | None:
    """The numbers of a run, or None where it is not diagnosed.

    Raises:
        CorruptFile: They cannot be read, or a field is missing or of another type.
    """
    if not run.numbers.is_file():
        return None
    return read_typed(DiagnosisNumbers, run.numbers, todo=REMEDY)
