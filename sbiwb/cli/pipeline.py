"""The verbs from a YAML to posteriors of real data: check, simulate, train, tune, diagnose, sample
and run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sbiwb.cli.arguments import (
    MAX_DRAWS,
    MAX_MINUTES,
    MAX_PICTURES,
    MAX_TRIALS,
    NONE,
    RUNS,
    Column,
    ConfigPath,
    Context,
    Draws,
    Fresh,
    GroupBy,
    Likelihood,
    Refine,
    Runs,
    Seed,
    Settings,
    open_project,
    reporter,
)
from sbiwb.stopping import raise_on_signal


def check(config: ConfigPath, settings: Settings = NONE, runs: Runs = RUNS) -> None:
    """Try everything for a few seconds and say what the job will cost."""
    from sbiwb.cli import show
    from sbiwb.workflow import check

    show.checked(check.check(open_project(config, settings, runs)), config)


def simulate(
    config: ConfigPath,
    settings: Settings = NONE,
    runs: Runs = RUNS,
    accept_code_change: Annotated[
        bool,
        typer.Option(
            "--accept-code-change",
            help="Keep the simulations although the simulator's code changed: "
            "it gives the same rows.",
        ),
    ] = False,
    more: Annotated[
        str,
        typer.Option(
            "--more",
            metavar="N",
            help="Extend a run by N training pairs, or by train=N,validation=N,test=N.",
        ),
    ] = "",
) -> None:
    """Draw prior and data pairs into checksummed shards; what exists is not made again."""
    from sbiwb.cli import show
    from sbiwb.workflow import simulate

    project = open_project(config, settings, runs)
    with raise_on_signal():
        splits = simulate.simulate(
            project, reporter(), more=more, accept_code_change=accept_code_change
        )
    show.simulated(splits)
    show.next_step(f"sbiwb train {project.run.path}")


def train(
    config: ConfigPath,
    settings: Settings = NONE,
    runs: Runs = RUNS,
    fresh: Fresh = False,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr", help="Only try growing learning rates for some steps, and suggest one."
        ),
    ] = False,
) -> None:
    """Fit the network, from the newest checkpoint if there is one; under torchrun or srun, in
    several processes together.
    """
    from sbiwb.cli import show
    from sbiwb.workflow import train, train_likelihoods

    project = open_project(config, settings, runs)
    if find_lr:
        rates = train.find_lr(project, reporter())
        show.lines(rates.lines())
        show.next_step(f"sbiwb train {config} --set train.learning_rate={rates.suggestion:.1g}")
        return
    is_main = True
    for event in train_likelihoods.train_all(project, reporter(), fresh=fresh):
        is_main = show.trained(event)
    if is_main:
        show.next_step(f"sbiwb diagnose {project.run.path}")


def tune(
    config: ConfigPath,
    settings: Settings = NONE,
    runs: Runs = RUNS,
    trials: Annotated[
        int,
        typer.Option(
            min=1,
            max=MAX_TRIALS,
            help="Trials of the whole search, those of earlier and other processes included.",
        ),
    ] = 30,
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=RANGE",
            help="A key of train or model: 'train.learning_rate=1e-4..1e-2 log', "
            "'model.inference.transforms=3..8', or choices: "
            "'model.inference.hidden=[64,64] | [128,128]'. Repeatable. Without it: what the search "
            "had before, or train.learning_rate, train.weight_decay and the number of transforms.",
        ),
    ] = NONE,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0, max=MAX_MINUTES, help="Minutes after which to stop; the same command goes on."
        ),
    ] = None,
) -> None:
    """Search settings with a low validation loss; run it on many machines at once, and again to go
    on.
    """
    from sbiwb.cli import show_runs
    from sbiwb.workflow import tune

    project = open_project(config, settings, runs)
    tuned = tune.tune(project, reporter(), vary=vary, trials=trials, minutes=minutes)
    show_runs.tuned(tuned, config)


def diagnose(
    config: ConfigPath,
    settings: Settings = NONE,
    runs: Runs = RUNS,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate", help="Exit with 3 when a check fails, so that a chain of jobs stops."
        ),
    ] = False,
) -> None:
    """Say with numbers and pictures how far the posterior can be trusted."""
    from sbiwb.cli import show, show_diagnosis
    from sbiwb.workflow import diagnose

    project = open_project(config, settings, runs)
    diagnosis = diagnose.diagnose(project, reporter(), gate=gate)
    show_diagnosis.diagnosed(diagnosis, project.run)
    if diagnosis.structure:
        show.next_step(f"sbiwb diagnose {project.data_run.path}")
    elif diagnosis.verdict != "fail":
        show.next_step(f"sbiwb sample {project.run.path}")


def sample(
    config: ConfigPath,
    observation: Annotated[
        str | None,
        typer.Argument(
            help="A name from problem.observations, or a CSV, NPZ, NPY, JSON, HDF5 or Parquet file."
        ),
    ] = None,
    settings: Settings = NONE,
    runs: Runs = RUNS,
    draws: Draws = 4000,
    seed: Seed = 0,
    group_by: GroupBy = "",
    column: Column = NONE,
    context: Context = NONE,
    refine: Annotated[
        Refine | None,
        typer.Option(
            "--refine",
            help="Repair the draws by the simulator file's log_likelihood, or a learned one, where "
            "they need it.",
        ),
    ] = None,
    likelihood: Likelihood = None,
    ess: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_DRAWS,
            help="With --refine importance: weigh draws until they are worth so many.",
        ),
    ] = 0,
    pictures: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_PICTURES,
            help="Of many data sets: how many get a pair plot and a predictive picture each.",
        ),
    ] = 3,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Judge each data set also by simulations from its posterior (posterior SBC), and "
            "by classifiers (L-C2ST).",
        ),
    ] = False,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="FILE",
            help="True parameters, a column each and a row a data set, for the pair plots.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            metavar="DIR",
            help="Draws that `sbiwb reference` wrote for the same data, for the pair plots.",
        ),
    ] = None,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Exit with 3 when the posterior of a data set is not trusted."),
    ] = False,
) -> None:
    """Infer real observations: draws, a table, a pair plot, and simulations from the posterior over
    the data.
    """
    from sbiwb.cli import show
    from sbiwb.workflow import sample

    project = open_project(config, settings, runs)
    observations = sample.choose_observations(
        project, observation, group_by=group_by, columns=column, context=context
    )
    results = sample.sample(
        project,
        observations,
        reporter(),
        draws=draws,
        seed=seed,
        how=refine,
        likelihood=likelihood,
        ess=ess,
        pictures=pictures,
        verify=verify,
        truth=truth,
        reference=reference,
    )
    show.sampled(results)
    show.next_step(f"sbiwb report {project.run.path}")
    if gate:
        sample.check_gate(results)


def run(
    config: ConfigPath,
    settings: Settings = NONE,
    runs: Runs = RUNS,
    gate: Annotated[
        bool, typer.Option("--gate", help="Stop with exit code 3 when a check fails.")
    ] = False,
    fresh: Fresh = False,
) -> None:
    """Simulate, train, diagnose, infer all observations and write the report; what is done already
    is not done again.
    """
    from sbiwb.cli import show_runs
    from sbiwb.workflow import run

    project = open_project(config, settings, runs)
    for event in run.run(project, reporter(), gate=gate, fresh=fresh):
        show_runs.run_event(event, project.run)
