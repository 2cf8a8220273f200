"""Verbs that hold the network against exact posteriors: reference and benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sbiwb.cli.arguments import (
    RUNS,
    Column,
    ConfigPath,
    Context,
    GroupBy,
    Runs,
    Settings,
    _open,
    _reporter,
)
from sbiwb.cli.door import app


@app.command()
def reference(
    config: ConfigPath,
    observation: Annotated[
        str | None,
        typer.Option(
            "--observation",
            metavar="NAME|FILE",
            help="What to infer; by default the YAML's only observation.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method", help="analytic, metropolis, hmc, nuts, ensemble, importance or vi."
        ),
    ] = "nuts",
    option: Annotated[
        list[str],
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            help="An option of the method, such as start=map. Repeatable.",
        ),
    ] = [],  # noqa: B006 (typer copies it)
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
    draws: Annotated[int, typer.Option(min=2, help="Draws for each data set.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Root of all random numbers.")] = 0,
    group_by: GroupBy = "",
    column: Column = [],  # noqa: B006
    context: Context = [],  # noqa: B006
    gate: Annotated[
        bool,
        typer.Option(
            "--gate/--no-gate", help="Exit with 3 when the draws are not known to be right."
        ),
    ] = True,
) -> None:
    """Draw from the exact posterior of real observations, by its likelihood or in closed form."""
    from sbiwb.cli import show
    from sbiwb.workflow.reference import check_reference, method_of, only_observation
    from sbiwb.workflow.reference import reference as draw
    from sbiwb.workflow.sample import from_file, named_observations

    project = _open(config, settings, runs)
    known = project.config.problem.observations
    if observation is None:
        found: Any = only_observation(project)
    elif observation not in known and Path(observation).suffix:
        found = from_file(Path(observation), group_by=group_by, columns=column, context=context)
    else:
        (found,) = named_observations(project, observation)
    drawn = draw(project, found, method_of(method, option), _reporter(), draws=draws, seed=seed)
    show.referenced(drawn)
    if gate:
        check_reference(drawn)
    amortized = project.run.sample(drawn.name)
    if (amortized / "draws.h5").is_file():
        show.next_step(f"sbiwb compare {amortized} {drawn.folder}")


@app.command()
def benchmark(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="BENCHMARK", help="The YAML of a benchmark, such as configs/benchmark.yaml."
        ),
    ],
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="Only these of its tasks.")
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references",
            metavar="DIR",
            help="Folder of reference posteriors, TASK.h5 each; without it the package sbibm's.",
        ),
    ] = None,
    budget: Annotated[
        list[int], typer.Option("--budget", help="Only these budgets. Repeatable.")
    ] = [],  # noqa: B006
    method: Annotated[
        list[str], typer.Option("--method", help="Only these methods. Repeatable.")
    ] = [],  # noqa: B006
    seed: Annotated[list[int], typer.Option("--seed", help="Only these seeds. Repeatable.")] = [],  # noqa: B006
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
) -> None:
    """Train on the field's standard tasks and score against reference posteriors; what is scored already is not done again."""
    from sbiwb.cli import show
    from sbiwb.workflow.benchmark import Selection, open_benchmark
    from sbiwb.workflow.benchmark import benchmark as compete

    opened = open_benchmark(config, settings=settings, references=references, runs=runs)
    chosen = Selection(tuple(tasks or ()), tuple(budget), tuple(method), tuple(seed))
    show.scoreboard(compete(opened, _reporter(), chosen))
