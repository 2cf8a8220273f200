"""The tasks: our own shards as one .npz file for all contenders, those that ours trains on too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.project.opening import open_project
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.workflow.simulate import simulate
from tests.tiny import Recorder

ROOT = Path(__file__).parents[2]
TASKS = ("two_moons", "slcp", "gaussian_linear")
OBSERVATIONS = 500


@dataclass(frozen=True)
class Sizes:
    """Pairs of a task, and what a measurement of it takes."""

    train: int = 9_000
    validation: int = 1_000
    test: int = 10_000
    observations: int = OBSERVATIONS
    draws: int = 1_000
    epochs: int = 5

    @classmethod
    def quick(cls) -> Sizes:
        return cls(train=1_800, validation=200, test=500, observations=20, draws=50, epochs=2)

    @property
    def settings(self) -> list[str]:
        return [
            f"simulate.{name}={getattr(self, name)}" for name in ("train", "validation", "test")
        ]


@dataclass(frozen=True)
class Task:
    """One problem on disk: its shards, the same pairs as .npz, and its config."""

    name: str
    folder: Path
    config: Path

    @property
    def data(self) -> Path:
        return self.folder / f"{self.name}.npz"

    @property
    def shards(self) -> Path:
        return self.folder / "shards" / self.name


def prepare(name: str, folder: Path, sizes: Sizes, config: Path | None = None) -> Task:
    """Simulates a task, or takes it up again, and writes its .npz."""
    task = Task(name, folder, config or ROOT / "configs" / f"{name}.yaml")
    settings = [*sizes.settings, f"name={name}", "machine.executor=serial"]
    project = open_project(task.config, settings=settings, runs=task.shards.parent)
    simulate(project, Recorder())
    theta, x = _pairs(project, "train", "validation")
    test_theta, test_x = _pairs(project, "test")
    np.savez(
        task.data,
        theta=theta,
        x=x,
        validation=sizes.validation,
        test_theta=test_theta,
        test_x=test_x,
        observations=test_x[: sizes.observations],
        **_prior(project),
    )
    return task


def _pairs(project: Project, *splits: str) -> tuple[np.ndarray, np.ndarray]:
    parts = [load_split(project, split) for split in splits]
    return np.concatenate([project.prior.stack(part.theta) for part in parts]), np.concatenate(
        [part.x["x"] for part in parts]
    )


def _prior(project: Project) -> dict[str, object]:
    """What a peer needs to state the prior: a box or independent normals."""
    (part,) = project.config.problem.parameters.values()
    options, size = part.model_dump(), project.prior.size
    names = {"uniform": ("low", "high"), "normal": ("loc", "scale")}[options["kind"]]
    a, b = (np.full(size, float(options[name])) for name in names)
    return {"prior_kind": options["kind"], "prior_a": a, "prior_b": b}
