"""The verb `diagnose`: evidence made once, all checks on it, verdicts over everything.

Numbers, advice and pictures are written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from sbiwb.contracts import Level, Reporter
from sbiwb.diagnostics import (
    STRATUM,
    Advice,
    Judgment,
    Training,
    advise,
    checks_by_strata,
    epistemic,
    family,
    judge,
    overall,
    plot_strata,
    prior_variance,
    to_json,
)
from sbiwb.errors import GateFailed
from sbiwb.evidence import Draws
from sbiwb.files import put_json
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.project import Project
from sbiwb.report.saving import put_picture
from sbiwb.rundir import RunDir, TrainProvenance, put_provenance, read_provenance
from sbiwb.steps.judge import checks as judge_checks
from sbiwb.steps.judge.checks import CheckResult, RunFacts
from sbiwb.steps.judge.strata import Stratum, strata
from sbiwb.stopping import raise_on_signal
from sbiwb.workflow.diagnose_evidence import evidence_of
from sbiwb.workflow.structure_tested import structure_verdicts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_VALIDATIONS = 5  # from which we know whether the loss was still falling
PICTURES = ("*.png", "*.svg")


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


@dataclass(frozen=True)
class CheckedRun:
    """All that was computed, before it is written.

    Args:
        draws: Of the test pairs.
        results: Of every check and stratum.
        parts: The strata.
        small_parts: Sentences on those with too few pairs.
        judgments: Of every number.
        advice: What they look like, and what to change.
    """

    draws: Draws
    results: Sequence[CheckResult]
    parts: Sequence[Stratum]
    small_parts: Sequence[str]
    judgments: Sequence[Judgment]
    advice: Sequence[Advice]

    def diagnosis(self) -> Diagnosis:
        worst = overall(self.judgments)
        judgments, advice = tuple(self.judgments), tuple(self.advice)
        return Diagnosis(worst.verdict, worst.summary, self.draws.names, judgments, advice)


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
        checked = _check(project, reporter)
        structure = [asdict(verdict) for verdict in structure_verdicts(project, reporter)]
        put_json(project.run.numbers, {**numbers_of(checked), "structure": structure})
        _write_pictures(project.run, checked, reporter)
    facts = {
        "weights": weights_hash(project.run),
        "data_hash": project.data_hash,
        "seed": project.config.diagnose.seed,
    }
    put_provenance(project.run.diagnose, seconds=time.perf_counter() - start, facts=facts)
    diagnosis = checked.diagnosis()
    if gate:
        check_gate(project.run, diagnosis)
    return diagnosis


def _check(project: Project, reporter: Reporter) -> CheckedRun:
    """Evidence, all checks on it, and verdicts over everything."""
    options = project.config.diagnose
    evidence = evidence_of(project, reporter)
    parts, small = strata(evidence.draws, options.by, options.strata)
    for sentence in small:
        reporter.say(f"Stratum {sentence}.")
    posterior = evidence.run.posterior
    facts = RunFacts(
        posterior.output_kind,
        lambda: bool(evidence.observations),
        project.is_imported,
        project.config.train.regime == "online",
    )
    checks = judge_checks.judgeable(options.checks, facts, len(posterior.networks), reporter)
    results = judge_checks.run_checks(checks, evidence, parts, reporter)
    judgments = judge(results)
    advice = advise(judgments, training_of(project.run))
    return CheckedRun(evidence.draws, results, parts, small, judgments, advice)


def check_gate(run: RunDir, diagnosis: Diagnosis) -> None:
    """Stops where a check has failed.

    Raises:
        GateFailed: It has.
    """
    if diagnosis.verdict != "fail":
        return
    todo = [sentence for advice in diagnosis.advice for sentence in advice.todo]
    todo.append("Look at the pictures beside it.")
    raise GateFailed(diagnosis.summary, where=run.numbers, todo=todo[0])


def _write_pictures(run: RunDir, checked: CheckedRun, reporter: Reporter) -> None:
    """Each picture as PNG for people and as SVG for the report.

    Those of an earlier diagnosis are removed.
    """
    for pattern in PICTURES:
        for old in run.diagnose.glob(pattern):
            old.unlink()
    pictures = list(_pictures(checked))
    with reporter.task("draw pictures", len(pictures), unit="pictures") as ticker:
        for name, plot in pictures:
            put_picture(run.diagnose / name, plot())
            ticker.advance()


def _pictures(checked: CheckedRun) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Names and what draws them: of all test pairs, and one picture for all strata."""
    for check, config, result in checked.results:
        if STRATUM not in check:
            for suffix, plot in _plots(config.kind):
                yield check + suffix, partial(plot, result)
    if checks_by_strata(checked.judgments):
        yield "strata", partial(_strata_picture, checked)


def _plots(kind: str) -> Iterator[tuple[str, Callable[..., Figure]]]:
    """`plot`, and further pictures by functions named `plot_ecdf` and the like."""
    for name, function in vars(family.module(kind)).items():
        if name == "plot" or name.startswith("plot_"):
            yield name.removeprefix("plot"), function


def _strata_picture(checked: CheckedRun) -> Figure:
    tolerances = [config.level.tolerance for _, config, _ in checked.results]
    sizes = {part.label: len(part.rows) for part in checked.parts}
    tolerance = min(tolerances, default=Level().tolerance)
    return plot_strata(checked.judgments, sizes, tolerance)


def training_of(run: RunDir) -> Training | None:
    """How training ended; after a handful of validations nobody knows whether it was done."""
    end = read_provenance(run.train, TrainProvenance)
    if end is None:
        return None
    return Training(
        still_falling=end.still_falling or _validations(run) < MIN_VALIDATIONS,
        gap=end.gap,
        overfits=end.overfits,
        best_step=end.best_step,
        best_loss=end.best_loss,
        last_loss=end.last_loss,
        last_train_loss=end.last_train_loss,
    )


def _validations(run: RunDir) -> int:
    """How many validations there were; enough where nobody wrote them down."""
    if not run.metrics.is_file():
        return MIN_VALIDATIONS
    return len(run.metrics.read_bytes().splitlines())


def numbers_of(checked: CheckedRun) -> dict[str, object]:
    """What `numbers.json` holds; `sbiwb.numbers` reads it."""
    draws = checked.draws
    return {
        **to_json(checked.judgments),
        "advice": [asdict(advice) for advice in checked.advice],
        "strata": [_stratum_size(part) for part in checked.parts],
        "small_strata": list(checked.small_parts),
        "n": draws.n,
        "draws": draws.s,
        "prior_var_source": " or ".join(sorted(set(prior_variance(draws)[1]))),
        "leaked": _leaked(draws),
        "epistemic_quantiles": _epistemic_quantiles(checked.results),
    }


def _stratum_size(part: Stratum) -> dict[str, object]:
    return {"by": part.by, "label": part.label, "n": len(part.rows)}


def _leaked(draws: Draws) -> Mapping[str, float]:
    """Share of draws outside the prior's support, by column."""
    if draws.leaked is None:
        return {}
    return dict(zip(draws.names, map(float, draws.leaked), strict=True))


def _epistemic_quantiles(results: Sequence[CheckResult]) -> dict[str, list[float]]:
    """5, 50 and 95 % of the epistemic share over test pairs, by parameter.

    For `sample` to compare with.
    """
    quantiles: dict[str, list[float]] = {}
    for _, _, result in results:
        if isinstance(result, epistemic.Result):
            for name, column in zip(result.names, result.quantiles.T, strict=True):
                if np.isfinite(column).all():
                    quantiles.setdefault(name, column.tolist())
    return quantiles
