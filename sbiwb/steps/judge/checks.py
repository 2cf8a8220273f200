"""The checks of a run: named, asked whether there is what they judge, and computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sbiwb.contracts import DiagnosticPart, DiagnosticResult, OutputKind, Reporter
from sbiwb.diagnostics import STRATUM, family
from sbiwb.evidence import EvidenceKind
from sbiwb.steps.judge.gather import Evidence, EvidenceCache
from sbiwb.steps.judge.strata import Stratum

CheckResult = tuple[str, DiagnosticPart, DiagnosticResult]  # as `diagnostics.judge` takes them
EPISTEMIC = "epistemic"
SELF_CONSISTENCY = "self_consistency"
OUTPUTS = {
    OutputKind.ESTIMATE: "point estimates",
    OutputKind.MARGINALS: "quantiles of single parameters",
}


@dataclass(frozen=True)
class NamedCheck:
    """A check under a name of its own.

    Args:
        name: Its kind, numbered where it comes twice.
        config: Its options.
    """

    name: str
    config: DiagnosticPart

    def compute(self, evidence: Evidence, stratum: Stratum | None = None) -> CheckResult:
        """Its numbers, under its name and the stratum's label."""
        name = self.name
        if stratum is not None:
            name = f"{name}{STRATUM}{stratum.label}"
        return name, self.config, family.module(self.config.kind).compute(evidence, self.config)


@dataclass(frozen=True)
class RunFacts:
    """What decides whether a check has anything to judge.

    Args:
        output_kind: What the network gives.
        has_observations: Says whether there are real data, which it reads.
        is_imported: Whether pairs come from files, so that nothing can be simulated again.
        is_online: Whether training simulates as it goes, so that there is no number of pairs.
        has_joint: Whether there is a learned likelihood, and a prior with a density.
    """

    output_kind: OutputKind
    has_observations: Callable[[], bool]
    is_imported: bool
    is_online: bool
    has_joint: bool = False

    def trouble(self, check: NamedCheck) -> str | None:
        """Why a check is left out, or None."""
        if not self.output_kind.includes(check.config.needs):
            given = OUTPUTS[self.output_kind]
            return f"is left out: this network gives {given}, and no joint posterior."
        takes = check.config.takes
        if takes == EvidenceKind.LOCAL and not self.has_observations():
            return (
                "judges the posterior at real data; problem.observations names none, so it is left "
                "out."
            )
        if takes == EvidenceKind.REPLICAS and self.is_imported:
            return "is left out: it simulates from the posterior, and these pairs are imported."
        if takes == EvidenceKind.BUDGET and self.is_online:
            return (
                "is left out: under train.regime: online the number of training pairs is no "
                "setting."
            )
        if takes == EvidenceKind.LOG_EVIDENCES and not self.has_joint:
            return "is left out: it needs a learned likelihood, and a prior with a density."
        return None


def named_checks(configs: Sequence[DiagnosticPart]) -> list[NamedCheck]:
    """Each check with a name of its own: its kind, numbered where it comes twice."""
    kinds = [Path(config.kind).stem for config in configs]
    checks = []
    for place, config in enumerate(configs):
        name = kinds[place]
        earlier = kinds[:place].count(name)
        if earlier:
            name = f"{name}_{earlier + 1}"
        checks.append(NamedCheck(name, config))
    return checks


def judgeable(
    configs: Sequence[DiagnosticPart], facts: RunFacts, networks: int, reporter: Reporter
) -> list[NamedCheck]:
    """The checks that have something to judge; the others are told.

    Args:
        configs: Of the YAML.
        facts: Of the run.
        networks: That the posterior mixes; with several the epistemic share is always judged, and
            with a likelihood self-consistency.
        reporter: Is told what is left out.
    """
    wanted = {EPISTEMIC: networks > 1, SELF_CONSISTENCY: facts.has_joint}
    kinds = [config.kind for config in configs]
    always = [kind for kind, is_wanted in wanted.items() if is_wanted and kind not in kinds]
    configs = [*configs, *map(family.parse, always)]
    checks = []
    for check in named_checks(configs):
        trouble = facts.trouble(check)
        if trouble:
            reporter.say(f"{check.name} {trouble}")
        else:
            checks.append(check)
    return checks


def run_checks(
    checks: Sequence[NamedCheck],
    evidence: EvidenceCache,
    parts: Sequence[Stratum],
    reporter: Reporter,
) -> list[CheckResult]:
    """Every check, and those that judge draws also on every stratum."""
    on_draws = [check for check in checks if check.config.takes == EvidenceKind.DRAWS]
    total = len(checks) + len(parts) * len(on_draws)
    for check in checks:
        evidence.of(check.config.takes)  # what is slow shows its own progress
    results = []
    with reporter.task("check", total, unit="checks") as ticker:
        for result in _results(checks, on_draws, evidence, parts):
            results.append(result)
            ticker.advance()
    return results


def _results(
    checks: Sequence[NamedCheck],
    on_draws: Sequence[NamedCheck],
    evidence: EvidenceCache,
    parts: Sequence[Stratum],
) -> Iterator[CheckResult]:
    for check in checks:
        yield check.compute(evidence.of(check.config.takes))
    for part in parts:
        draws = evidence.draws.at(part.rows)
        for check in on_draws:
            yield check.compute(draws, part)
