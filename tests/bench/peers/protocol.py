"""What every contender speaks: a job as JSON on argv, its result as JSON on the last line of
stdout. Imports numpy only.

A job names `measure` (step, fit, draws), `contender`, `data` (an .npz file), `threads`, `seed`,
`batch_size`, `save` (where a fit is kept for later draws), `quick`. The .npz file holds `theta` and
`x` (training pairs, then `validation` pairs), `test_theta`, `test_x`, `observations`, and the prior
(`prior_kind` uniform or normal, `prior_a`, `prior_b`).
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One measurement of one contender.

    Args:
        epochs: Timed epochs of `step`, after one that is not timed.
        draws: For each observation.
        settings: For ours only: keys of the YAML that differ.
    """

    measure: str
    contender: str
    data: str
    threads: int = 2
    seed: int = 0
    batch_size: int = 200
    epochs: int = 3
    draws: int = 1000
    save: str = ""
    quick: bool = False
    settings: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def arrays(self) -> dict[str, np.ndarray]:
        """The task's data."""
        with np.load(self.data) as file:
            return {name: file[name] for name in file.files}


def peak_mb() -> float:
    """Largest resident memory of this process so far; VmHWM, because ru_maxrss keeps the parent's
    across exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work returns, and its seconds."""
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def draw_rates(
    observations: np.ndarray,
    draws: int,
    sample: Callable[[int], Any],
    log_prob: Callable[[Any], Any],
) -> Result:
    """Draws/s and log_prob/s of all observations at once, each after a first call of the same
    shape."""
    total = len(observations) * draws
    sample(draws)
    found, seconds = timed(lambda: sample(draws))
    sampling_mb = peak_mb()
    log_prob(found)
    _, log_prob_seconds = timed(lambda: log_prob(found))
    return {
        "draws_per_s": total / seconds,
        "draws_peak_mb": sampling_mb,
        "log_prob_per_s": total / log_prob_seconds,
    }


def epochs_of(pairs: int, seconds: list[float]) -> Result:
    """Rate of the epochs after the first, in which caches fill and code is compiled."""
    return {"pairs_per_s": pairs / median(seconds[1:]), "epoch_seconds": seconds}


def main(measures: dict[str, Callable[[Job], Result]], packages: tuple[str, ...]) -> None:
    """Runs the job of argv and prints its result."""
    job = Job(**json.loads(sys.argv[1]))
    result = measures[job.measure](job)
    result |= {
        "peak_mb": peak_mb(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }
    print("\n" + json.dumps(result), flush=True)  # sbi leaves its last line open


def limit_threads() -> int:
    """Keeps this process to the cores of its job; called before anything that starts threads is
    imported."""
    threads = int(json.loads(sys.argv[1]).get("threads", 2))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    return threads
