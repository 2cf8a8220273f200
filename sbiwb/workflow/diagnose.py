"""The verb `diagnose`: evidence made once, all checks on it, verdicts over everything, numbers, advice and pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sbiwb.contracts import DiagnosticPart, DiagnosticResult, Level, OutputKind, Reporter
from sbiwb.diagnostics import (
    STRATUM,
    Advice,
    Judgment,
    Training,
    advise,
    family,
    judge,
    overall,
    plot_strata,
    prior_variance,
    to_json,
)
from sbiwb.errors import GateFailed
from sbiwb.files import put_json, read_json
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.project import Project
from sbiwb.project.trained import posterior_of
from sbiwb.report.saving import put_picture
from sbiwb.rundir import RunDir, put_provenance
from sbiwb.steps.judge.gather import EvidenceCache
from sbiwb.steps.judge.strata import Stratum, strata
from sbiwb.stopping import raise_on_signal
from sbiwb.workflow.train import train

Judged = tuple[str, DiagnosticPart, DiagnosticResult]
FEW_VALIDATIONS = 5
OUTPUTS = {
    OutputKind.ESTIMATE: "point estimates",
    OutputKind.MARGINALS: "quantiles of single parameters",
}
EPISTEMIC = "epistemic"


@dataclass(frozen=True)
class Diagnosis:
    """What the checks said.

    Args:
        verdict: The worst of all.
        summary: One sentence.
        parameters: Columns of theta.
        judgments: Of every check and stratum.
        advice: What they look like, and what to change.
    """

    verdict: str
    summary: str
    parameters: tuple[str, ...]
    judgments: tuple[Judgment, ...]
    advice: tuple[Advice, ...]


def diagnose(project: Project, reporter: Reporter, *, gate: bool = False) -> Diagnosis:
    """Judges the trained posterior on the test pairs.

    Args:
        project: A trained run.
        reporter: Where progress goes.
        gate: Whether a failed check is an error.

    Raises:
        RunError: Nothing is trained yet.
        GateFailed: A check failed under `gate`.
    """
    start = time.perf_counter()
    with raise_on_signal():
        torch.set_num_threads(1)  # chunks of draws are what shares the cores
        gathered = EvidenceCache(project, reporter, train_on_part)
        parts, small = strata(
            gathered.draws, project.config.diagnose.by, project.config.diagnose.strata
        )
        for sentence in small:
            reporter.say(f"Stratum {sentence}.")
        results = _results(project, gathered, parts, reporter)
        judgments = judge(results)
        advice = advise(judgments, _training(project.run))
        _write_numbers(project, gathered, results, judgments, advice, parts, small)
        _write_pictures(project, results, judgments, parts, reporter)
    facts = {
        "weights": weights_hash(project.run),
        "data_hash": project.data_hash,
        "seed": project.config.diagnose.seed,
    }
    put_provenance(project.run.diagnose, seconds=time.perf_counter() - start, facts=facts)
    worst = overall(judgments)
    found = Diagnosis(
        worst.verdict, worst.summary, gathered.draws.names, tuple(judgments), tuple(advice)
    )
    if gate:
        check_gate(project, found)
    return found


def check_gate(project: Project, found: Diagnosis) -> None:
    """Stops where a check has failed.

    Raises:
        GateFailed: It has.
    """
    if found.verdict == "fail":
        todo = next(
            (todo for one in found.advice for todo in one.todo), "Look at the pictures beside it."
        )
        raise GateFailed(found.summary, where=project.run.numbers, todo=todo)


def _results(
    project: Project, gathered: EvidenceCache, parts: Sequence[Stratum], reporter: Reporter
) -> list[Judged]:
    """Every check, and those that judge draws also on every stratum."""
    asked = list(project.config.diagnose.checks)
    if len(gathered.posterior.networks) > 1 and EPISTEMIC not in [check.kind for check in asked]:
        asked.append(family.parse(EPISTEMIC))
    checks = [
        (check, config)
        for check, config in _named(asked)
        if _can_judge(check, config, gathered, reporter)
    ]
    evidence = {
        check: getattr(gathered, _takes(config)) for check, config in checks
    }  # what is slow shows its own progress
    on_draws = [(check, config) for check, config in checks if _takes(config) == "draws"]
    results: list[Judged] = []
    with reporter.task("check", len(checks) + len(parts) * len(on_draws), unit="checks") as ticker:
        for check, config in checks:
            results.append(
                (check, config, family.module(config.kind).compute(evidence[check], config))
            )
            ticker.advance()
        for part in parts:
            draws = gathered.draws.at(part.rows)
            for check, config in on_draws:
                results.append(
                    (
                        f"{check}{STRATUM}{part.label}",
                        config,
                        family.module(config.kind).compute(draws, config),
                    )
                )
                ticker.advance()
    return results


def _can_judge(
    check: str, config: DiagnosticPart, gathered: EvidenceCache, reporter: Reporter
) -> bool:
    """Whether there is what a check judges: a posterior, real data for a local one, training pairs for a data budget."""
    output_kind = gathered.posterior.output_kind
    if not output_kind.includes(config.needs):
        reporter.say(
            f"{check} is left out: this network gives {OUTPUTS[output_kind]}, and no joint posterior."
        )
        return False
    if _takes(config) == "local" and not gathered.observations:
        reporter.say(
            f"{check} judges the posterior at real data; problem.observations names none, so it is left out."
        )
        return False
    if _takes(config) == "replicas" and gathered.project.is_imported:
        reporter.say(
            f"{check} is left out: it simulates from the posterior, and these pairs are imported."
        )
        return False
    if _takes(config) == "budget" and gathered.project.config.train.regime == "online":
        reporter.say(
            f"{check} is left out: under train.regime: online the number of training pairs is no setting."
        )
        return False
    return True


def _takes(config: DiagnosticPart) -> str:
    """The kind of evidence that a check judges."""
    return config.takes


def _named(checks: Sequence[Any]) -> list[tuple[str, Any]]:
    """Each check with a name of its own: its kind, numbered where it comes twice."""
    kinds = [Path(check.kind).stem for check in checks]
    names = [
        kind if kind not in kinds[:i] else f"{kind}_{kinds[:i].count(kind) + 1}"
        for i, kind in enumerate(kinds)
    ]
    return list(zip(names, checks, strict=True))


def _write_pictures(
    project: Project,
    results: Sequence[Judged],
    judgments: Sequence[Judgment],
    parts: Sequence[Stratum],
    reporter: Reporter,
) -> None:
    """Each picture as PNG for people and as SVG for the report; those of an earlier diagnosis are removed."""
    folder = project.run.diagnose
    for old in (*folder.glob("*.png"), *folder.glob("*.svg")):
        old.unlink()
    pictures = list(_pictures(results, judgments, parts))
    with reporter.task("draw pictures", len(pictures), unit="pictures") as ticker:
        for name, plot in pictures:
            put_picture(folder / name, plot())
            ticker.advance()


def _pictures(
    results: Sequence[Judged], judgments: Sequence[Judgment], parts: Sequence[Stratum]
) -> Iterator[tuple[str, Any]]:
    """`plot`, and further pictures by functions named `plot_ecdf` and the like, of all test pairs; one picture for all strata."""
    for check, config, result in results:
        if STRATUM in check:
            continue
        for name, function in vars(family.module(config.kind)).items():
            if name == "plot" or name.startswith("plot_"):
                yield (
                    check + name.removeprefix("plot"),
                    lambda function=function, result=result: function(result),
                )
    if parts and any(judgment.p is not None for judgment in judgments):
        tolerance = min(
            (config.level.tolerance for _, config, _ in results), default=Level().tolerance
        )
        yield (
            "strata",
            lambda: plot_strata(
                judgments, {part.label: len(part.rows) for part in parts}, tolerance
            ),
        )


def _epistemic_quantiles(results: Sequence[Judged]) -> dict[str, list[float]]:
    """5, 50 and 95 % of the epistemic share over test pairs, by parameter, for `sample` to compare with."""
    found: Any = next((result for _, config, result in results if config.kind == EPISTEMIC), None)
    if found is None:
        return {}
    columns = zip(found.names, found.quantiles.T, strict=True)
    return {
        name: [float(one) for one in column]
        for name, column in columns
        if np.isfinite(column).all()
    }


def _training(run: RunDir) -> Training | None:
    """How training ended; after a handful of validations nobody knows whether it was at its end."""
    path = run.train / "provenance.json"
    facts = read_json(path) if path.is_file() else {}
    if "gap" not in facts:
        return None
    validations = (
        len(run.metrics.read_text(encoding="utf-8").splitlines())
        if run.metrics.is_file()
        else FEW_VALIDATIONS
    )
    return Training(facts["still_falling"] or validations < FEW_VALIDATIONS, facts["gap"])


def _write_numbers(
    project: Project,
    gathered: EvidenceCache,
    results: Sequence[Judged],
    judgments: list[Judgment],
    advice: list[Advice],
    parts: Sequence[Stratum],
    small: list[str],
) -> None:
    draws = gathered.draws
    leaked = (
        dict(zip(draws.names, map(float, draws.leaked), strict=True))
        if draws.leaked is not None
        else {}
    )
    put_json(
        project.run.numbers,
        {
            **to_json(judgments),
            "advice": [asdict(one) for one in advice],
            "strata": [{"by": part.by, "label": part.label, "n": len(part.rows)} for part in parts],
            "small_strata": small,
            "n": draws.n,
            "draws": draws.s,
            "prior_var_source": " or ".join(sorted(set(prior_variance(draws)[1]))),
            "leaked": leaked,
            "epistemic_quantiles": _epistemic_quantiles(results),
        },
    )


def train_on_part(project: Project, count: int, reporter: Reporter) -> Posterior:
    """The same network trained on fewer pairs, in a run folder of its own that resumes like any training."""
    part = _part(project, count)
    train(part, reporter)
    return posterior_of(part, reporter)


def _part(project: Project, count: int) -> Project:
    """The same project with fewer training pairs, read from the same shards."""
    simulate = project.config.simulate.model_copy(
        update={"train": count, "from_": str(project.data_run.path.resolve())}
    )
    machine = project.config.machine.model_copy(update={"tracking": []})
    name = f"{count}-{project.model_hash[:12]}"  # of another model there may be an earlier budget
    config = project.config.model_copy(
        update={"name": name, "simulate": simulate, "machine": machine}
    )
    return Project(config, RunDir(project.run.diagnose / "budget" / name), project.base)
