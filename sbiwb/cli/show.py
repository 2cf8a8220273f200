"""Results as tables and sentences; each function prints one kind of result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from sbiwb.cli.console import number, out
from sbiwb.rundir import RunDir
from sbiwb.words import duration

if TYPE_CHECKING:
    from sbiwb.report import Row
    from sbiwb.steps.exact.refine import Refined
    from sbiwb.workflow.benchmark import Scoreboard
    from sbiwb.workflow.check import Checked
    from sbiwb.workflow.compare_draws import Overlay
    from sbiwb.workflow.compare_runs import Comparison
    from sbiwb.workflow.diagnose import Diagnosis
    from sbiwb.workflow.parts import PartInfo
    from sbiwb.workflow.predict import Predicted
    from sbiwb.workflow.reference import Referenced
    from sbiwb.workflow.sample import Sampled
    from sbiwb.workflow.status import Status, Valid
    from sbiwb.workflow.status_failures import FailureReport
    from sbiwb.workflow.tune import Tuned
    from sbiwb.workflow.verify import Verified

COLOURS = {"pass": "green", "info": "default", "warn": "yellow", "fail": "red"}
MOST_ROWS = 60
MOST_SENTENCES = 12
MOST_TRIALS = 10
LONGEST_NAME = 28


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", no_wrap=True)
    return table


def step(number_: int, name: str) -> None:
    out.print(f"\n[bold]{number_}  {name}[/]")


def lines(texts: Iterable[str]) -> None:
    for text in texts:
        out.print(escape(text))


def next_step(command: str) -> None:
    out.print(f"[dim]next:[/]  {escape(command)}")


def written(paths: list[Path], command: str = "") -> None:
    for path in paths:
        out.print(f"wrote {escape(str(path))}")
    if command:
        next_step(command)


def checked(found: Checked, config: Path) -> None:
    """Costs of a job."""
    for name, words in found.observables.items():
        out.print(f"observable   {escape(name)}: {escape(words)}")
    for name, count in found.observations.items():
        out.print(f"observation  {escape(name)}: {count} data set{'s' * (count > 1)}")
    out.print(
        f"simulate     {found.rows:,} pairs, {duration(found.simulate_s)} with {found.workers} workers, {found.bytes / 1e6:.1f} MB"
    )
    out.print(
        f"             disk free {found.free / 1e9:.1f} GB; {found.failure_rate:.1%} of the simulations tried failed"
    )
    out.print(f"train        {found.weights:,} weights, at most {duration(found.train_s)}")
    if found.bytes > found.free:
        out.print("[red]The disk is too small.[/]")
    if found.failure_rate > found.max_rate:
        out.print(
            f"[red]Too many simulations failed:[/] `run` would stop at simulate.failures.max_rate = {found.max_rate:g}."
        )
        return
    next_step(f"sbiwb run {config}")


def simulated(manifest: dict[str, Any], run: Path) -> None:
    """Counts of each split."""
    table = _table("split", "pairs", "shards", "failed", "p(valid)", "MB")
    for split, one in manifest.items():
        valid = number(one["p_valid"], 4)
        table.add_row(
            split,
            f"{one['rows']:,}",
            f"{one['shards']:,}",
            f"{one['failed']:,}",
            valid,
            f"{one['bytes'] / 1e6:.1f}",
        )
    out.print(table)


SHOWN = {  # check, number: heading
    ("sbc", "sbc_log_gamma"): "SBC p",
    ("coverage", "coverage_log_gamma"): "coverage p",
    ("coverage", "coverage_90"): "90 % hold",
    ("zscore_contraction", "contraction_variance_median"): "contraction",
    ("zscore_contraction", "contraction_sd_median"): "contraction (sd)",
    ("zscore_contraction", "z_mean"): "z mean",
    ("zscore_contraction", "z_sd"): "z sd",
    ("recovery", "recovery_r"): "r",
}
SEVERITY = ("info", "pass", "warn", "fail")


def diagnosed(found: Diagnosis, run: RunDir) -> None:
    """Verdict first, then a line a parameter, then what the verdicts look like, what causes it and what to change."""
    out.print(f"[bold {COLOURS[found.verdict]}]{found.verdict}[/]  {escape(found.summary)}")
    numbers = {(one.check, one.name, one.parameter): one for one in found.judgments}
    headings = {
        key: words
        for key, words in SHOWN.items()
        if any((*key, name) in numbers for name in found.parameters)
    }
    table = _table("parameter", *headings.values(), "verdict")
    for parameter in found.parameters[:MOST_ROWS]:
        worst = max(
            (one.verdict for one in found.judgments if one.parameter == parameter),
            key=SEVERITY.index,
        )
        cells = [_judged(numbers.get((*key, parameter))) for key in headings]
        table.add_row(escape(parameter), *cells, f"[{COLOURS[worst]}]{worst}[/]")
    out.print(table)
    for one in found.judgments:
        if one.check == "nlpd" and one.value is not None:
            out.print(f"{escape(one.name)}  {number(one.value, 4)}  {escape(one.reason)}")
    spoken = [one for one in found.judgments if one.verdict in ("warn", "fail")]
    if len(found.parameters) <= MOST_SENTENCES:
        spoken += [
            one for one in found.judgments if one.check == "coverage" and one.verdict == "pass"
        ]
    for one in spoken[:MOST_SENTENCES]:
        out.print(
            f"[{COLOURS[one.verdict]}]{escape(one.check)}[/]  {escape(one.parameter)}: {escape(one.reason)}"
        )
    if len(spoken) > MOST_SENTENCES:
        out.print(f"[dim]and {len(spoken) - MOST_SENTENCES} more in {escape(run.numbers.name)}[/]")
    for advice in found.advice:
        out.print(f"[bold {COLOURS[advice.severity]}]{escape(advice.finding)}[/]")
        lines(
            [f"  usual cause: {cause}" for cause in advice.causes]
            + [f"  try: {todo}" for todo in advice.todo]
        )
    if found.verdict == "fail":
        out.print(
            f"[red]Do not use this posterior yet.[/] After a change: sbiwb run {escape(str(run.path))} --fresh  (simulations are kept)"
        )
    out.print(f"[dim]numbers and pictures:[/]  {escape(str(run.diagnose))}")


def _judged(one: Any) -> str:
    """A test by its adjusted p-value, any other number by its value."""
    if one is None:
        return "–"
    return number(one.p_adjusted, 2) if one.p is not None else number(one.value)


def sampled(found: list[Sampled]) -> None:
    """The summary table of each observation."""
    for one in found:
        _summary(one.name, one.rows)
        _refined(one.refined)
        out.print(
            f"draws in {one.seconds:.2f} s; draws, table and pictures: {escape(str(one.folder))}"
        )


def _refined(found: Sequence[Refined]) -> None:
    """Verdict and cost of each data set whose draws were to be repaired."""
    for one in found[:MOST_ROWS]:
        cost = f"{one.proposals:,} likelihoods, {duration(one.seconds)}"
        out.print(
            f"{escape(one.data_set)}: {one.verdict}; {escape(one.reason)}; log evidence {number(one.log_evidence, 5)} ({cost})"
        )


def referenced(found: Referenced) -> None:
    """The summary table, and what the method says of itself."""
    _summary(found.name, found.rows)
    for label, facts in list(found.facts.items())[:MOST_ROWS]:
        numbers = ", ".join(
            f"{name.replace('_', ' ')} {number(value, 4)}" for name, value in facts.items()
        )
        out.print(f"{escape(label)}: {found.method}, {numbers or 'independent draws'}")
    out.print(
        f"{found.method} in {duration(found.seconds)}; draws, table and pictures: {escape(str(found.folder))}"
    )


def _summary(name: str, rows: Sequence[Row]) -> None:
    out.print(f"\n[bold]{escape(name)}[/]")
    many = len({row.data_set for row in rows}) > 1
    table = _table(
        *(["data set"] if many else []), "quantity", "mean", "sd", "median", "2.5 %", "97.5 %"
    )
    for row in rows[:MOST_ROWS]:
        numbers = [
            number(value, 4)
            for value in (
                row.mean,
                row.sd,
                row.quantiles["median"],
                row.quantiles["q2.5"],
                row.quantiles["q97.5"],
            )
        ]
        table.add_row(*([escape(row.data_set)] if many else []), escape(row.name), *numbers)
    out.print(table)
    if len(rows) > MOST_ROWS:
        out.print(f"... {len(rows) - MOST_ROWS} more rows in summary.csv")


def predicted(found: Predicted) -> None:
    """What was simulated, and where it is."""
    count, (data_sets, each) = len(found.simulations.rows), found.simulations.shape
    out.print(f"{count:,} of {data_sets * each:,} simulations from {escape(found.name)}")
    written([found.file, *found.pictures])


def compared(found: Comparison) -> None:
    """The runs, best first."""
    table = _table("run", "NLPD", "worse by", "", "calibration", "pairs", "training", "draws/s")
    for row in found.rows:
        worse = f"{number(row.difference, 3)} ± {number(row.difference_se, 2)}"
        verdict = f"[{COLOURS[row.calibration]}]{row.calibration}[/]" if row.calibration else "–"
        spent = "–" if row.train_seconds is None else duration(row.train_seconds)
        cost = [f"{row.training_pairs:,}", spent, f"{row.draws_per_s:,.0f}"]
        table.add_row(
            escape(_end(row.run)),
            f"{number(row.nlpd, 4)} ± {number(row.nlpd_se, 2)}",
            worse,
            row.told,
            verdict,
            *cost,
        )
    out.print(table)
    out.print(
        f"NLPD of the same {found.pairs:,} test pairs of {escape(found.test)}, in nats; lower is better."
    )
    written([found.folder / name for name in ("compare.json", "compare.csv", "compare.png")])


def scoreboard(found: Scoreboard) -> None:
    """C2ST by task, budget and method beside the published numbers."""
    table = _table("task", "method", "simulations", "C2ST", "NPE", "SNPE", "NLPD", "training")
    for line in found.lines:
        colour = "default" if line.npe is None else "green" if line.c2st < line.npe else "yellow"
        known = ["–" if value is None else f"{value:.3f}" for value in (line.npe, line.snpe)]
        density = "–" if line.nlpd is None else number(line.nlpd, 4)
        cells = [
            f"{line.budget:,}",
            f"[{colour}]{line.c2st:.3f}[/]",
            *known,
            density,
            duration(line.train_seconds),
        ]
        table.add_row(escape(line.task), escape(line.method), *cells)
    out.print(table)
    out.print(
        f"{found.done} of {found.jobs} trainings scored. C2ST: 0.5 is the reference itself; NPE and SNPE as published (2021)."
    )
    written(
        [
            found.folder / name
            for name in ("scoreboard.md", "scoreboard.csv", "scores.json", "scoreboard.png")
        ]
    )


def _end(name: str) -> str:
    """The end of a long path."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def status(found: Status) -> None:
    """How far a run is."""
    table = _table("split", "pairs", "wanted", "shards", "failed")
    for split, (there, wanted, shards, failed) in found.simulated.items():
        table.add_row(split, f"{there:,}", f"{wanted:,}", f"{shards:,}", f"{failed:,}")
    out.print(table)
    if found.imported:
        out.print(f"imported     {escape(', '.join(found.imported))}")
    if found.valid and found.valid.failed:
        _valid(found.valid)
    if found.broken:
        out.print(
            f"[red]damaged[/]      {len(found.broken)} records cannot be read, the first {escape(str(found.broken[0]))}"
        )
        next_step(f"sbiwb verify {found.path}")
    if found.pace:
        pace = f"{number(found.pace.rows_per_s)} pairs a second, {duration(found.pace.left_s)} left at this pace"
        out.print(f"simulating   {pace}; the latest shard is {duration(found.pace.age_s)} old")
    for step_, job, elements, when in found.jobs:
        out.print(
            f"job          {step_} {escape(job)}{f', {elements} elements' if elements else ''}, submitted {escape(when[:16])}"
        )
    if found.trained:
        out.print(
            f"trained      best validation loss {found.trained['best_loss']:.4f} at step {found.trained['best_step']:,}"
        )
    elif found.training:
        out.print(
            f"training     step {found.training['step']:,}, validation loss {found.training['validation_loss']:.4f}"
        )
    if found.verdict:
        out.print(
            f"diagnosed    [{COLOURS[found.verdict[0]]}]{found.verdict[0]}[/]  {escape(found.verdict[1])}"
        )
    if found.samples:
        out.print(f"sampled      {escape(', '.join(found.samples))}")
    if found.todo:
        next_step(found.todo)


def _valid(found: Valid) -> None:
    """How often simulations come out, and why the others did not."""
    low, high = found.interval
    out.print(
        f"p(valid)     {found.p:.4f}  (95 %: {low:.4f} to {high:.4f}; {found.failed:,} of {found.simulated:,} simulations failed)"
    )
    for reason, count in list(found.reasons.items())[:MOST_SENTENCES]:
        out.print(f"             {count:,} {escape(reason)}")


def failures(found: FailureReport) -> None:
    """Along which parameters simulations fail, and the picture."""
    if not found.profiles:
        out.print("No simulation failed.")
        return
    table = _table("parameter", "fails least", "fails most", "there from", "to")
    for one in found.profiles[:MOST_SENTENCES]:
        worst = int(one.share.argmax())
        ends = [number(float(one.edges[worst + k]), 3) for k in (0, 1)]
        table.add_row(escape(one.name), f"{one.share.min():.2%}", f"{one.share[worst]:.2%}", *ends)
    out.print(table)
    if found.picture:
        written([found.picture])


def verified(found: Verified) -> None:
    """What is wrong, what was mended, and whether all is whole."""
    lines(found.mended)
    for one in found.troubles[:MOST_ROWS]:
        out.print(
            f"[red]wrong[/]  {escape(str(one.where))}  {escape(one.what)}\n       [dim]{escape(one.todo)}[/]"
        )
    if len(found.troubles) > MOST_ROWS:
        out.print(f"... and {len(found.troubles) - MOST_ROWS} more")
    again = (
        ""
        if found.compared is None
        else f"; {found.compared} blocks simulated again, the same bytes"
    )
    verdict = "[green]whole[/]" if found.is_whole else f"[red]{len(found.troubles)} wrong[/]"
    out.print(
        f"{verdict}  {found.shards:,} whole shards, {found.rows:,} pairs, {found.bytes / 1e6:.1f} MB{again}"
    )


def parts(name: str, found: list[PartInfo], *, full: bool) -> None:
    """Parts of a family; with their options where one family is asked for."""
    out.print(f"[bold]{name}[/]")
    for part in found:
        out.print(f"  {part.kind:20} {escape(part.sentence)}")
        for option, default, words in part.options if full else []:
            out.print(f"    [dim]{option:18} {escape(default):12} {escape(words)}[/]")


def tuned(found: Tuned, config: Path) -> None:
    """The best trials, and their settings to paste."""
    counts = {
        state: sum(one.state == state for one in found.trials)
        for state in ("done", "pruned", "failed", "running")
    }
    out.print(
        f"{len(found.trials)} trials: "
        + ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    )
    if found.best is None:
        out.print("No trial has been trained to the end yet.")
        next_step(f"sbiwb tune {config}")
        return
    keys = list(found.best.settings)
    table = _table("trial", "loss", *(key.partition(".")[2] for key in keys))
    for one in found.ranked[:MOST_TRIALS]:
        table.add_row(
            one.run.name.removeprefix("trial-"),
            number(one.loss, 4),
            *(escape(one.settings[key]) for key in keys),
        )
    out.print(table)
    if found.importance:
        out.print(
            "importance   "
            + ", ".join(f"{escape(key)} {share:.0%}" for key, share in found.importance.items())
        )
    out.print(f"\n{escape(found.lines)}", end="")
    out.print(f"[dim]also in best.yaml, with history.png:[/]  {escape(str(found.folder))}")
    next_step(
        f"sbiwb diagnose {found.best.run}   # or put these lines into {config.name} and: sbiwb run {config} --fresh"
    )


def overlaid(found: Overlay) -> None:
    """How far each method's draws are from the reference's: a line a method, means over the data sets and the worst of them."""
    many = found.data_sets > 1
    headings = ("C2ST", "MMD²", "mean off by", "sd ratio")
    table = _table("method", *(f"{one}{' (worst)' * many}" for one in headings), "farthest")
    for one in found.methods:
        pairs = ((one.c2st, 3), (one.mmd2, 2), (one.shift, 2), (one.ratio, 3))
        cells = [
            f"{number(mean, digits)}{f' ({number(worst, digits)})' * many}"
            for (mean, worst), digits in pairs
        ]
        table.add_row(
            escape(_end(one.method)), *cells, escape(", ".join(dict.fromkeys(one.farthest)))
        )
    out.print(table)
    sets = f"{found.data_sets} data sets" if many else "one data set"
    out.print(
        f"Against {escape(found.reference)}, {found.draws:,} draws a side, {sets}. C2ST 0.5, MMD² 0, off by 0 sd, ratio 1: the same."
    )
    written([found.folder / name for name in ("compare.json", "compare.csv", "overlay.png")])
