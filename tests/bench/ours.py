"""sbiwb as a contender: the peers' protocol, through the verbs `simulate` and `train`, their
trainer, and `Posterior`.

step:    the trainer that `train` opens, some hundred steps after the first hundred; compiled or not
as the task's config would be. fit:     `train` with the task's config; best.pt is copied whenever
it improves, and judged after training, off the clock. draws:   `Posterior.sample` and `.log_prob`
for all observations in one call. many:    the same for 20 times the observations, with the resident
memory after a tenth of them and after all. growth:  step and draws of one made-up problem of given
D, context size and pairs. profile: torch.profiler over some steps of `train`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sbiwb.contracts import Silent
from sbiwb.networks import compiled_flow
from sbiwb.posterior import Posterior
from sbiwb.project.opening import open_project
from sbiwb.project.project import Project
from sbiwb.project.trained import load_posterior
from sbiwb.steps.fit.assemble import TrainingSession
from sbiwb.training.checkpoint import newest
from sbiwb.training.events import Stepped, Validated
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from sbiwb.workflow.train_setup import open_trainer
from tests.bench.kernels import shares
from tests.bench.peers.protocol import Job, Result, draw_rates, limit_threads, main, peak_mb, timed

SIMULATOR = Path(__file__).with_name("linear.py")


SILENT = Silent()


def opened(job: Job, run: Path, *settings: str) -> Project:
    """The task's project in the run folder `run`, on the shards of the task."""
    # one network, as the peers train; a job may ask for more
    every = [
        "model.uncertainty=none",
        *job.settings,
        *settings,
        f"train.seed={job.seed}",
        f"name={run.name}",
    ]
    return open_project(Path(job.more["config"]), settings=every, runs=run.parent)


@contextmanager
def at_step(job: Job) -> Iterator[tuple[TrainingSession, Iterator[int]]]:
    """A trainer at its beginning, with the length of the task's config, and the numbers of its
    steps as they are done; no validation."""
    with tempfile.TemporaryDirectory() as folder:
        project = opened(
            job,
            Path(folder) / "step",
            f"train.batch_size={job.batch_size}",
            "train.validate_every=1000000",
        )
        found = open_trainer(project, SILENT)
        yield found, (event.step for event in found.trainer.run() if isinstance(event, Stepped))


def now() -> float:
    """Seconds, when the device has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(steps: Iterator[int], count: int) -> float:
    """Seconds of the next `count` steps."""
    start = now()
    for _ in range(count):
        next(steps)
    return now() - start


def step(job: Job) -> Result:
    warm, count = (20, 60) if job.quick else (100, max(300, 200_000 // job.batch_size))
    with at_step(job) as (found, steps):
        first = seconds_of(steps, 1)
        seconds_of(steps, warm)
        rate = job.batch_size * count / seconds_of(steps, count)
    return {
        "pairs_per_s": rate,
        "first_step_s": first,
        "parameters": weights(found.trainer.module),
        "settings": asdict(found.settings),
    }


@dataclass
class Snapshots:
    """Copies of best.pt at each validation that improved, with the seconds since the start."""

    best: Path
    folder: Path
    start: float = field(default_factory=time.perf_counter)
    taken: list[tuple[float, Path]] = field(default_factory=list)

    def __call__(self, event: Validated) -> None:
        if event.improved:
            seconds, path = time.perf_counter() - self.start, self.folder / f"{event.step}.pt"
            shutil.copyfile(self.best, path)
            self.taken.append((seconds, path))


def fit(job: Job) -> Result:
    data, run = job.arrays(), Path(job.save)
    shutil.rmtree(run, ignore_errors=True)
    project = opened(
        job, run, *(["train.steps=200", "train.validate_every=50"] if job.quick else [])
    )
    with tempfile.TemporaryDirectory() as folder:
        snapshots = Snapshots(project.run.best, Path(folder))
        trained = train(project, SILENT, on_validated=snapshots)
        seconds = time.perf_counter() - snapshots.start
        history = [(when, test_nll(load_posterior(path), data)) for when, path in snapshots.taken]
    return {
        "seconds": seconds,
        "history": history,
        "test_nll": test_nll(load_posterior(run), data),
        "parameters": trained.parameters,
        "steps": trained.facts.step,
        "reason": trained.facts.reason,
        "settings": settings_of(run),
    }


def settings_of(run: Path) -> dict[str, Any]:
    """What was settled for this machine: threads, compile, kernels."""
    checkpoint, _ = newest(run / "train")
    return dict(checkpoint.content["about"].get("settings", {})) if checkpoint else {}


def test_nll(posterior: Posterior, data: dict[str, np.ndarray]) -> float:
    """Mean negative log-density of theta over the test pairs, in nats."""
    return -float(posterior.log_prob(data["test_theta"], {"x": data["test_x"]}).mean())


def draws(job: Job) -> Result:
    data, posterior = job.arrays(), load_posterior(job.save)
    x = {"x": data["observations"]}
    result = draw_rates(
        data["observations"],
        job.draws,
        lambda n: posterior.sample(x, n, rng=0),
        lambda theta: posterior.log_prob(theta, x),
    )
    return result | {
        "test_nll": test_nll(posterior, data),
        "parameters": weights(posterior.networks[0]),
    }


def weights(module: Any) -> int:
    return sum(one.numel() for one in module.parameters())


def many(job: Job) -> Result:
    """A million draws: 100 for each of the first 10,000 test observations; memory before, after a
    tenth, after all."""
    data, posterior = job.arrays(), load_posterior(job.save)
    x, each = data["test_x"], max(1, job.draws // 10)
    posterior.sample({"x": x[:10]}, each, rng=0)
    marks = [peak_mb()]
    posterior.sample({"x": x[: len(x) // 10]}, each, rng=0)
    marks.append(peak_mb())
    found, seconds = timed(lambda: posterior.sample({"x": x}, each, rng=0))
    marks.append(peak_mb())
    result_mb = found.nbytes / 2**20
    return {
        "draws": found[..., 0].size,
        "seconds": seconds,
        "peaks_mb": marks,
        "result_mb": result_mb,
    }


def growth(job: Job) -> Result:
    """Step and draws of `linear.py` with the sizes in `job.more`: features, context, pairs."""
    sizes = job.more
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "growth.yaml"
        config.write_text(yaml.safe_dump(problem(**sizes)))
        project = open_project(config, settings=job.settings, runs=Path(folder) / "runs")
        simulate(project, SILENT)
        inner = Job(
            **{
                **vars(job),
                "more": {"config": str(config)},
                "settings": [*job.settings, f"simulate.from={project.run.path}"],
            }
        )
        result = step(inner)
        run = Path(folder) / "trained"
        train(opened(inner, run, "train.steps=1"), SILENT)
        posterior, x = (
            load_posterior(run),
            {"x": np.zeros((job.more["observations"], sizes["context"]))},
        )
        posterior.sample(x, job.draws, rng=0)
        found, seconds = timed(lambda: posterior.sample(x, job.draws, rng=0))
    return result | {"draws_per_s": found[..., 0].size / seconds, **sizes}


def problem(*, features: int, context: int, pairs: int, observations: int) -> dict[str, Any]:
    """A YAML of that size, with the default network."""
    return {
        "name": "growth",
        "problem": {
            "simulator": str(SIMULATOR),
            "parameters": {"theta": {"kind": "normal", "shape": [features]}},
            "constants": {"size": context},
        },
        "simulate": {"train": pairs, "validation": 500, "test": 10, "seed": 1},
        "model": {
            "inputs": {
                "x": {
                    "as": "vector",
                    "transforms": ["standardize"],
                    "summary": {"kind": "identity"},
                }
            },
            "inference": {"kind": "nsf", "transforms": 5, "hidden": [64, 64]},
        },
        "machine": {"executor": "serial"},
    }


class Visible:
    """A library whose calls the profiler sees, as events named sbiwb::..."""

    def __init__(self, library: Any) -> None:
        self._library, self._seen = library, dict[str, Any]()

    def __getattr__(self, name: str) -> Any:
        if name not in self._seen:
            self._seen[name] = torch.profiler.record_function(f"sbiwb::{name}")(
                getattr(self._library, name)
            )
        return self._seen[name]


@contextmanager
def visible_kernels() -> Iterator[None]:
    """Our kernels under the profiler's eyes, which does not see what ctypes calls."""
    plain = compiled_flow._typed
    compiled_flow._typed = lambda library: Visible(plain(library))  # type: ignore[assignment, return-value]
    compiled_flow.compiled.cache_clear()
    try:
        yield
    finally:
        compiled_flow._typed = plain
        compiled_flow.compiled.cache_clear()


def profile(job: Job) -> Result:
    """Where the time of a step goes, as shares of a profiled step; and the share of a plain one
    that is neither of the first two."""
    warm, count = (10, 20) if job.quick else (100, 200)
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    with visible_kernels(), at_step(job) as (_, steps):
        seconds_of(steps, warm)
        plain = seconds_of(steps, count)
        with profiler:
            profiled = seconds_of(steps, count)
    events = [
        (event.key, event.self_cpu_time_total / count, event.count)
        for event in profiler.key_averages()
    ]
    return shares(events, step_us=1e6 * profiled / count, plain_us=1e6 * plain / count)


if __name__ == "__main__":
    limit_threads()
    measures = {
        "step": step,
        "fit": fit,
        "draws": draws,
        "many": many,
        "growth": growth,
        "profile": profile,
    }
    main(measures, ("sbiwb", "torch", "zuko", "numpy"))
