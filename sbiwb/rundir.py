"""Addresses inside a run folder, by name; and who made what lies there, its provenance.

Every file of a run has its name here and nowhere else.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from sbiwb.errors import CorruptFile
from sbiwb.files import put_json, read_typed

SPLITS = ("train", "validation", "test")
REPORTED_PACKAGES = ("sbiwb", "numpy", "scipy", "h5py", "torch", "zuko")
JOB_VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")

CONFIG = "config.yaml"
PROVENANCE = "provenance.json"
CHECKPOINTS = "checkpoint-*.pt"
SHARDS = "shard-*.h5"
DRAW_BLOCKS = "block-*.h5"
ELEMENTS = "element-*.json"


@dataclass(frozen=True)
class RunDir:
    """One run on disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def choices(self) -> Path:
        """What was chosen for the run from its data."""
        return self.path / "choices.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def data(self) -> Path:
        return self.path / "data"

    def split(self, name: str) -> Path:
        """Folder of the shards of `train`, `validation` or `test`."""
        return self.data / name

    @property
    def plan(self) -> Path:
        return self.data / "plan.json"

    @property
    def manifest(self) -> Path:
        return self.data / "manifest.json"

    @property
    def failures_picture(self) -> Path:
        return self.data / "failures.png"

    @property
    def train(self) -> Path:
        return self.path / "train"

    def checkpoint(self, step: int) -> Path:
        return self.train / f"checkpoint-{step:09d}.pt"

    @property
    def training_claim(self) -> Path:
        """There while a process trains; beside the training folder, which `--fresh` renames."""
        return self.path / "training.claim"

    @property
    def best(self) -> Path:
        return self.train / "best.pt"

    @property
    def metrics(self) -> Path:
        return self.train / "metrics.jsonl"

    @property
    def starts(self) -> Path:
        """Counts the starts of a training that make no progress."""
        return self.train / "starts.json"

    @property
    def loss_picture(self) -> Path:
        return self.train / "loss.png"

    @property
    def learning_rates_picture(self) -> Path:
        return self.train / "learning-rates.png"

    @property
    def likelihood(self) -> Path:
        """Folder of the learned likelihoods, a run folder each."""
        return self.path / "likelihood"

    @property
    def agreement(self) -> Path:
        """How posterior and likelihood agree."""
        return self.likelihood / "agreement.json"

    @property
    def baseline(self) -> Path:
        """What is usual at simulated pairs, which real data are held against."""
        return self.path / "baseline.npz"

    @property
    def diagnose(self) -> Path:
        return self.path / "diagnose"

    @property
    def numbers(self) -> Path:
        return self.diagnose / "numbers.json"

    @property
    def draws(self) -> Path:
        """Folder of the posterior draws for the test pairs, one file a block."""
        return self.diagnose / "draws"

    def draw_block(self, block: int) -> Path:
        return self.draws / f"block-{block:06d}.h5"

    @property
    def samples(self) -> Path:
        """Folder of the inferred observations, a folder each."""
        return self.path / "sample"

    def sample(self, observation: str) -> Path:
        return self.samples / observation

    def reference(self, method: str, observation: str) -> Path:
        return self.path / "reference" / method / observation

    @property
    def jobs(self) -> Path:
        """Folder of what is submitted to a batch system."""
        return self.path / "jobs"

    @property
    def jobs_list(self) -> Path:
        """The latest job of each step."""
        return self.jobs / "jobs.json"


@dataclass(frozen=True)
class PosteriorDir:
    """What `sample` and `reference` leave for one observation."""

    path: Path

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def summary_table(self) -> Path:
        return self.path / "summary.csv"

    @property
    def posterior(self) -> Path:
        return self.path / "posterior.nc"

    @property
    def draws(self) -> Path:
        return self.path / "draws.h5"

    @property
    def draws_table(self) -> Path:
        return self.path / "draws.csv"

    @property
    def refined(self) -> Path:
        """What was done to the amortized draws by `--refine`."""
        return self.path / "refined.json"

    @property
    def method(self) -> Path:
        """How the reference method ran."""
        return self.path / "method.json"

    @property
    def parts(self) -> Path:
        """Folder of the reference posteriors of single data sets."""
        return self.path / "parts"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who made what is in a folder, as `provenance.json` says.

    Args:
        seconds: Wall time.
        command: The command line.
        finished: When, in local time with its offset.
        host: Where.
        cpu: Of which kind.
        job: Numbers of the batch job.
        versions: Of what can change a number.
        data_hash: Of the problem whose simulations were read or made.
        weights: sha256 of the trained weights that were used.
    """

    seconds: float
    command: str = ""
    finished: str = ""
    host: str = ""
    cpu: str = ""
    job: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    data_hash: str | None = None
    weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainProvenance(Provenance):
    """Who trained, and how the training ended; see `training.facts.TrainingFacts`."""

    step: int
    reason: str
    best_step: int
    best_loss: float
    still_falling: bool
    gap: float
    parameters: int
    last_loss: float = 0.0  # that and the next two are not there in files of before
    last_train_loss: float = 0.0
    overfits: bool = False
    model_hash: str = ""


P = TypeVar("P", bound=Provenance)
STEP_OF_FOLDER = {"data": "simulate", "train": "train", "diagnose": "diagnose"}


def provenance_path(folder: Path) -> Path:
    return folder / PROVENANCE


def read_provenance(folder: Path, kind: type[P]) -> P | None:
    """The provenance of what is in `folder`, or None where there is none.

    Args:
        folder: Of a step, such as `run.train`.
        kind: `Provenance`, or the subclass with the step's own facts.

    Raises:
        CorruptFile: It cannot be read, or a field is missing or of another type.
    """
    path = provenance_path(folder)
    if not path.is_file():
        return None
    step = STEP_OF_FOLDER.get(folder.name, "sample")
    return read_typed(
        kind, path, todo=f"Delete it and run `sbiwb {step}` again: it writes it anew."
    )


def has_provenance(folder: Path, kind: type[Provenance]) -> bool:
    """Whether there is a provenance that can be read: else its step is not finished."""
    try:
        return read_provenance(folder, kind) is not None
    except CorruptFile:
        return False


def versions() -> dict[str, str]:
    """Versions of what can change a number."""
    installed = {"python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def put_provenance(folder: Path, *, seconds: float, facts: Mapping[str, object]) -> None:
    """Writes who made what is in `folder`.

    Args:
        folder: Of the step.
        seconds: Wall time of the step.
        facts: The step's own: seeds, hashes, and what else its subclass of `Provenance` names.
    """
    command = " ".join(sys.argv).encode(errors="replace").decode()  # paths may be no UTF-8
    job = {name: os.environ[name] for name in JOB_VARIABLES if name in os.environ}
    made_by = {
        "command": command,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": round(seconds, 3),
        "host": socket.gethostname(),
        "cpu": platform.processor() or platform.machine(),
        "job": job,
        "versions": versions(),
    }
    put_json(provenance_path(folder), {**made_by, **facts})
