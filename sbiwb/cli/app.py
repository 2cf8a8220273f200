"""The verbs. Each imports its workflow function when it is called, so that `--help` needs no torch."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated

import typer

from sbiwb.cli.arguments import (
    RUNS,
    Column,
    ConfigPath,
    Context,
    Fresh,
    GroupBy,
    Refine,
    RunPath,
    Runs,
    Settings,
    _open,
    _reporter,
)
from sbiwb.cli.door import app

os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # before torch: threads that wait by spinning stop a busy machine

from sbiwb.errors import SbiwbError


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Name of the project: letters, digits, underscores.")],
) -> None:
    """Write a small project that runs: simulator, YAML and data, to change into your own."""
    from sbiwb.cli import show
    from sbiwb.workflow.init import init as write

    show.written(write(name, Path()), f"sbiwb run {name}.yaml")


@app.command()
def check(config: ConfigPath, settings: Settings = [], runs: Runs = RUNS) -> None:  # noqa: B006 (typer copies it)
    """Try everything for a few seconds and say what the job will cost."""
    from sbiwb.cli import show
    from sbiwb.workflow.check import check as try_out

    show.checked(try_out(_open(config, settings, runs)), config)


@app.command()
def simulate(
    config: ConfigPath,
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
    accept_code_change: Annotated[
        bool,
        typer.Option(
            "--accept-code-change",
            help="Keep the simulations although the simulator's code changed: it gives the same rows.",
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
    from sbiwb.stopping import raise_on_signal
    from sbiwb.workflow.simulate import simulate as draw_pairs

    project = _open(config, settings, runs)
    with raise_on_signal():
        show.simulated(
            draw_pairs(project, _reporter(), more=more, accept_code_change=accept_code_change),
            project.run.path,
        )
    show.next_step(f"sbiwb train {project.run.path}")


@app.command()
def train(
    config: ConfigPath,
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
    fresh: Fresh = False,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr", help="Only try growing learning rates for some steps, and suggest one."
        ),
    ] = False,
) -> None:
    """Fit the network, from the newest checkpoint if there is one; under torchrun or srun, in several processes together."""
    from sbiwb.cli import show
    from sbiwb.workflow.train import describe
    from sbiwb.workflow.train import train as fit

    project = _open(config, settings, runs)
    if find_lr:
        from sbiwb.workflow.train import find_lr as try_rates

        found = try_rates(project, _reporter())
        show.lines(found.lines())
        show.next_step(f"sbiwb train {config} --set train.learning_rate={found.suggestion:.1g}")
        return
    trained = fit(project, _reporter(), fresh=fresh)
    if trained.is_main_process:
        show.lines(describe(trained))
        show.next_step(f"sbiwb diagnose {project.run.path}")


@app.command()
def tune(
    config: ConfigPath,
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
    trials: Annotated[
        int,
        typer.Option(
            min=1, help="Trials of the whole search, those of earlier and other processes included."
        ),
    ] = 30,
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=RANGE",
            help="A key of train or model: 'train.learning_rate=1e-4..1e-2 log', 'model.inference.transforms=3..8', or choices: "
            "'model.inference.hidden=[64,64] | [128,128]'. Repeatable. Without it: what the search had before, or "
            "train.learning_rate, train.weight_decay and the number of transforms.",
        ),
    ] = [],  # noqa: B006
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Minutes after which to stop; the same command goes on."),
    ] = None,
) -> None:
    """Search settings with a low validation loss; run it on many machines at once, and again to go on."""
    from sbiwb.cli import show
    from sbiwb.workflow.tune import tune as search

    project = _open(config, settings, runs)
    show.tuned(search(project, _reporter(), vary=vary, trials=trials, minutes=minutes), config)


@app.command()
def diagnose(
    config: ConfigPath,
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate", help="Exit with 3 when a check fails, so that a chain of jobs stops."
        ),
    ] = False,
) -> None:
    """Say with numbers and pictures how far the posterior can be trusted."""
    from sbiwb.cli import show
    from sbiwb.workflow.diagnose import diagnose as judge

    project = _open(config, settings, runs)
    found = judge(project, _reporter(), gate=gate)
    show.diagnosed(found, project.run)
    if found.verdict != "fail":
        show.next_step(f"sbiwb sample {project.run.path}")


@app.command()
def sample(
    config: ConfigPath,
    observation: Annotated[
        str | None,
        typer.Argument(help="A name from problem.observations, or a CSV, NPZ, JSON or HDF5 file."),
    ] = None,
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
    draws: Annotated[int, typer.Option(min=2, help="Posterior draws for each data set.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Root of the draws.")] = 0,
    group_by: GroupBy = "",
    column: Column = [],  # noqa: B006
    context: Context = [],  # noqa: B006
    refine: Annotated[
        Refine | None,
        typer.Option(
            "--refine",
            help="Repair the draws by the simulator file's log_likelihood, where they need it.",
        ),
    ] = None,
) -> None:
    """Infer real observations: draws, a table, a pair plot, and simulations from the posterior over the data."""
    from sbiwb.cli import show
    from sbiwb.workflow.sample import from_file, named_observations
    from sbiwb.workflow.sample import sample as infer

    project = _open(config, settings, runs)
    if (
        observation is not None
        and observation not in project.config.problem.observations
        and Path(observation).suffix
    ):
        found = [from_file(Path(observation), group_by=group_by, columns=column, context=context)]
    else:
        found = named_observations(project, observation)
    show.sampled(
        infer(
            project,
            found,
            _reporter(),
            draws=draws,
            seed=seed,
            how=refine.value if refine else None,
        )
    )
    show.next_step(f"sbiwb report {project.run.path}")


@app.command()
def run(
    config: ConfigPath,
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
    gate: Annotated[
        bool, typer.Option("--gate", help="Stop with exit code 3 when a check fails.")
    ] = False,
    fresh: Fresh = False,
) -> None:
    """Simulate, train, diagnose, infer all observations and write the report; what is done already is not done again."""
    from sbiwb.cli import show
    from sbiwb.stopping import raise_on_signal
    from sbiwb.workflow.diagnose import check_gate
    from sbiwb.workflow.diagnose import diagnose as judge
    from sbiwb.workflow.report import report as write
    from sbiwb.workflow.sample import named_observations
    from sbiwb.workflow.sample import sample as infer
    from sbiwb.workflow.simulate import simulate as draw_pairs
    from sbiwb.workflow.train import check_alone, describe
    from sbiwb.workflow.train import train as fit

    check_alone("run")
    project, reporter = _open(config, settings, runs), _reporter()
    show.step(1, "simulate")
    with raise_on_signal():
        show.simulated(draw_pairs(project, reporter), project.run.path)
    show.step(2, "train")
    show.lines(describe(fit(project, reporter, fresh=fresh)))
    show.step(3, "diagnose")
    judged = judge(project, reporter)
    show.diagnosed(judged, project.run)
    if gate:
        write(project.run.path)
        check_gate(project, judged)
    found = named_observations(project, None)
    if found:
        show.step(4, "sample")
        show.sampled(infer(project, found, reporter, draws=4000, seed=0))
    else:
        show.next_step(f"sbiwb sample {project.run.path} data.csv")
    show.written([write(project.run.path)])


@app.command()
def predict(
    config: ConfigPath,
    observation: Annotated[
        str | None,
        typer.Argument(
            help="A name from problem.observations, to simulate from its posterior; without it, from the prior."
        ),
    ] = None,
    settings: Settings = [],  # noqa: B006
    runs: Runs = RUNS,
    draws: Annotated[int, typer.Option(min=1, help="Simulations.")] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, help="Root of the draws and of the simulator's noise.")
    ] = 0,
    context: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE", help="A design variable at another value: what if? Repeatable."
        ),
    ] = [],  # noqa: B006
) -> None:
    """Simulate from the posterior of an observation, or from the prior."""
    from sbiwb.cli import show
    from sbiwb.workflow.predict import predict as simulate_from
    from sbiwb.workflow.sample import context_values, named_observations

    project = _open(config, settings, runs)
    found = named_observations(project, observation)[0] if observation else None
    fixed = context_values(context)
    show.predicted(
        simulate_from(
            project, _reporter(), observation=found, draws=draws, seed=seed, context=fixed
        )
    )


@app.command()
def report(run: RunPath) -> None:
    """Write one HTML page about a run: verdict, pictures, posteriors of the data, provenance."""
    from sbiwb.cli import show
    from sbiwb.workflow.report import report as write

    show.written([write(run)])


@app.command()
def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|DRAWS...",
            help="Run folders (or YAMLs) with trained networks, two or more; or folders of draws, such as runs/x/sample/seen and "
            "runs/x/reference/nuts/seen.",
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
            help="Folder for tables and picture; without it `compare` beside the runs, for draws `compare/OBSERVATION` in the run.",
        ),
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Rank trained runs by NLPD on the same test pairs; or hold draws of one posterior against a reference method's."""
    from sbiwb.cli import show

    if any((path / "draws.h5").is_file() for path in paths):
        from sbiwb.workflow.compare_draws import overlay

        if test is not None:
            raise SbiwbError(
                "draws have no test pairs", where=f"--test {test}", todo="Leave it out."
            )
        show.overlaid(overlay(paths, _reporter(), output=output))
        return
    from sbiwb.workflow.compare_runs import compare as rank

    show.compared(rank(paths, _reporter(), test=test, output=output, runs=runs))


@app.command()
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
    from sbiwb.cli import show
    from sbiwb.workflow.status import status as look

    show.status(look(run))
    if failures:
        from sbiwb.workflow.status_failures import failures as gather

        show.failures(gather(run, _reporter()))


@app.command()
def parts(
    family: Annotated[
        str,
        typer.Argument(
            help="priors, transforms, summary, inference, diagnostics, references, executors, ...; all without it."
        ),
    ] = "",
    kind: Annotated[str, typer.Argument(help="One part of it.")] = "",
) -> None:
    """List what can be named in the YAML, with options and defaults."""
    from sbiwb.cli import show
    from sbiwb.workflow.parts import families
    from sbiwb.workflow.parts import parts as listed

    known = families()
    if family and family not in known:
        near = difflib.get_close_matches(family, known, 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise SbiwbError(
            f"no family '{family}'", where="sbiwb parts", todo=f"{hint}One of: {', '.join(known)}."
        )
    for name in [family] if family else known:
        found = [part for part in listed(known[name]) if kind in ("", part.kind)]
        if not found:
            raise SbiwbError(
                f"no part '{kind}' in {name}",
                where="sbiwb parts",
                todo=f"One of: {', '.join(known[name].names())}.",
            )
        show.parts(name, found, full=bool(family))


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Argument(help="File to write; standard output without it.")
    ] = None,
) -> None:
    """Write the JSON Schema of the YAML, for completion and checking in editors."""
    import json

    from sbiwb.config import schema as make
    from sbiwb.files import put_text

    text = json.dumps(make(), indent=1) + "\n"
    if output is None:
        typer.echo(text, nl=False)
    else:
        put_text(output, text)


from sbiwb.cli import cluster, data, exact  # noqa: E402, F401 (their verbs register themselves with the `app` above)


def main() -> None:
    """Runs the command line and ends with the exit code of the design."""
    app()
