"""The diagnosis of a run as tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from sbiwb.cli.console import number, out
from sbiwb.cli.show import COLOURS, MAX_ROWS, MAX_SENTENCES, coloured, lines, table
from sbiwb.rundir import RunDir

if TYPE_CHECKING:
    from sbiwb.diagnostics import Judgment
    from sbiwb.workflow.diagnose import Diagnosis

SEVERITY = ("info", "pass", "warn", "fail")
HEADINGS = {  # of a number, by check and name
    ("sbc", "sbc_log_gamma"): "SBC p",
    ("coverage", "coverage_log_gamma"): "coverage p",
    ("coverage", "coverage_90"): "90 % hold",
    ("zscore_contraction", "contraction_variance_median"): "contraction",
    ("zscore_contraction", "contraction_sd_median"): "contraction (sd)",
    ("zscore_contraction", "z_mean"): "z mean",
    ("zscore_contraction", "z_sd"): "z sd",
    ("recovery", "recovery_r"): "r",
}


def diagnosed(diagnosis: Diagnosis, run: RunDir) -> None:
    """The verdict, a line a parameter, then what is not right, what causes it and what to
    change."""
    verdict = f"[bold {COLOURS[diagnosis.verdict]}]{diagnosis.verdict}[/]"
    out.print(f"{verdict}  {escape(diagnosis.summary)}")
    what = f"likelihood of {diagnosis.structure}" if diagnosis.structure else "parameter"
    _judged_network(diagnosis.judgments, "", what, diagnosis.parameters)
    for network, columns in diagnosis.likelihoods.items():
        _judged_network(diagnosis.judgments, network, network, columns)
    _sentences(_spoken(diagnosis), run)
    for advice in diagnosis.advice:
        out.print(f"[bold {COLOURS[advice.severity]}]{escape(advice.finding)}[/]")
        lines(f"  usual cause: {cause}" for cause in advice.causes)
        lines(f"  try: {todo}" for todo in advice.todo)
    failed = _failed(diagnosis)
    if failed:
        again = f"sbiwb run {escape(str(run.path))} --fresh  (simulations are kept)"
        out.print(f"[red]Do not use this {failed} yet.[/] After a change: {again}")
    out.print(f"[dim]numbers and pictures:[/]  {escape(str(run.diagnose))}")


def _failed(diagnosis: Diagnosis) -> str:
    """Which networks a check has failed, in words; empty where none has."""
    networks = {judgment.network for judgment in diagnosis.judgments if judgment.verdict == "fail"}
    own = "likelihood" if diagnosis.structure else "posterior"
    words = []
    if "" in networks:
        words.append(own)
    if networks - {""}:
        words.append("likelihood")
    return " and this ".join(words)


def _judged_network(
    judgments: Sequence[Judgment], network: str, heading: str, columns: Sequence[str]
) -> None:
    """A line a column of what one network is the density of, and the density of all."""
    own = [judgment.alone() for judgment in judgments if judgment.network == network]
    _judgment_table(own, heading, columns)
    for judgment in own:
        if judgment.check == "nlpd" and judgment.value is not None:
            value = number(judgment.value, 4)
            name = f"{network}: {judgment.name}" if network else judgment.name
            out.print(f"{escape(name)}  {value}  {escape(judgment.reason)}")


def _sentences(judgments: Sequence[Judgment], run: RunDir) -> None:
    """A sentence a judgment, as many as one reads."""
    for judgment in judgments[:MAX_SENTENCES]:
        check = f"[{COLOURS[judgment.verdict]}]{escape(judgment.check)}[/]"
        out.print(f"{check}  {escape(judgment.parameter)}: {escape(judgment.reason)}")
    if len(judgments) > MAX_SENTENCES:
        more = len(judgments) - MAX_SENTENCES
        out.print(f"[dim]and {more} more in {escape(run.numbers.name)}[/]")


def _judgment_table(judgments: Sequence[Judgment], heading: str, columns: Sequence[str]) -> None:
    """A line a column, with the numbers that some column has."""
    numbers = {
        (judgment.check, judgment.name, judgment.parameter): judgment for judgment in judgments
    }
    present = {key[:2] for key in numbers if key[2] in columns}
    keys = [key for key in HEADINGS if key in present]
    rows = []
    for column in columns[:MAX_ROWS]:
        own = [judgment.verdict for judgment in judgments if judgment.parameter == column]
        cells = [_judged(numbers.get((*key, column))) for key in keys]
        rows.append([escape(column), *cells, coloured(max(own, key=SEVERITY.index))])
    table([heading, *(HEADINGS[key] for key in keys), "verdict"], rows)


def _spoken(diagnosis: Diagnosis) -> list[Judgment]:
    """Judgments that are told in a sentence: what is not right, and of few parameters what is."""
    sentences = [
        judgment for judgment in diagnosis.judgments if judgment.verdict in ("warn", "fail")
    ]
    for judgment in diagnosis.judgments:
        if judgment.check == "coverage" and judgment.verdict == "pass":
            if len(diagnosis.parameters) <= MAX_SENTENCES:
                sentences.append(judgment)
        elif judgment.kind == "self_consistency" and judgment.verdict == "pass":
            sentences.append(judgment)
    return sentences


def _judged(judgment: Judgment | None) -> str:
    """A test by its adjusted p-value, any other number by its value."""
    if judgment is None:
        return "–"
    if judgment.p is not None:
        return number(judgment.p_adjusted, 2)
    return number(judgment.value)
