"""Addresses inside a run folder; knows names, opens nothing but provenance."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sbiwb.files import put_json

SPLITS = ("train", "validation", "test")
REPORTED_PACKAGES = ("sbiwb", "numpy", "scipy", "h5py", "torch", "zuko")


@dataclass(frozen=True)
class RunDir:
    """One run on disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def data(self) -> Path:
        return self.path / "data"

    def split(self, name: str) -> Path:
        return self.data / name

    @property
    def plan(self) -> Path:
        return self.data / "plan.json"

    @property
    def manifest(self) -> Path:
        return self.data / "manifest.json"

    @property
    def train(self) -> Path:
        return self.path / "train"

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
    def loss_picture(self) -> Path:
        return self.train / "loss.png"

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

    def sample(self, observation: str) -> Path:
        return self.path / "sample" / observation

    def reference(self, method: str, observation: str) -> Path:
        return self.path / "reference" / method / observation


def versions() -> dict[str, str]:
    """Versions of what can change a number."""
    found = {"python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def put_provenance(folder: Path, *, seconds: float, facts: dict[str, Any]) -> None:
    """Writes who made what is in `folder`: versions, host, job, wall time, and the step's own facts (seeds, hashes)."""
    job = {
        name: os.environ[name]
        for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
        if name in os.environ
    }
    put_json(
        folder / "provenance.json",
        {
            "command": " ".join(sys.argv),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "seconds": round(seconds, 3),
            "host": socket.gethostname(),
            "cpu": platform.processor() or platform.machine(),
            "job": job,
            "versions": versions(),
            **facts,
        },
    )
