"""A run folder as the verbs see it that read its files alone: its shards, by the plain config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sbiwb.document import read_run_config
from sbiwb.errors import RunError
from sbiwb.files import parse_typed
from sbiwb.rundir import RunDir


def open_run_folder(path: Path) -> RunDir:
    """A run folder by its path.

    Raises:
        RunError: It is none.
    """
    run = RunDir(path)
    if not run.config.is_file():
        what = "is no run folder: it holds no config.yaml"
        raise RunError(what, where=path, todo="Name a folder under runs/.")
    return run


@dataclass(frozen=True)
class SimulateSection:
    """The section `simulate` of a run's config.

    Args:
        train: Pairs asked for.
        validation: The same.
        test: The same.
        source: The run whose shards are used, relative to this one's folder; None: its own.
        is_likelihood: Whether the run is that of a learned likelihood; its pairs are members of
            these data sets.
    """

    train: int
    validation: int
    test: int
    source: str | None = None
    is_likelihood: bool = False

    @property
    def pairs(self) -> dict[str, int]:
        """Pairs asked for, by split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def data_run(self, run: RunDir) -> RunDir:
        """The run that holds the shards."""
        if self.source is None:
            return run
        return RunDir((run.path / self.source).resolve())


@dataclass(frozen=True)
class _ConfigFile:
    simulate: SimulateSection


def simulate_section(run: RunDir) -> SimulateSection:
    """The section `simulate` of a run's config, read without any of its parts.

    Raises:
        RunError: It is not the config of a run.
        CorruptFile: A number of pairs is none.
    """
    todo = "Run `sbiwb simulate` on your own YAML: it writes it anew."
    config = read_run_config(run.config)
    section = {**config["simulate"], "source": config["simulate"].get("from")}
    simulator = config["problem"].get("simulator")
    if isinstance(simulator, dict) and isinstance(simulator.get("data_sets"), dict):
        section |= {**simulator["data_sets"], "is_likelihood": True}
    text = json.dumps({"simulate": section}, default=str)
    return parse_typed(_ConfigFile, text, where=run.config, todo=todo).simulate
