"""Results of the steps from a YAML to posteriors, as tables and sentences; each function prints one
kind of result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from sbiwb.cli.console import number, out
from sbiwb.cli.fitted_tables import fitted_tables
from sbiwb.words import counted, duration

if TYPE_CHECKING:
    from sbiwb.report import Row
    from sbiwb.steps.exact.refine import Refined
    from sbiwb.steps.joint.observed import Consistency
    from sbiwb.steps.trust.verdict import Trust
    from sbiwb.store.manifest import SplitSummary
    from sbiwb.workflow.check import Checked
    from sbiwb.workflow.predict import Predicted
    from sbiwb.workflow.reference import Referenced
    from sbiwb.workflow.sample import Sampled
    from sbiwb.workflow.train_likelihoods import TrainEvent

COLOURS = {"pass": "green", "info": "default", "warn": "yellow", "fail": "red"}
MAX_ROWS = 60
MAX_SENTENCES = 12


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, names: int = 1) -> None:
    """A table that fits the terminal; its first `names` columns are names."""
    for part in fitted_tables(headings, rows, width=out.width, names=names):
        out.print(part)


def lines(texts: Iterable[str]) -> None:
    """Sentences, a line each."""
    for text in texts:
        out.print(escape(text))


def next_step(command: str) -> None:
    """What to type next."""
    out.print(f"[dim]next:[/]  {escape(command)}")


def written(paths: Iterable[Path]) -> None:
    """Files that are there now."""
    for path in paths:
        out.print(f"wrote {escape(str(path))}")


def figures(files: Sequence[Path], folder: Path) -> None:
    """Pictures for a paper that are there now."""
    kinds = " and ".join(sorted({path.suffix[1:].upper() for path in files}))
    pictures = len({path.stem for path in files})
    out.print(f"wrote {counted(pictures, 'picture')} as {kinds} to {escape(str(folder))}")


def coloured(verdict: str | None) -> str:
    """A verdict in its colour; – where there is none."""
    if not verdict:
        return "–"
    return f"[{COLOURS[verdict]}]{verdict}[/]"


def fact(label: str, text: str) -> None:
    """A line of a summary, which may hold markup."""
    out.print(f"{label:12} {text}")


def checked(costs: Checked, config: Path) -> None:
    """Costs of a job."""
    for name, words in costs.observables.items():
        fact("observable", f"{escape(name)}: {escape(words)}")
    for name, count in costs.observations.items():
        fact("observation", f"{escape(name)}: {counted(count, 'data set')}")
    _structure(costs)
    _choices(costs)
    _costs(costs)
    if costs.bytes > costs.free:
        out.print("[red]The disk is too small.[/]")
    if costs.failure_rate > costs.max_rate:
        limit = f"simulate.failures.max_rate = {costs.max_rate:g}"
        out.print(f"[red]Too many simulations failed:[/] `run` would stop at {limit}.")
        return
    next_step(f"sbiwb run {config}")


def _structure(costs: Checked) -> None:
    """What was tested of `problem.structure`."""
    for test in costs.structure.tests:
        warning = "[yellow]warning[/]  " if test.is_contradicted else ""
        fact("structure", f"{warning}{escape(test.sentence)}")
    if costs.structure.note:
        fact("structure", costs.structure.note)


def _choices(costs: Checked) -> None:
    """What the YAML leaves to the data."""
    if not costs.choices:
        return
    out.print(
        f"\nLeft to the data, as {costs.chosen_from:,} simulations decide it (training looks at"
        " its own, and writes all keys into the run's config.yaml):"
    )
    rows = []
    for choice in costs.choices:
        rows.append([escape(choice.key), escape(choice.value), escape(choice.why)])
    table(["key", "value", "why"], rows)
    for name, candidates in costs.trials.items():
        out.print(
            f"Before training, {', '.join(candidates)} are tried for {escape(name)}, for"
            " a fifth to a third of its steps."
        )


def _costs(costs: Checked) -> None:
    spent = f"{duration(costs.simulate_s)} with {counted(costs.workers, 'worker')}"
    fact("simulate", f"{costs.rows:,} pairs, {spent}, {costs.bytes / 1e6:.1f} MB")
    failed = f"{costs.failure_rate:.1%} of the simulations tried failed"
    fact("", f"disk free {costs.free / 1e9:.1f} GB; {failed}")
    fact("train", f"{costs.weights:,} weights, at most {duration(costs.train_s)}")


def trained(event: TrainEvent) -> bool:
    """How a training ended; whether this process is the one that reports."""
    from sbiwb.workflow import train
    from sbiwb.workflow.train_likelihoods import Agreement, LikelihoodTrained

    match event:
        case train.TrainResult():
            if event.is_main_process:
                lines(train.describe(event))
            return event.is_main_process
        case LikelihoodTrained():
            if event.result.is_main_process:
                lines(
                    f"likelihood of {event.name}: {line}" for line in train.describe(event.result)
                )
            return event.result.is_main_process
        case Agreement():
            lines(event.lines())
            return True


def simulated(splits: Mapping[str, SplitSummary]) -> None:
    """Counts of each split."""
    rows = []
    for split, counts in splits.items():
        whole = [f"{count:,}" for count in (counts.rows, counts.shards, counts.failed)]
        rows.append([split, *whole, number(counts.p_valid, 4), f"{counts.bytes / 1e6:.1f}"])
    table(["split", "pairs", "shards", "failed", "p(valid)", "MB"], rows)


def sampled(results: Iterable[Sampled]) -> None:
    """The summary table of each observation."""
    for result in results:
        _summary(result.name, result.rows)
        _refined(result.refined)
        _consistency(result.consistency)
        _trust(result.trust, result.suspects)
        folder = escape(str(result.folder))
        out.print(f"draws in {result.seconds:.2f} s; draws, table and pictures: {folder}")


def _refined(results: Sequence[Refined]) -> None:
    """Verdict and cost of each data set whose draws were to be repaired."""
    for result in results[:MAX_ROWS]:
        verdict = f"{escape(result.data_set)}: {result.verdict}; {escape(result.reason)}"
        evidence = f"log evidence {number(result.log_evidence, 5)}"
        cost = f"{result.proposals:,} likelihoods, {duration(result.seconds)}"
        out.print(f"{verdict}; {evidence} ({cost})")


def _consistency(results: Sequence[Consistency]) -> None:
    """Self-consistency and evidence of each data set."""
    for result in results[:MAX_ROWS]:
        evidence = "log evidence not known (Pareto k above 0.7)"
        if result.has_evidence:
            error = number(result.log_evidence_error, 2)
            evidence = f"log evidence {number(result.log_evidence, 5)} ± {error}"
        out.print(
            f"{escape(result.data_set)}: {evidence}; it varies by {number(result.spread, 2)} nats "
            f"over the draws (95 % of test pairs: below {number(result.usual, 2)}; "
            f"p = {number(result.p, 2)})"
        )


def _trust(results: Sequence[Trust], suspects: Sequence[Trust]) -> None:
    """How far each data set's posterior can be trusted: those that do not pass, the worst first,
    and those of which the same is said together."""
    if len(results) == 1:
        out.print(f"trust: {_trusted(results[0])}")
        return
    passing = len(results) - len(suspects)
    out.print(f"trust: {passing} of {counted(len(results), 'data set')} pass")
    alike: dict[str, list[str]] = {}
    for result in suspects:
        alike.setdefault(_trusted(result), []).append(result.data_set)
    for sentence, (first, *others) in list(alike.items())[:MAX_SENTENCES]:
        name = f"{first} and {len(others)} more" if others else first
        out.print(f"trust: {escape(name)}: {sentence}")


def _trusted(result: Trust) -> str:
    """Verdict, reason and remedy."""
    remedy = f" → {escape(result.remedy)}" if result.remedy else ""
    return f"{coloured(result.verdict)}, {escape(result.reason)}{remedy}"


def referenced(result: Referenced) -> None:
    """The summary table, and what the method says of itself."""
    _summary(result.name, result.rows)
    for label, facts in list(result.facts.items())[:MAX_ROWS]:
        numbers = ", ".join(
            f"{name.replace('_', ' ')} {number(value, 4)}" for name, value in facts.items()
        )
        out.print(f"{escape(label)}: {result.method}, {numbers or 'independent draws'}")
    spent = f"{result.method} in {duration(result.seconds)}"
    out.print(f"{spent}; draws, table and pictures: {escape(str(result.folder))}")


def _summary(name: str, rows: Sequence[Row]) -> None:
    out.print(f"\n[bold]{escape(name)}[/]")
    headings = ["data set", "quantity", "mean", "sd", "median", "2.5 %", "97.5 %"]
    cells = [_summary_row(row) for row in rows[:MAX_ROWS]]
    if len({row.data_set for row in rows}) > 1:
        table(headings, cells, names=2)
    else:
        table(headings[1:], [row[1:] for row in cells])
    if len(rows) > MAX_ROWS:
        out.print(f"... {len(rows) - MAX_ROWS} more rows in summary.csv")
    for row in rows[:MAX_ROWS]:
        if row.levels:
            out.print(escape(_levels(row)))


def _levels(row: Row) -> str:
    """The probability of each level of a discrete parameter."""
    shares = ", ".join(f"{level} {number(share, 3)}" for level, share in row.levels.items())
    return f"{row.data_set}, {row.name}: {shares}"


def _summary_row(row: Row) -> list[str]:
    values = [row.mean, row.sd, *(row.quantiles[name] for name in ("median", "q2.5", "q97.5"))]
    return [escape(row.data_set), escape(row.name), *(number(value, 4) for value in values)]


def predicted(result: Predicted) -> None:
    """What was simulated, and where it is."""
    count, (data_sets, each) = len(result.simulations.rows), result.simulations.shape
    out.print(f"{count:,} of {data_sets * each:,} simulations from {escape(result.name)}")
    written([result.file, *result.pictures])
