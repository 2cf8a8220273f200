"""Who takes part, the environment each runs in, and one job as a process of that environment."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.peers.protocol import Job, Result

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
READY = ".bench-ready"


@dataclass(frozen=True)
class Contender:
    """One way to do the job.

    Args:
        name: As it stands in the tables.
        environment: Its line in peers.txt; empty: this very environment.
        script: The file in peers/.
        choice: What `Job.contender` says to it.
        fit: Whether it trains itself; else the contender whose weights it takes, which has the same
            network.
        settings: For ours: keys of the YAML.
    """

    name: str
    environment: str = ""
    script: str = ""
    choice: str = ""
    fit: str = ""
    settings: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        return not self.environment

    @property
    def fitted(self) -> str:
        """The name under which the weights lie that it draws with."""
        return self.fit or self.name


OURS = Contender("sbiwb")
COUPLED = Contender("sbiwb passes 2", settings=("model.inference.passes=2",))
SBI = Contender("sbi nsf", "sbi", "with_sbi.py", "nsf")
PEERS = (
    SBI,
    Contender("sbi zuko_nsf", "sbi", "with_sbi.py", "zuko_nsf"),
    Contender("bayesflow torch", "bf", "with_bayesflow.py", "torch", fit="bayesflow jax"),
    Contender("bayesflow jax", "bf", "with_bayesflow.py", "jax"),
    Contender("lampe nsf", "lampe", "with_lampe.py", "nsf"),
)
EVERYONE = (OURS, COUPLED, *PEERS)


def ensure(environment: str, envs: Path) -> None:
    """Makes a peer's environment unless it is there: torch first by its exact version, then the
    peer.

    Raises:
        subprocess.CalledProcessError: pip or venv failed.
    """
    folder = envs / environment
    if (folder / READY).exists() or not envs_are_ours(envs):
        return
    wanted = requirements()
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([*pip, *wanted["TORCH"]], check=True)
    subprocess.run([*pip, *wanted["TORCH"], *wanted[environment]], check=True)
    (folder / READY).touch()


def envs_are_ours(envs: Path) -> bool:
    """Whether environments may be made here; those of another folder are taken as they are."""
    return envs.resolve().is_relative_to(ROOT / ".bench")


def requirements() -> dict[str, list[str]]:
    """What peers.txt says, by environment."""
    lines = (HERE / "peers.txt").read_text().splitlines()
    return {
        line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith("#")
    }


def command(contender: Contender, job: Job, envs: Path) -> list[str]:
    text = json.dumps(asdict(job))
    if contender.ours:
        return [sys.executable, "-W", "ignore", "-m", "tests.bench.ours", text]
    return [
        str(envs / contender.environment / "bin" / "python"),
        "-W",
        "ignore",
        str(HERE / "peers" / contender.script),
        text,
    ]


def run(
    contender: Contender, job: Job, *, envs: Path, variables: Mapping[str, str], timeout_s: float
) -> Result:
    """One job in a fresh process; a failure is a result with the key `error`."""
    bare = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    try:
        done = subprocess.run(
            command(contender, job, envs),
            cwd=ROOT,
            env={**bare, **variables},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {timeout_s:.0f} s"}
    if done.returncode:
        return {"error": done.stderr.strip()[-2000:]}
    return json.loads(done.stdout.strip().splitlines()[-1])


@dataclass(frozen=True)
class Load:
    """CPU seconds so far, of the whole machine and of our own processes that have ended."""

    machine: float
    ours: float
    when: float

    @classmethod
    def now(cls) -> Load:
        user, nice, system = (int(word) for word in Path("/proc/stat").read_text().split()[1:4])
        own, ended = (
            resource.getrusage(resource.RUSAGE_SELF),
            resource.getrusage(resource.RUSAGE_CHILDREN),
        )
        ours = sum(one.ru_utime + one.ru_stime for one in (own, ended))
        return cls((user + nice + system) / os.sysconf("SC_CLK_TCK"), ours, time.perf_counter())

    def strangers(self, later: Load) -> float:
        """Cores that other people's processes took since."""
        return max(
            0.0, (later.machine - self.machine - later.ours + self.ours) / (later.when - self.when)
        )
