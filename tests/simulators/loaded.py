"""The simulator files of this repository, loaded as the workbench loads them, and short runs of
them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np

from sbiwb.posterior import Posterior
from sbiwb.project.opening import open_project
from sbiwb.project.project import Project
from sbiwb.project.trained import load_posterior
from sbiwb.simulation.source import load_source
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train

ROOT = Path(__file__).parents[2]
CONFIGS = sorted({*(ROOT / "configs").glob("*.yaml")} - {ROOT / "configs" / "benchmark.yaml"})


def simulator(name: str) -> ModuleType:
    return load_source(f"{name}.py", ROOT / "simulators").module


def project(name: str, runs: Path, *settings: str) -> Project:
    return open_project(ROOT / "configs" / f"{name}.yaml", settings=settings, runs=runs)


def trained(name: str, runs: Path, recorder, *settings: str) -> Posterior:
    """The posterior of a config, by the public functions; a test that calls it is slow."""
    opened = project(name, runs, "machine.threads=1", "machine.executor=serial", *settings)
    simulate(opened, recorder)
    train(opened, recorder)
    return load_posterior(opened.run.path, "cpu")


def alone(**x) -> dict[str, np.ndarray]:
    """Each variable of one data set with a first axis of one data set."""
    return {name: np.asarray(values)[None] for name, values in x.items()}
