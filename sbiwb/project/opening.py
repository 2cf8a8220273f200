"""Opening a YAML or a run folder as a project, and writing the resolved config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from sbiwb import config as yaml_config
from sbiwb.config import RunConfig
from sbiwb.contracts import OutputKind
from sbiwb.errors import ConfigError, DiskError, RunError
from sbiwb.files import put_text
from sbiwb.project.choices import with_choices
from sbiwb.project.plan import imported_rows
from sbiwb.project.project import Project, distributions
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.simulation.command import ProgramCommand
from sbiwb.simulation.executable import relocated
from sbiwb.simulation.source import DENSITY


def open_project(path: Path, *, settings: Sequence[str] = (), runs: Path = Path("runs")) -> Project:
    """Opens a YAML, or a run folder by its config.yaml.

    Raises:
        ConfigErrors: All problems of the YAML at once.
        ConfigError: Context or parameters that cannot be what they are said to be.
    """
    _check_exists(path, runs)
    file = path
    if path.is_dir():
        file = path / "config.yaml"
    config = _with_borrowed_counts(yaml_config.load(file, settings), file.parent)
    run = RunDir(runs / config.name)
    if path.is_dir():
        run = RunDir(path)
    project = _with_imported_counts(Project(config, run, file.parent))
    _check_meaning(project)
    return with_choices(project)


def _check_exists(path: Path, runs: Path) -> None:
    """A path without a suffix is meant as a run folder."""
    if path.is_dir() and not (path / "config.yaml").is_file():
        raise RunError(
            "is no run folder: it holds no config.yaml",
            where=path,
            todo="Name a YAML file, or a folder under runs/.",
        )
    if not path.exists() and not path.suffix:
        names = sorted(config.parent.name for config in runs.glob("*/config.yaml"))
        raise RunError(
            "no such run",
            where=path,
            todo=f"There are: {', '.join(names) or 'none'} in {runs}; or name a YAML file.",
        )


def _with_borrowed_counts(config: RunConfig, base: Path) -> RunConfig:
    """Under `simulate.from`, what the YAML leaves out of seed, blocks and counts is the other's."""
    simulate = config.simulate
    if simulate.from_ is None:
        return config
    other = RunDir((base / simulate.from_).resolve())
    if not other.config.is_file():
        return config
    theirs = yaml_config.load(other.config).simulate
    borrowed = {"seed", "block_size", *SPLITS} - simulate.model_fields_set
    updated = simulate.model_copy(update={name: getattr(theirs, name) for name in borrowed})
    return config.model_copy(update={"simulate": updated})


def _with_imported_counts(project: Project) -> Project:
    """Where pairs are imported, the counts that the YAML leaves out are those of the import."""
    given = project.config.simulate.model_fields_set
    if not project.is_imported:
        return project
    rows = imported_rows(project.run)
    return project.with_pairs({split: n for split, n in rows.items() if split not in given})


def _check_meaning(project: Project) -> None:
    """What types alone cannot say."""
    _check_drawn(project)
    _check_network(project.config, project.base)
    problem = project.config.problem
    names = [*problem.parameters, *problem.context, *problem.constants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"problem  {', '.join(twice)} is named twice",
            where=project.base,
            todo="Give each quantity its own name.",
        )


def _check_drawn(project: Project) -> None:
    """A simulator needs parameters that can be drawn."""
    parameters = project.config.problem.parameters
    unknown = [name for name, part in parameters.items() if part.kind == "unknown"]
    if unknown and not project.is_imported and not project.source.optional(DENSITY):
        raise ConfigError(
            f"problem.parameters  {', '.join(unknown)} of kind 'unknown': "
            "a simulator needs parameters to draw",
            where=project.base,
            todo="Write `simulator: imported` where pairs are imported, or use kind: joint with a "
            "function prior(n, rng), or another kind; `unknown` are the bounds of a file with "
            "log_density(**theta) too.",
        )


def _check_network(config: RunConfig, base: Path) -> None:
    """Whether the inference network knows parameters of these kinds."""
    model, parameters = config.model, config.problem.parameters
    circular = [name for name in parameters if model.theta_kind(name) == "circular"]
    discrete = [
        name for name, distribution in distributions(parameters).items() if distribution.discrete
    ]
    if circular and not model.inference.circular:
        raise ConfigError(
            f"model.theta  {', '.join(circular)}: "
            f"inference network {model.inference.kind} knows no circular parameters",
            where=base,
            todo="Use model.inference: ncsf, or map through the prior.",
        )
    if discrete and model.inference.output_kind != OutputKind.JOINT:
        raise ConfigError(
            f"problem.parameters  {', '.join(discrete)}: "
            f"inference network {model.inference.kind} gives no probabilities of levels",
            where=base,
            todo="Use a network with a density, such as model.inference: nsf, "
            "or give every parameter a continuous prior.",
        )


def write_config(project: Project) -> None:
    """Writes the resolved config into the run folder, every default written out.

    Its paths are relative to there.
    """
    run, base = project.run, project.base
    text = yaml_config.dump(_moved(project.config, base, run.path), run.path)
    if not run.config.is_file() or run.config.read_bytes() != text.encode():
        put_text(run.config, text)


def _moved(config: RunConfig, base: Path, folder: Path) -> RunConfig:
    """The config with paths relative to a folder instead of to its base."""
    problem, simulate = config.problem, config.simulate
    simulator = problem.simulator
    if isinstance(simulator, ProgramCommand):
        simulator = relocated(simulator, base, folder)
    elif isinstance(simulator, str) and simulator.partition(":")[0].endswith(".py"):
        simulator = _relative(simulator, base, folder)
    observations = {}
    for name, section in problem.observations.items():
        file = _relative(section.file, base, folder)
        observations[name] = section.model_copy(update={"file": file})
    if simulate.from_ is not None:
        from_ = _relative(simulate.from_, base, folder)
        simulate = simulate.model_copy(update={"from_": from_})
    problem = problem.model_copy(update={"simulator": simulator, "observations": observations})
    return config.model_copy(update={"problem": problem, "simulate": simulate})


def _relative(path: str, base: Path, folder: Path) -> str:
    return os.path.relpath((base / path).resolve(), folder.resolve())


@lru_cache(maxsize=4)
def _opened(path: str, changed_ns: int) -> Project:
    return open_project(Path(path))


def open_run(path: str) -> Project:
    """The project of a run folder, opened once a process as long as its config stays the same.

    Raises:
        DiskError: The folder is gone, or cannot be read.
    """
    config = Path(path) / "config.yaml"
    try:
        changed_ns = config.stat().st_mtime_ns
    except OSError as error:
        raise DiskError.of(error, config) from error
    return _opened(path, changed_ns)
