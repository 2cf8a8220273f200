"""A tiny project on disk, and three ways to run it: in this process, as a fork that can be killed,
and as the real command.

mu ~ N(0, 1), y_i ~ N(mu, 1) for i = 1 to 4: the posterior is N(sum(y) / 5, 1 / 5).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sbiwb.project.opening import open_project
from sbiwb.project.project import Project

SBIWB = str(Path(sys.executable).with_name("sbiwb"))
SIMULATOR = '''"""Normal data."""


def simulate(mu, *, rng, n):
    return {"y": mu[:, None] + rng.standard_normal((len(mu), n))}
'''
SLOW_SIMULATOR = """import time


def simulate(mu, *, rng, n):
    time.sleep(0.02)
    return {"y": mu[:, None] + rng.standard_normal((len(mu), n))}
"""
CONFIG: dict[str, Any] = {
    "name": "tiny",
    "problem": {
        "simulator": "tiny.py",
        "parameters": {"mu": {"kind": "normal"}},
        "constants": {"n": 4},
        "observations": {"seen": {"file": "seen.csv"}},
    },
    "simulate": {
        "train": 256,
        "validation": 64,
        "test": 64,
        "seed": 3,
        "block_size": 32,
        "shard_size": 64,
    },
    "model": {
        "inputs": {"y": {"as": "vector", "summary": {"kind": "mlp", "hidden": [16]}}},
        "inference": {"kind": "nsf", "transforms": 1, "hidden": [16], "bins": 4},
        "uncertainty": "none",
    },
    "train": {
        "steps": 60,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "weight_decay": 1e-3,
        "validate_every": 10,
        "patience": None,
    },
    "diagnose": {"draws": 19},
    "machine": {"executor": "serial", "device": "cpu", "threads": 1},
}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Base with single keys replaced, at any depth; a part (a mapping with `kind`) is replaced
    whole."""
    result = dict(base)
    for key, value in changes.items():
        deeper = (
            isinstance(value, dict) and isinstance(result.get(key), dict) and "kind" not in value
        )
        result[key] = merged(result[key], value) if deeper else value
    return result


@dataclass(frozen=True)
class Tiny:
    """The project's folder."""

    folder: Path

    @classmethod
    def write(cls, folder: Path, changes: Mapping[str, Any], simulator: str = SIMULATOR) -> Tiny:
        tiny = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tiny.simulator(simulator)
        (folder / "seen.csv").write_text("y\n1.0\n0.5\n1.5\n1.0\n")
        tiny.change(changes)
        return tiny

    @property
    def yaml(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "tiny"

    def simulator(self, text: str) -> None:
        (self.folder / "tiny.py").write_text(text)

    def change(self, changes: Mapping[str, Any]) -> None:
        """Writes the YAML again with these changes from the base."""
        self.yaml.write_text(yaml.safe_dump(merged(CONFIG, changes), sort_keys=False))

    def open(self, *settings: str) -> Project:
        return open_project(self.yaml, settings=settings, runs=self.folder / "runs")

    def arguments(self, verb: str, *more: str) -> list[str]:
        return [verb, str(self.yaml), "--runs", str(self.folder / "runs"), *more]

    def command(self, verb: str, *more: str) -> subprocess.CompletedProcess[str]:
        """The real command, to its end."""
        return subprocess.run(
            [SBIWB, *self.arguments(verb, *more)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=120,
        )

    def fork(self, verb: str, *more: str) -> Child:
        """The command in a fork of this process, which has imported everything already; it can be
        killed."""
        log = self.folder / f"fork-{time.monotonic_ns()}.txt"
        return Child.start(lambda: _main(self.arguments(verb, *more)), log)

    def shards(self) -> dict[str, str]:
        """sha256 of every shard by name."""
        return {
            str(path.relative_to(self.run)): digest(path)
            for path in sorted(self.run.glob("data/*/*.h5"))
        }


def until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


def copy(tiny: Tiny, folder: Path) -> Tiny:
    """The same project elsewhere."""
    shutil.copytree(tiny.folder, folder)
    return Tiny(folder)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Child:
    """A forked process."""

    pid: int
    log: Path

    @classmethod
    def start(cls, work: Any, log: Path) -> Child:
        pid = os.fork()
        if pid:
            return cls(pid, log)
        code = 1
        try:
            signal.signal(
                signal.SIGINT, signal.default_int_handler
            )  # ignored where the tests run in the background of a script
            handle = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            sys.stdout, sys.stderr = (
                os.fdopen(1, "w", closefd=False),
                os.fdopen(2, "w", closefd=False),
            )
            code = work()
        finally:
            os._exit(code)

    def kill_after(self, seconds: float, number: signal.Signals = signal.SIGKILL) -> int:
        time.sleep(seconds)
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        """Exit code, or minus the signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def ended(self) -> bool:
        """Whether it is over, its exit code not yet asked for."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    @property
    def output(self) -> str:
        return self.log.read_text()


def _main(arguments: list[str]) -> int:
    from sbiwb.cli.app import app

    try:
        app(arguments, prog_name="sbiwb")
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


@dataclass
class Recorder:
    """A reporter that remembers."""

    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    advanced: dict[str, int] = field(default_factory=dict)

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    @contextmanager
    def task(self, name: str, total: int, *, unit: str, done: int = 0) -> Iterator[Any]:
        recorder = self

        class Ticker:
            def advance(self, n: int = 1, **facts: object) -> None:
                recorder.advanced[name] = recorder.advanced.get(name, 0) + n

        yield Ticker()
