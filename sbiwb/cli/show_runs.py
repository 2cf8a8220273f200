"""Results of the verbs that look at runs, compare them, or send them elsewhere, as tables and
sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from sbiwb.cli.console import number, out
from sbiwb.cli.show import (
    MAX_ROWS,
    MAX_SENTENCES,
    coloured,
    fact,
    lines,
    next_step,
    sampled,
    simulated,
    table,
    trained,
    written,
)
from sbiwb.cli.show_diagnosis import diagnosed
from sbiwb.rundir import RunDir
from sbiwb.words import counted, duration

if TYPE_CHECKING:
    from sbiwb.report import Compared
    from sbiwb.steps.pairs.verified import Verified
    from sbiwb.steps.tune.search_results import Trial, Tuned
    from sbiwb.workflow.compare import Comparison, DistanceSummary, Overlay
    from sbiwb.workflow.parts import PartInfo
    from sbiwb.workflow.run import RunEvent
    from sbiwb.workflow.status import Pace, Status, Valid
    from sbiwb.workflow.status_failures import FailureReport
    from sbiwb.workflow.submit import Submitted

MAX_TRIALS = 10
MAX_PATH = 28  # columns of a path in a table
TRIAL_STATES = ("done", "pruned", "failed", "running")


def _end(path: str) -> str:
    """The end of a long path."""
    if len(path) <= MAX_PATH:
        return path
    return f"…{path[1 - MAX_PATH :]}"


def run_event(event: RunEvent, run: RunDir) -> None:
    """What `run` has begun or finished."""
    from sbiwb.workflow import train
    from sbiwb.workflow.diagnose import Diagnosis
    from sbiwb.workflow.run import (
        ObservationsSampled,
        PairsSimulated,
        ReportWritten,
        StepBegun,
    )
    from sbiwb.workflow.train_likelihoods import Agreement, LikelihoodTrained

    match event:
        case StepBegun():
            out.print(f"\n[bold]{event.number}  {event.name}[/]")
        case PairsSimulated():
            simulated(event.splits)
        case train.TrainResult() | LikelihoodTrained() | Agreement():
            trained(event)
        case Diagnosis():
            diagnosed(event, run)
        case ObservationsSampled(results=[]):
            next_step(f"sbiwb sample {run.path} data.csv")
        case ObservationsSampled():
            sampled(event.results)
        case ReportWritten():
            written([event.path])


def compared(result: Comparison | Overlay) -> None:
    """Runs in order, or draws against those of a reference."""
    from sbiwb.workflow.compare import Comparison

    if isinstance(result, Comparison):
        _ranked(result)
    else:
        _overlaid(result)


def _ranked(comparison: Comparison) -> None:
    """The runs, best first."""
    headings = ["run", "NLPD", "worse by", "", "calibration", "pairs", "training", "draws/s"]
    table(headings, [_ranked_row(row) for row in comparison.rows])
    pairs = f"the same {comparison.pairs:,} test pairs of {escape(comparison.test)}"
    out.print(f"NLPD of {pairs}, in nats; lower is better.")
    files = ("compare.json", "compare.csv", "compare.png")
    written(comparison.folder / name for name in files)


def _ranked_row(row: Compared) -> list[str]:
    spent = "–"
    if row.train_seconds is not None:
        spent = duration(row.train_seconds)
    return [
        escape(_end(row.run)),
        f"{number(row.nlpd, 4)} ± {number(row.nlpd_se, 2)}",
        f"{number(row.difference, 3)} ± {number(row.difference_se, 2)}",
        row.verdict,
        coloured(row.calibration),
        f"{row.training_pairs:,}",
        spent,
        f"{row.draws_per_s:,.0f}",
    ]


def _overlaid(overlay: Overlay) -> None:
    """How far each method's draws are from the reference's: a line a method, means over the data
    sets and the worst of them.
    """
    is_one = overlay.data_sets == 1
    worst, sets = " (worst)", counted(overlay.data_sets, "data set")
    if is_one:
        worst, sets = "", "one data set"
    numbers = [f"{name}{worst}" for name in ("C2ST", "MMD²", "mean off by", "sd ratio")]
    rows = [_overlaid_row(method, is_one=is_one) for method in overlay.methods]
    table(["method", *numbers, "farthest"], rows)
    out.print(
        f"Against {escape(overlay.reference)}, {overlay.draws:,} draws a side, {sets}. "
        "C2ST 0.5, MMD² 0, off by 0 sd, ratio 1: the same."
    )
    written(overlay.folder / name for name in ("compare.json", "compare.csv", "overlay.png"))


def _overlaid_row(method: DistanceSummary, *, is_one: bool) -> list[str]:
    cells = [escape(_end(method.method))]
    distances = ((method.c2st, 3), (method.mmd2, 2), (method.shift, 2), (method.ratio, 3))
    for (mean, worst), digits in distances:
        cell = number(mean, digits)
        cells.append(cell if is_one else f"{cell} ({number(worst, digits)})")
    return [*cells, escape(", ".join(dict.fromkeys(method.farthest)))]


def status(state: Status) -> None:
    """How far a run is."""
    _simulated(state)
    for step, job in state.jobs.items():
        name = f"{escape(step)} {escape(job.id)}"
        if job.elements:
            name += f", {counted(job.elements, 'element')}"
        fact("job", f"{name}, submitted {escape(job.submitted[:16])}")
    _trained(state)
    if state.verdict:
        verdict, summary = state.verdict
        fact("diagnosed", f"{coloured(verdict)}  {escape(summary)}")
    if state.samples:
        fact("sampled", escape(", ".join(state.samples)))
    if state.todo:
        next_step(state.todo)


def _simulated(state: Status) -> None:
    """Pairs of each split, where they come from, and what is wrong with them."""
    rows = []
    for split, counts in state.simulated.items():
        rows.append([split, *(f"{count:,}" for count in counts)])
    table(["split", "pairs", "wanted", "shards", "failed"], rows)
    if state.imported:
        fact("imported", escape(", ".join(state.imported)))
    if state.valid and state.valid.failed:
        _valid(state.valid)
    if state.broken:
        what = f"{len(state.broken)} records cannot be read, the first {state.broken[0]}"
        fact("[red]damaged[/]     ", escape(what))
        next_step(f"sbiwb verify {state.path}")
    if state.pace:
        _pace(state.pace)


def _trained(state: Status) -> None:
    if state.trained:
        best = f"{state.trained.best_loss:.4f} at step {state.trained.best_step:,}"
        fact("trained", f"best validation loss {best}")
    elif state.training:
        loss = f"validation loss {state.training.validation_loss:.4f}"
        fact("training", f"step {state.training.step:,}, {loss}")
    for likelihood in state.likelihoods:
        fact("likelihood", f"{escape(likelihood.name)}: {likelihood.words()}")


def _valid(valid: Valid) -> None:
    """How often simulations come out, and why the others did not."""
    low, high = valid.interval
    failed = f"{valid.failed:,} of {valid.simulated:,} simulations failed"
    fact("p(valid)", f"{valid.p:.4f}  (95 %: {low:.4f} to {high:.4f}; {failed})")
    for reason, count in list(valid.reasons.items())[:MAX_SENTENCES]:
        fact("", f"{count:,} {escape(reason)}")


def _pace(pace: Pace) -> None:
    per_minute = f"{number(60 * pace.rows_per_s)} pairs a minute"
    left = f"{duration(pace.left_s)} left at this pace"
    age = ""
    if pace.age_s:
        age = f"; the latest shard is {duration(pace.age_s)} old"
    fact("simulating", f"{per_minute}, {left}{age}")


def failures(report: FailureReport) -> None:
    """Along which parameters simulations fail, and the picture."""
    if not report.profiles:
        out.print("No simulation failed.")
        return
    rows = []
    for profile in report.profiles[:MAX_SENTENCES]:
        worst = int(profile.share.argmax())
        ends = [number(float(edge), 3) for edge in profile.edges[worst : worst + 2]]
        shares = [f"{profile.share.min():.2%}", f"{profile.share[worst]:.2%}"]
        rows.append([escape(profile.name), *shares, *ends])
    table(["parameter", "fails least", "fails most", "there from", "to"], rows)
    if report.picture:
        written([report.picture])


def verified(result: Verified) -> None:
    """What is wrong, what was mended, and whether all is whole."""
    lines(result.mended)
    for trouble in result.troubles[:MAX_ROWS]:
        out.print(f"[red]wrong[/]  {escape(str(trouble.where))}  {escape(trouble.what)}")
        out.print(f"       [dim]{escape(trouble.todo)}[/]")
    if len(result.troubles) > MAX_ROWS:
        out.print(f"... and {len(result.troubles) - MAX_ROWS} more")
    verdict = f"[red]{len(result.troubles)} wrong[/]"
    if result.is_whole:
        verdict = "[green]whole[/]"
    again = ""
    if result.compared is not None:
        again = f"; {result.compared} blocks simulated again, the same bytes"
    size = f"{result.rows:,} pairs, {result.bytes / 1e6:.1f} MB"
    networks = ""
    if result.checkpoints:
        networks = f"; {result.checkpoints:,} whole checkpoints"
    out.print(f"{verdict}  {result.shards:,} whole shards, {size}{networks}{again}")


def parts(name: str, infos: Sequence[PartInfo], *, full: bool) -> None:
    """Parts of a family; with their options where one family is asked for."""
    out.print(f"[bold]{name}[/]")
    for part in infos:
        out.print(f"  {part.kind:20} {escape(part.sentence)}")
        if not full:
            continue
        for option, default, words in part.options:
            out.print(f"    [dim]{option:18} {escape(default):12} {escape(words)}[/]")


def tuned(search: Tuned, config: Path) -> None:
    """The best trials, and their settings to paste."""
    counts = Counter(trial.state for trial in search.trials)
    states = [f"{counts[state]} {state}" for state in TRIAL_STATES if counts[state]]
    out.print(f"{len(search.trials)} trials: {', '.join(states)}")
    if search.best is None:
        out.print("No trial has been trained to the end yet.")
        next_step(f"sbiwb tune {config}")
        return
    _trials(search.ranked[:MAX_TRIALS], list(search.best.settings))
    if search.importance:
        shares = [f"{escape(key)} {share:.0%}" for key, share in search.importance.items()]
        fact("importance", ", ".join(shares))
    out.print(f"\n{escape(search.lines)}", end="")
    out.print(f"[dim]also in best.yaml, with history.png:[/]  {escape(str(search.folder))}")
    again = f"or put these lines into {config.name} and: sbiwb run {config} --fresh"
    next_step(f"sbiwb diagnose {search.best.run}   # {again}")


def _trials(trials: Sequence[Trial], keys: Sequence[str]) -> None:
    """A line a trial, with what was varied."""
    rows = []
    for trial in trials:
        name = trial.run.name.removeprefix("trial-")
        settings = [escape(trial.settings[key]) for key in keys]
        rows.append([name, number(trial.loss, 4), *settings])
    headings = [key.partition(".")[2] for key in keys]
    table(["trial", "loss", *headings], rows)


def scripts(jobs: Sequence[Submitted]) -> None:
    """What would be submitted, ready to be written into files."""
    for job in jobs:
        head = f"# {job.script}"
        if job.after:
            head += f"  ({_after(job)})"
        typer.echo(head)
        typer.echo(job.text)


def _after(job: Submitted) -> str:
    """What a job waits for, in words."""
    return f"after {job.after.replace(':', ' ')}"


def jobs(submitted: Sequence[Submitted], run: Path) -> None:
    """The jobs' numbers, and how to follow and end them."""
    if not submitted:
        lines(["All simulations are there already; nothing is submitted."])
        return
    for job in submitted:
        line = f"{job.step:9} job {job.id}"
        if job.elements:
            line += f"  {counted(job.elements, 'element')}"
        if job.after:
            line += f"  {_after(job)}"
        lines([line])
    numbers = [job.id for job in submitted]
    lines(
        [
            f"queue:   squeue --jobs={','.join(numbers)}",
            f"output:  tail -f {run / 'jobs'}/*.log",
            f"to end:  scancel {' '.join(numbers)}",
        ]
    )
    next_step(f"sbiwb status {run}")
