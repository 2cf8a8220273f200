"""The verbs of a cluster: submit and worker."""

from __future__ import annotations

from typing import Annotated

import typer

from sbiwb.cli.arguments import (
    MAX_SHARES,
    MAX_WORKERS,
    NONE,
    RUNS,
    ConfigPath,
    RunPath,
    Runs,
    Settings,
    open_project,
    reporter,
)
from sbiwb.stopping import raise_on_signal


def submit(
    config: ConfigPath,
    what: Annotated[
        str,
        typer.Argument(
            metavar="STEP", help="simulate, train, diagnose, sample, report, or all of them."
        ),
    ] = "all",
    settings: Settings = NONE,
    runs: Runs = RUNS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the batch scripts; write and submit nothing.")
    ] = False,
) -> None:
    """Submit the steps as SLURM jobs that wait for one another; see machine.cluster."""
    from sbiwb.cli import show_runs
    from sbiwb.workflow import submit

    project = open_project(config, settings, runs)
    jobs = submit.submit(project, reporter(), what=what, dry_run=dry_run)
    if dry_run:
        show_runs.scripts(jobs)
    else:
        show_runs.jobs(jobs, project.run.path)


def worker(
    run: RunPath,
    index: Annotated[
        int,
        typer.Argument(metavar="INDEX", min=0, max=MAX_SHARES - 1, help="Which share, from 0."),
    ],
    of: Annotated[
        int,
        typer.Option(
            "--of",
            min=1,
            max=MAX_SHARES,
            metavar="COUNT",
            help="Shares in all; 1: everything that is missing.",
        ),
    ] = 1,
    workers: Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Processes.")] = 1,
) -> None:
    """Simulate one share of what a run lacks: an element of an array job, on any batch system."""
    from sbiwb.cli import show
    from sbiwb.workflow import worker

    with raise_on_signal():
        shards = worker.worker(run, reporter(), index=index, count=of, workers=workers)
    show.lines([f"Share {index} of {of} is complete: {shards} shards simulated."])
