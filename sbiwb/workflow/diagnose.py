"""The verb `diagnose`: evidence made once, all checks on it, verdicts over everything.

Numbers, advice and pictures are written. A run with learned likelihoods has one verdict over its
posterior and over them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from sbiwb.contracts import Level, Reporter
from sbiwb.diagnostics import (
    STRATUM,
    Advice,
    Judgment,
    checks_by_strata,
    epistemic,
    family,
    overall,
    plot_strata,
    prior_variance,
    to_json,
)
from sbiwb.errors import GateFailed
from sbiwb.evidence import Draws
from sbiwb.files import put_json
from sbiwb.numbers import StructureVerdict
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.project import Project
from sbiwb.report.saving import put_picture
from sbiwb.rundir import RunDir, put_provenance
from sbiwb.steps.judge.checks import CheckResult
from sbiwb.steps.judge.strata import Stratum
from sbiwb.stopping import raise_on_signal
from sbiwb.workflow.diagnose_networks import CheckedNetwork, CheckedRun, checked_run, training_of
from sbiwb.workflow.structure_tested import structure_verdicts

__all__ = ["Diagnosis", "check_gate", "diagnose", "numbers_of", "training_of"]

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = ("*.png", "*.svg")


@dataclass(frozen=True)
class Diagnosis:
    """What the checks said.

    Args:
        verdict: The worst of all.
        summary: One sentence.
        parameters: Columns of theta; of a likelihood, of a member.
        judgments: Of every check and stratum.
        advice: What they look like, and what to change.
        likelihoods: Columns of each likelihood beside the posterior, by the network's name.
        structure: Whose likelihood was judged; empty for a posterior.
    """

    verdict: str
    summary: str
    parameters: tuple[str, ...]
    judgments: tuple[Judgment, ...]
    advice: tuple[Advice, ...]
    likelihoods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    structure: str = ""

    @classmethod
    def of(cls, checked: CheckedRun) -> Diagnosis:
        worst = overall(checked.judgments)
        return cls(
            worst.verdict,
            worst.summary,
            checked.own.draws.names,
            tuple(checked.judgments),
            tuple(checked.advice),
            {network.name: network.draws.names for network in checked.likelihoods},
            checked.own.structure,
        )


def diagnose(project: Project, reporter: Reporter, *, gate: bool = False) -> Diagnosis:
    """Judges the trained posterior on the test pairs, and with it the learned likelihoods.

    Args:
        project: A trained run; or that of a likelihood, to judge it alone.
        reporter: Where progress goes.
        gate: Whether a failed check is an error.

    Raises:
        RunError: Nothing is trained yet.
        GateFailed: A check failed under `gate`.
    """
    start = time.perf_counter()
    with raise_on_signal():
        torch.set_num_threads(1)  # chunks of draws are what shares the cores
        checked = checked_run(project, reporter)
        structure = structure_verdicts(project, reporter)
        _write(checked, reporter, structure)
        for part in checked.parts():
            _write(part, reporter)
    for part in (checked, *checked.parts()):
        put_provenance(
            part.own.project.run.diagnose,
            seconds=time.perf_counter() - start,
            facts=_facts(part),
        )
    diagnosis = Diagnosis.of(checked)
    if gate:
        check_gate(project.run, diagnosis)
    return diagnosis


def _facts(checked: CheckedRun) -> dict[str, object]:
    """What the provenance says of the networks that were judged."""
    project = checked.own.project
    beside = {part.name: weights_hash(part.project.run) for part in checked.likelihoods}
    facts: dict[str, object] = {
        "weights": weights_hash(project.run),
        "data_hash": project.data_hash,
        "seed": project.config.diagnose.seed,
    }
    if beside:
        facts["likelihood_weights"] = beside
    return facts


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


def _write(
    checked: CheckedRun, reporter: Reporter, structure: Sequence[StructureVerdict] = ()
) -> None:
    """Numbers, and each picture as PNG for people and as SVG for the report.

    Pictures of an earlier diagnosis are removed.
    """
    run = checked.own.project.run
    verdicts = [asdict(verdict) for verdict in structure]
    put_json(run.numbers, {**numbers_of(checked), "structure": verdicts})
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
    for check, config, result in checked.own.results:
        if STRATUM not in check:
            for suffix, plot in _plots(config.kind):
                yield check + suffix, partial(plot, result)
    if checks_by_strata(checked.own.own(checked.judgments)):
        yield "strata", partial(_strata_picture, checked)


def _plots(kind: str) -> Iterator[tuple[str, Callable[..., Figure]]]:
    """`plot`, and further pictures by functions named `plot_ecdf` and the like."""
    for name, function in vars(family.module(kind)).items():
        if name == "plot" or name.startswith("plot_"):
            yield name.removeprefix("plot"), function


def _strata_picture(checked: CheckedRun) -> Figure:
    own = checked.own
    tolerances = [config.level.tolerance for _, config, _ in own.results]
    sizes = {part.label: len(part.rows) for part in own.parts}
    tolerance = min(tolerances, default=Level().tolerance)
    return plot_strata(own.own(checked.judgments), sizes, tolerance)


def numbers_of(checked: CheckedRun) -> dict[str, object]:
    """What `numbers.json` holds; `sbiwb.numbers` reads it."""
    own, draws = checked.own, checked.own.draws
    networks = [own, *checked.likelihoods]
    return {
        **to_json(checked.judgments),
        "advice": [asdict(advice) for advice in checked.advice],
        "strata": [_stratum_size(part) for network in networks for part in network.parts],
        "small_strata": [sentence for network in networks for sentence in network.small_parts],
        "n": draws.n,
        "draws": draws.s,
        "prior_var_source": " or ".join(sorted(set(prior_variance(draws)[1]))),
        "leaked": _leaked(draws),
        "epistemic_quantiles": _epistemic_quantiles(own.results),
        "likelihoods": [_likelihood_numbers(network) for network in checked.likelihoods],
    }


def _likelihood_numbers(network: CheckedNetwork) -> dict[str, object]:
    """What a reader of the verdicts must know of a likelihood."""
    return {
        "name": network.name,
        "structure": network.structure,
        "columns": list(network.draws.names),
        "n": network.draws.n,
        "draws": network.draws.s,
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
