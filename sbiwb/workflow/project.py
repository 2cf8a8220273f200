"""A project: the YAML, its run folder, and the objects it names, opened once for every verb."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from sbiwb import config as yaml_config
from sbiwb.config import RunConfig
from sbiwb.contracts import Distribution
from sbiwb.errors import ConfigError, DiskError, RunError
from sbiwb.families import map_files
from sbiwb.files import put_text, read_json, stable_hash
from sbiwb.priors import Prior
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.simulation.blocks import Problem
from sbiwb.simulation.layout import from_json
from sbiwb.simulation.options import Command
from sbiwb.simulation.program import load_program, relocated
from sbiwb.simulation.sandbox import Isolated
from sbiwb.simulation.simulator import Simulator
from sbiwb.simulation.source import DENSITY, Origin, code_hash, load_source
from sbiwb.workflow.imported import IMPORTED, KINDS, Imported

Identity = dict[str, Any]


@dataclass(frozen=True)
class Project:
    """One YAML with all it names.

    Args:
        config: The typed config.
        run: Its run folder, which may not exist yet.
        base: The folder that paths in the config are relative to.
    """

    config: RunConfig
    run: RunDir
    base: Path

    @cached_property
    def source(self) -> Origin:
        """The simulator file, the external program, or what stands for it where pairs are imported."""
        problem = self.config.problem
        if self.is_imported:
            return Imported(self.data_run, tuple(name for name, part in problem.parameters.items() if part.kind in KINDS))
        if isinstance(problem.simulator, Command):
            return load_program(problem.simulator, self.base, batched=problem.batched, timeout_s=self.config.simulate.failures.timeout_s)
        return load_source(problem.simulator, self.base)

    @property
    def is_imported(self) -> bool:
        """Whether the pairs come from files."""
        return self.config.problem.simulator == IMPORTED

    @cached_property
    def prior(self) -> Prior:
        parameters = self.config.problem.parameters
        units = {name: getattr(part, "unit", "") for name, part in parameters.items()}
        sampler = self.source.optional("prior") if any(part.kind in KINDS for part in parameters.values()) else None
        return Prior(_distributions(parameters), sampler=sampler, units=units)

    @cached_property
    def context(self) -> dict[str, Distribution]:
        return _distributions(self.config.problem.context)

    @cached_property
    def simulator(self) -> Simulator:
        problem, failures = self.config.problem, self.config.simulate.failures
        injected = self.source.injected(list(problem.parameters), list(problem.context), list(problem.constants))
        alarm_s = None if isinstance(problem.simulator, Command) else failures.timeout_s  # a program keeps its time itself
        return Simulator(self.source, problem.batched, tuple(injected), problem.constants, alarm_s, failures.memory_gb)

    @cached_property
    def isolated(self) -> Isolated:
        """The simulator in a process of its own, which ends with this project."""
        return Isolated(self.simulator)

    @property
    def problem(self) -> Problem:
        """What blocks are made from; with the layout once a plan exists."""
        plan = self.data_run.plan
        layout = from_json(read_json(plan)["layout"]) if plan.is_file() else None
        return Problem(self.prior, self.context, self.simulator, self.config.simulate.seed, layout, tuple(self.config.problem.missing))

    @property
    def block_size(self) -> int:
        size = self.config.simulate.block_size
        if self.is_imported:
            return 1
        return size if isinstance(size, int) else 256 if self.config.problem.batched else 1

    @property
    def data_run(self) -> RunDir:
        """The run that holds the shards: another one under `simulate.from`."""
        other = self.config.simulate.from_
        return RunDir((self.base / other).resolve()) if other else self.run

    @cached_property
    def data_identity(self) -> Identity:
        """All that decides a simulated row."""
        return self.identity(self.source.code_hash)

    def identity(self, code: str) -> Identity:
        """The same with this hash of the code, or of the files that pairs are imported from."""
        problem, simulate = self.config.problem, self.config.simulate
        return {
            "problem": {
                "parameters": [[name, _plain(part)] for name, part in problem.parameters.items()],
                "context": [[name, _plain(part)] for name, part in problem.context.items()],
                "constants": dict(problem.constants),
                "batched": problem.batched,
                "simulator code": code,
                **({"missing": sorted(problem.missing)} if problem.missing else {}),
            },
            "simulate": {"seed": simulate.seed, "block_size": self.block_size},
        }

    @property
    def own_hash(self) -> str:
        """Hash of the problem as the YAML and the simulator file state it now."""
        return stable_hash(self.data_identity)

    @property
    def data_hash(self) -> str:
        """Hash that this problem's shards carry: its own, or that of before a change of code which was accepted as changing no row."""
        plan = read_json(self.data_run.plan) if self.data_run.plan.is_file() else {}
        return plan["data_hash"] if self.own_hash in plan.get("accepted", ()) else self.own_hash

    @property
    def model_identity(self) -> Identity:
        """All that decides a trained network, given the data."""
        train = self.config.train.model_dump(mode="json", exclude={"checkpoint_every_s", "max_time_min"})
        pairs = {name: getattr(self.config.simulate, name) for name in ("train", "validation")}
        model = map_files(self.config.model.model_dump(mode="json"), _content)
        return {"data_hash": self.data_hash, "simulate": pairs, "model": model, "train": train}

    @property
    def model_hash(self) -> str:
        return stable_hash(self.model_identity)


def _distributions(parts: Mapping[str, Any]) -> dict[str, Distribution]:
    return {name: part.build() for name, part in parts.items()}


def _plain(part: Any) -> dict[str, Any]:
    return map_files(part.model_dump(mode="json", exclude={"unit"}), _content)


def _content(kind: str) -> str:
    """A part outside the package by name and code, wherever it lies."""
    return f"{Path(kind).name} {code_hash(Path(kind).read_text(encoding='utf-8'))[:12]}"


def open_project(path: Path, *, settings: Sequence[str] = (), runs: Path = Path("runs")) -> Project:
    """Opens a YAML, or a run folder by its config.yaml.

    Raises:
        ConfigErrors: All problems of the YAML at once.
        ConfigError: Context or parameters that cannot be what they are said to be.
    """
    file = path / "config.yaml" if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise RunError("is no run folder: it holds no config.yaml", where=path, todo="Name a YAML file, or a folder under runs/.")
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
        raise RunError("no such run", where=path, todo=f"There are: {', '.join(known) or 'none'} in {runs}; or name a YAML file.")


def _with_borrowed_counts(config: RunConfig, base: Path) -> RunConfig:
    """Under `simulate.from`, what the YAML leaves out is what the other run has: seed, block size and counts."""
    simulate = config.simulate
    if simulate.from_ is None or not (other := RunDir((base / simulate.from_).resolve())).config.is_file():
        return config
    theirs = yaml_config.load(other.config).simulate
    silent = {"seed", "block_size", *SPLITS} - simulate.model_fields_set
    return config.model_copy(update={"simulate": simulate.model_copy(update={name: getattr(theirs, name) for name in silent})})


def _with_imported_counts(project: Project) -> Project:
    """Where pairs are imported, the counts that the YAML leaves out are those of the import."""
    simulate = project.config.simulate
    if not project.is_imported or not project.run.plan.is_file():
        return project
    rows = read_json(project.run.plan).get(IMPORTED, {}).get("rows", {})
    silent = {name: rows[name] for name in set(SPLITS) - simulate.model_fields_set if name in rows}
    return replace(project, config=project.config.model_copy(update={"simulate": simulate.model_copy(update=silent)}))


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
        raise ConfigError(f"problem  {', '.join(twice)} is named twice", where=project.base, todo="Give each quantity its own name.")


def _check_network(project: Project) -> None:
    """Whether the inference network knows parameters of these kinds."""
    model, parameters = project.config.model, project.config.problem.parameters
    kinds = model.theta if isinstance(model.theta, dict) else dict.fromkeys(parameters, model.theta)
    circular = [name for name, kind in kinds.items() if kind == "circular"]
    discrete = [name for name, one in _distributions(parameters).items() if one.discrete]
    if circular and not getattr(model.inference, "CIRCULAR", False):
        raise ConfigError(
            f"model.theta  {', '.join(circular)}: inference network {model.inference.kind} knows no circular parameters",
            where=project.base,
            todo="Use model.inference: ncsf, or map through the prior.",
        )
    if discrete and getattr(model.inference, "gives", "joint") != "joint":
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
    if isinstance(simulator, Command):
        simulator = relocated(simulator, project.base, project.run.path)
    elif simulator.partition(":")[0].endswith(".py"):
        simulator = _relative(project, simulator)
    observations = {name: one.model_copy(update={"file": _relative(project, one.file)}) for name, one in problem.observations.items()}
    moved = config.model_copy(
        update={
            "problem": problem.model_copy(update={"simulator": simulator, "observations": observations}),
            "simulate": config.simulate.model_copy(update={"from_": config.simulate.from_ and _relative(project, config.simulate.from_)}),
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


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Keys on which two plain values differ, as `train.steps: 100 -> 200`."""
    if old != new and _is_ordered(old) and _is_ordered(new):
        changed = differences(dict(old), dict(new), place)
        return changed or [f"{place}: order {', '.join(dict(old))} -> {', '.join(dict(new))}"]
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))]
    if old == new:
        return []
    if isinstance(old, str) and len(old) == 64:
        return [f"{place} changed"]
    return [f"{place}: {_short(old)} -> {_short(new)}"]


def _is_ordered(value: Any) -> bool:
    """Whether this is a list of [name, options], a mapping whose order counts."""
    return isinstance(value, list) and all(isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) for one in value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
