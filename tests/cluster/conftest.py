"""A real SLURM on this machine for the tests of this folder: munged, slurmctld and slurmd, started
once, in a folder of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sbiwb.workflow.simulate import simulate
from tests.tiny import Recorder, Tiny

HERE = Path(__file__).parent
DAEMONS = ("munged", "slurmctld", "slurmd")
SIMULATOR = '''"""Normal data, as slow as TINY_SLEEP says."""
import os
import time


def simulate(mu, *, rng, n):
    time.sleep(float(os.environ.get("TINY_SLEEP", "0")))
    return {"y": mu[:, None] + rng.standard_normal((len(mu), n))}
'''
CLUSTER = {"time_min": 5, "signal_s": 30, "array": 2}


@dataclass(frozen=True)
class Slurm:
    """The daemons' folder."""

    folder: Path

    def pid(self, daemon: str) -> int:
        return int((self.folder / "run" / f"{daemon}.pid").read_text())

    def kill(self, daemon: str) -> None:
        os.kill(self.pid(daemon), signal.SIGKILL)
        time.sleep(0.3)

    def start(self, daemon: str) -> None:
        node = ["-N", os.uname().nodename.partition(".")[0]] if daemon == "slurmd" else []
        with open(
            self.folder / f"{daemon}.start.log", "w"
        ) as log:  # a pipe would stay open as long as the daemon
            subprocess.run(
                [daemon, "-f", str(self.folder / "slurm.conf"), *node],
                stdout=log,
                stderr=log,
                timeout=60,
                check=True,
            )

    def empty(self, seconds: float = 240) -> None:
        """Waits until the queue is empty."""
        end = time.monotonic() + seconds
        while told("squeue", "--noheader"):
            assert time.monotonic() < end, told("squeue", "--format=%i %j %T %r")
            time.sleep(0.3)


def told(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


def state(job: str) -> str:
    """State of a job, also after its end."""
    return told("scontrol", "show", "job", job).split("JobState=")[1].split()[0]


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """SLURM_CONF names it while the tests run."""
    missing = [name for name in (*DAEMONS, "sbatch") if shutil.which(name) is None]
    if missing:
        pytest.skip(
            f"SLURM is not installed ({', '.join(missing)}): apt-get install slurmctld slurmd "
            "slurm-client munge"
        )
    folder = Path(
        tempfile.mkdtemp(prefix="slurm-")
    )  # the path of a socket has 107 characters at most
    with open(folder / "up.log", "w") as log:
        done = subprocess.run(
            ["bash", HERE / "slurm-up.sh", folder, "4"],
            stdout=log,
            stderr=log,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, (folder / "up.log").read_text()
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield Slurm(folder)
    with open(folder / "down.log", "w") as log:
        subprocess.run(
            ["bash", HERE / "slurm-down.sh", folder],
            stdout=log,
            stderr=log,
            timeout=60,
            check=False,
        )
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before


@pytest.fixture(scope="session")
def serial(tmp_path_factory) -> dict[str, str]:
    """Shards of a run that nobody disturbed, in one process."""
    tiny = Tiny.write(tmp_path_factory.mktemp("serial"), {}, SIMULATOR)
    simulate(tiny.open(), Recorder())
    return tiny.shards()


@pytest.fixture
def on_slurm(slurm, tmp_path, monkeypatch):
    """Writes a tiny project for this cluster; its jobs simulate a block in `sleep` seconds."""

    def make(sleep: float = 0, cluster: dict | None = None, **changes) -> Tiny:
        machine = {
            "executor": {"kind": "slurm", "poll_s": 0.2},
            "cluster": {**CLUSTER, **(cluster or {})},
        }
        tiny = Tiny.write(tmp_path / "a run's folder", {"machine": machine, **changes}, SIMULATOR)
        monkeypatch.chdir(tiny.folder)
        monkeypatch.setenv("TINY_SLEEP", str(sleep))
        return tiny

    yield make
    subprocess.run(["scancel", "--user", told("id", "-un")], timeout=60, check=False)
    slurm.empty()
