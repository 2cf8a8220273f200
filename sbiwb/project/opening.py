"""Opening a YAML or a run folder as a project, and writing the resolved config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from sbiwb import config as yaml_config
from sbiwb.config import RunConfig
from sbiwb.contracts import OutputKind
from sbiwb.errors import ConfigError, DiskError, RunError
from sbiwb.files import put_text, read_json
from sbiwb.project.imported import IMPORTED
from sbiwb.project.project import Project, _distributions
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
    file = path / "config.yaml" if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise RunError(
            "is no run folder: it holds no config.yaml",
            where=path,
            todo="Name a YAML file, or a folder under runs/.",
        )
    _check_exists(path, runs)
    base = file.parent
    config = _with_borrowed_counts(yaml_config.load(file, settings), base)
    run = RunDir(path) if path.is_dir() else RunDir(runs / config.name)
    project = _with_imported_counts(Project(config, run, base))
    _check_meaning(project)
    return project


def _check_exists(path: Path, runs: Path) -> None:
    """A path without a suffix is meant as a run folder."""
    if not path.exists() and not path.suffix:
        known = sorted(one.parent.name for one in runs.glob("*/config.yaml"))
        raise RunError(
            "no such run",
            where=path,
            todo=f"There are: {', '.join(known) or 'none'} in {runs}; or name a YAML file.",
        )


def _with_borrowed_counts(config: RunConfig, base: Path) -> RunConfig:
    """Under `simulate.from`, what the YAML leaves out is what the other run has: seed, block size and counts."""
    simulate = config.simulate
    if (
        simulate.from_ is None
        or not (other := RunDir((base / simulate.from_).resolve())).config.is_file()
    ):
        return config
    theirs = yaml_config.load(other.config).simulate
    silent = {"seed", "block_size", *SPLITS} - simulate.model_fields_set
    return config.model_copy(
        update={
            "simulate": simulate.model_copy(update={name: getattr(theirs, name) for name in silent})
        }
    )


def _with_imported_counts(project: Project) -> Project:
    """Where pairs are imported, the counts that the YAML leaves out are those of the import."""
    simulate = project.config.simulate
    if not project.is_imported or not project.run.plan.is_file():
        return project
    rows = read_json(project.run.plan).get(IMPORTED, {}).get("rows", {})
    silent = {name: rows[name] for name in set(SPLITS) - simulate.model_fields_set if name in rows}
    return replace(
        project,
        config=project.config.model_copy(update={"simulate": simulate.model_copy(update=silent)}),
    )


def _check_meaning(project: Project) -> None:
    """What types alone cannot say."""
    problem = project.config.problem
    unknown = [name for name, part in problem.parameters.items() if part.kind == "unknown"]
    if unknown and not project.is_imported and not project.source.optional(DENSITY):
        raise ConfigError(
            f"problem.parameters  {', '.join(unknown)} of kind 'unknown': a simulator needs parameters to draw",
            where=project.base,
            todo="Write `simulator: imported` where pairs are imported, or use kind: joint with a function prior(n, rng), or another kind; "
            "`unknown` are the bounds of a file with log_density(**theta) too.",
        )
    _check_network(project)
    names = [*problem.parameters, *problem.context, *problem.constants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"problem  {', '.join(twice)} is named twice",
            where=project.base,
            todo="Give each quantity its own name.",
        )


def _check_network(project: Project) -> None:
    """Whether the inference network knows parameters of these kinds."""
    model, parameters = project.config.model, project.config.problem.parameters
    kinds = model.theta if isinstance(model.theta, dict) else dict.fromkeys(parameters, model.theta)
    circular = [name for name, kind in kinds.items() if kind == "circular"]
    discrete = [name for name, one in _distributions(parameters).items() if one.discrete]
    if circular and not model.inference.circular:
        raise ConfigError(
            f"model.theta  {', '.join(circular)}: inference network {model.inference.kind} knows no circular parameters",
            where=project.base,
            todo="Use model.inference: ncsf, or map through the prior.",
        )
    if discrete and model.inference.output_kind != OutputKind.JOINT:
        raise ConfigError(
            f"problem.parameters  {', '.join(discrete)}: inference network {model.inference.kind} gives no probabilities of levels",
            where=project.base,
            todo="Use a network with a density, such as model.inference: nsf, or give every parameter a continuous prior.",
        )


def write_config(project: Project) -> None:
    """Writes the resolved config into the run folder, its paths relative to there, every default written out."""
    config = project.config
    problem = config.problem
    simulator = problem.simulator
    if isinstance(simulator, ProgramCommand):
        simulator = relocated(simulator, project.base, project.run.path)
    elif simulator.partition(":")[0].endswith(".py"):
        simulator = _relative(project, simulator)
    observations = {
        name: one.model_copy(update={"file": _relative(project, one.file)})
        for name, one in problem.observations.items()
    }
    moved = config.model_copy(
        update={
            "problem": problem.model_copy(
                update={"simulator": simulator, "observations": observations}
            ),
            "simulate": config.simulate.model_copy(
                update={
                    "from_": config.simulate.from_ and _relative(project, config.simulate.from_)
                }
            ),
        }
    )
    text = yaml_config.dump(moved, project.run.path)
    if not project.run.config.is_file() or project.run.config.read_text(encoding="utf-8") != text:
        put_text(project.run.config, text)


def _relative(project: Project, path: str) -> str:
    return os.path.relpath((project.base / path).resolve(), project.run.path.resolve())


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
