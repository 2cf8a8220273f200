"""The verbs of a run's data: verify and import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sbiwb.cli.arguments import NONE, RUNS, RunPath, Runs, Settings, open_project, reporter
from sbiwb.stopping import raise_on_signal


def verify(
    run: RunPath,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also simulate a block of each split again and compare the bytes."
        ),
    ] = False,
) -> None:
    """Check every checksum, record, block and hash of a run's pairs; what can be mended is."""
    from sbiwb.cli import show_runs
    from sbiwb.workflow import verify

    with raise_on_signal():
        verified = verify.verify(run, reporter(), deep=deep)
    show_runs.verified(verified)
    if not verified.is_whole:
        raise typer.Exit(2)


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="CSV, NPZ, HDF5 or Parquet files of simulations."),
    ],
    config: Annotated[
        Path,
        typer.Option("--config", metavar="CONFIG", help="The YAML, with `simulator: imported`."),
    ],
    column: Annotated[
        list[str],
        typer.Option(
            metavar="VARIABLE=COLUMN",
            help="Which column or array a variable is in; A,B,C for the columns of a vector. "
            "Repeatable.",
        ),
    ] = NONE,
    shares: Annotated[
        str, typer.Option(metavar="A,B,C", help="Shares of train, validation and test.")
    ] = "0.8,0.1,0.1",
    by: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Number of the data set, in a table with one row for each member or step of one.",
        ),
    ] = "",
    settings: Settings = NONE,
    runs: Runs = RUNS,
) -> None:
    """Take simulations of your own into the shards of a run: checked, without copies, split at
    random.
    """
    from sbiwb.cli import show
    from sbiwb.workflow import import_

    project = open_project(config, settings, runs)
    with raise_on_signal():
        splits = import_.import_files(
            project, files, reporter(), columns=column, shares=shares, by=by
        )
    show.simulated(splits)
    show.next_step(f"sbiwb train {project.run.path}")
