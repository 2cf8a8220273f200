"""The verbs that hold the network against exact posteriors: reference and benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sbiwb.cli.arguments import (
    NO_NUMBERS,
    NONE,
    RUNS,
    Column,
    ConfigPath,
    Context,
    Draws,
    GroupBy,
    Likelihood,
    Runs,
    Seed,
    Settings,
    open_project,
    reporter,
)


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
    ] = NONE,
    likelihood: Likelihood = None,
    settings: Settings = NONE,
    runs: Runs = RUNS,
    draws: Draws = 4000,
    seed: Seed = 0,
    group_by: GroupBy = "",
    column: Column = NONE,
    context: Context = NONE,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate/--no-gate", help="Exit with 3 when the draws are not known to be right."
        ),
    ] = True,
) -> None:
    """Draw from the exact posterior of real observations, by its likelihood or in closed form."""
    from sbiwb.cli import show
    from sbiwb.workflow import reference, reference_options

    project = open_project(config, settings, runs)
    named = reference_options.choose_observation(
        project, observation, group_by=group_by, columns=column, context=context
    )
    exact = reference.reference(
        project,
        named,
        reference_options.method_of(method, option),
        reporter(),
        draws=draws,
        seed=seed,
        likelihood=likelihood,
    )
    show.referenced(exact)
    if gate:
        reference.check_reference(exact)
    amortized = project.run.sample(exact.name)
    if (amortized / "draws.h5").is_file():
        show.next_step(f"sbiwb compare {amortized} {exact.folder}")


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
    ] = NO_NUMBERS,
    method: Annotated[
        list[str], typer.Option("--method", help="Only these methods. Repeatable.")
    ] = NONE,
    seed: Annotated[
        list[int], typer.Option("--seed", help="Only these seeds. Repeatable.")
    ] = NO_NUMBERS,
    settings: Settings = NONE,
    runs: Runs = RUNS,
) -> None:
    """Train on the field's standard tasks and score against reference posteriors; what is scored
    already is not done again.
    """
    from sbiwb.cli import show_benchmark
    from sbiwb.workflow import benchmark

    opened = benchmark.open_benchmark(config, settings=settings, references=references, runs=runs)
    chosen = benchmark.Selection(tuple(tasks or ()), tuple(budget), tuple(method), tuple(seed))
    show_benchmark.scoreboard(benchmark.benchmark(opened, reporter(), chosen))
