"""The verbs that read runs, or simulate from what they have learned: predict, report, compare and
status.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sbiwb.cli.arguments import (
    MAX_DRAWS,
    NONE,
    RUNS,
    ConfigPath,
    RunPath,
    Runs,
    Seed,
    Settings,
    open_project,
    reporter,
)


def predict(
    config: ConfigPath,
    observation: Annotated[
        str | None,
        typer.Argument(
            help="A name from problem.observations, to simulate from its posterior; "
            "without it, from the prior."
        ),
    ] = None,
    settings: Settings = NONE,
    runs: Runs = RUNS,
    draws: Annotated[int, typer.Option(min=1, max=MAX_DRAWS, help="Simulations.")] = 1000,
    seed: Seed = 0,
    context: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE", help="A design variable at another value: what if? Repeatable."
        ),
    ] = NONE,
    emulate: Annotated[
        bool,
        typer.Option(
            "--emulate",
            help="Draw the data from the learned likelihood, without the simulator.",
        ),
    ] = False,
) -> None:
    """Simulate from the posterior of an observation, or from the prior."""
    from sbiwb.cli import show
    from sbiwb.workflow import predict, sample

    project = open_project(config, settings, runs)
    named = None
    if observation:
        [named] = sample.named_observations(project, observation)
    fixed = sample.context_values(context)
    show.predicted(
        predict.predict(
            project,
            reporter(),
            observation=named,
            draws=draws,
            seed=seed,
            context=fixed,
            emulate=emulate,
        )
    )


def report(
    run: RunPath,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            metavar="DIR",
            help="Also write each picture as PDF and PNG (600 dpi) at journal width into DIR.",
        ),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(
            "--width",
            min=20,
            max=1000,
            metavar="MM",
            help="Of these pictures; without it 88 or 180, one column or two.",
        ),
    ] = None,
) -> None:
    """Write one HTML page about a run: verdict, pictures, posteriors of the data, provenance."""
    from sbiwb.cli import show
    from sbiwb.workflow import report

    show.written([report.report(run)])
    if figures is not None:
        files = report.figures(run, figures, width)
        show.figures(files, figures)


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|DRAWS...",
            help="Run folders (or YAMLs) with trained networks, two or more; or folders of draws, "
            "such as runs/x/sample/seen and runs/x/reference/nuts/seen.",
        ),
    ],
    test: Annotated[
        Path | None,
        typer.Option(
            "--test", metavar="RUN", help="Run whose test pairs are used; the first without it."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="DIR",
            help="Folder for tables and picture; without it `compare` beside the runs, "
            "for draws `compare/OBSERVATION` in the run.",
        ),
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Rank trained runs by NLPD on the same test pairs; or hold draws of one posterior against a
    reference method's.
    """
    from sbiwb.cli import show_runs
    from sbiwb.workflow import compare

    show_runs.compared(compare.compare(paths, reporter(), test=test, output=output, runs=runs))


def status(
    run: RunPath,
    failures: Annotated[
        bool,
        typer.Option(
            "--failures", help="Also draw where in the prior simulations fail (reads the shards)."
        ),
    ] = False,
) -> None:
    """Say how far a run is."""
    from sbiwb.cli import show_runs
    from sbiwb.workflow import status

    show_runs.status(status.status(run))
    if failures:
        from sbiwb.workflow import status_failures

        show_runs.failures(status_failures.failures(run, reporter()))
