"""The verbs of a cluster: `submit` and `worker`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sbiwb.cli.arguments import RUNS, ConfigPath, RunPath, Runs, Settings, _open, _reporter
from sbiwb.cli.door import app

if TYPE_CHECKING:
    from sbiwb.workflow.submit import Submitted


@app.command()
def submit(
    config: ConfigPath,
    what: Annotated[
        str,
        typer.Argument(
            metavar="STEP", help="simulate, train, diagnose, sample, report, or all of them."
        ),
    ] = "all",
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the batch scripts; write and submit nothing.")
    ] = False,
) -> None:
    """Submit the steps as SLURM jobs that wait for one another; resources stand in machine.cluster."""
    from sbiwb.workflow.submit import submit as send

    project = _open(config, settings, runs)
    jobs = send(project, _reporter(), what=what, dry_run=dry_run)
    _show_scripts(jobs) if dry_run else _show_jobs(jobs, project.run.path)


def _show_scripts(jobs: list[Submitted]) -> None:
    """What would be submitted."""
    for job in jobs:
        typer.echo(f"# {job.script}" + f"  (after {job.after.replace(':', ' ')})" * bool(job.after))
        typer.echo(job.text)


def _show_jobs(jobs: list[Submitted], run: Path) -> None:
    """The jobs' numbers, and how to follow and end them."""
    from sbiwb.cli import show

    if not jobs:
        show.lines(["All simulations are there already; nothing is submitted."])
        return
    for job in jobs:
        elements = f"{job.elements} elements" if job.elements else ""
        show.lines(
            [
                f"{job.step:9} job {job.id}  {elements:12}  {job.after and 'after ' + job.after.replace(':', ' ')}".rstrip()
            ]
        )
    numbers = [job.id for job in jobs]
    show.lines(
        [
            f"queue:   squeue --jobs={','.join(numbers)}",
            f"output:  tail -f {run / 'jobs'}/*.log",
            f"to end:  scancel {' '.join(numbers)}",
        ]
    )
    show.next_step(f"sbiwb status {run}")


@app.command()
def worker(
    run: RunPath,
    index: Annotated[int, typer.Argument(metavar="INDEX", min=0, help="Which share, from 0.")],
    of: Annotated[
        int,
        typer.Option(
            "--of", min=1, metavar="COUNT", help="Shares in all; 1: everything that is missing."
        ),
    ] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Simulate one share of what a run lacks: an element of an array job, on any batch system."""
    from sbiwb.cli import show
    from sbiwb.stopping import raise_on_signal
    from sbiwb.workflow.worker import worker as take_share

    with raise_on_signal():
        made = take_share(run, _reporter(), index=index, count=of, workers=workers)
    show.lines([f"Share {index} of {of} is complete: {made} shards simulated."])
