"""Arguments that several verbs share, and what they are turned into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from sbiwb.cli.console import ConsoleReporter
    from sbiwb.project.project import Project

ConfigPath = Annotated[
    Path,
    typer.Argument(metavar="CONFIG", help="A YAML file, or a run folder (by its config.yaml)."),
]
RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/influenza.")
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key, such as train.batch_size=512. Repeatable.",
    ),
]
Runs = Annotated[
    Path,
    typer.Option(
        "--runs", metavar="DIR", help="Folder that holds the run folders.", envvar="SBIWB_RUNS"
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh", help="Train anew on the same simulations; the training before is set aside."
    ),
]
GroupBy = Annotated[
    str, typer.Option(metavar="A,B", help="Columns whose values part the rows into data sets.")
]
Column = Annotated[
    list[str],
    typer.Option(metavar="VARIABLE=COLUMN", help="Which column an observable is in. Repeatable."),
]
Context = Annotated[
    list[str], typer.Option(metavar="NAME=VALUE", help="A context variable; VALUE may be `rows`.")
]
MAX_DRAWS = 1_000_000  # of a data set, as in the YAML: 8 MB a parameter
MAX_SEED = 2**63 - 1
MAX_TRIALS = 100_000  # each has a line in the journal, which every process reads
MAX_MINUTES = 10_000_000
MAX_PICTURES = 1_000
MAX_WORKERS = 4_096
MAX_SHARES = 1_000_000  # elements of an array job
Draws = Annotated[int, typer.Option(min=2, max=MAX_DRAWS, help="Draws for each data set.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Root of all random numbers.")]
RUNS = Path("runs")
Refine = Literal["importance", "nuts"]
Likelihood = Annotated[
    Literal["exact", "learned"] | None,
    typer.Option(
        "--likelihood",
        help="The simulator file's, or the learned one; by default the file's where it has one.",
    ),
]
NONE: list[str] = []  # of a repeatable option; typer copies it
NO_NUMBERS: list[int] = []


def open_project(config: Path, settings: list[str], runs: Path) -> Project:
    """The project of a YAML or run folder, with the `--set` overrides."""
    from sbiwb.project import opening

    return opening.open_project(config, settings=settings, runs=runs)


def reporter() -> ConsoleReporter:
    """Where a verb's progress goes."""
    from sbiwb.cli.console import ConsoleReporter

    return ConsoleReporter()
