"""`python -m tests.studies.alone [NAME ...]`: six problems of kinds that no shipped config has, each
with `name`, `problem` and `simulate` alone, and what `diagnose` says of them.

One row a problem: verdicts of the checks, -log q of the test pairs, seconds of training, warnings.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from sbiwb.contracts import Silent
from sbiwb.project.choices import read_choices
from sbiwb.project.opening import open_project
from sbiwb.workflow import diagnose, simulate, train

IMAGE = '''
"""A random field on 24 x 24 cells: how smooth, how strong, how noisy?"""
import numpy as np

FREQUENCY = np.hypot(*np.meshgrid(np.fft.fftfreq(24), np.fft.fftfreq(24)))


def simulate(length, strength, noise, *, rng):
    n = len(length)
    white = np.fft.fft2(rng.standard_normal((n, 24, 24)))
    filters = np.exp(-0.5 * (2 * np.pi * FREQUENCY * length[:, None, None]) ** 2)
    filters /= np.sqrt((filters**2).mean((1, 2), keepdims=True))
    field = strength[:, None, None] * np.fft.ifft2(white * filters).real
    return {"map": field + noise[:, None, None] * rng.standard_normal(field.shape)}
'''
SERIES = '''
"""1,000 steps of an autoregression seen with noise: memory, drive and noise."""
import numpy as np


def simulate(memory, drive, noise, *, rng):
    n, steps = len(memory), 1000
    state, seen = np.zeros(n), np.empty((n, steps))
    for t in range(steps):
        state = memory * state + drive * rng.standard_normal(n)
        seen[:, t] = state
    return {"y": seen + noise[:, None] * rng.standard_normal((n, steps))}
'''
SET = '''
"""2,000 members of a mixture of two normals."""
import numpy as np


def simulate(share, distance, spread, *, rng):
    n, members = len(share), 2000
    second = rng.uniform(size=(n, members)) < share[:, None]
    z = rng.standard_normal((n, members))
    centres = distance[:, None] * second
    return {"y": centres + np.where(second, spread[:, None], 1.0) * z}
'''
MANY = '''
"""30 parameters, each seen through a smooth mixing matrix."""
import numpy as np

MIXING = np.exp(-0.5 * (np.subtract.outer(np.arange(40) * 30 / 40, np.arange(30)) / 1.5) ** 2)


def simulate(PARAMETERS, *, rng):
    theta = np.stack([PARAMETERS], axis=1)
    return {"x": theta @ MIXING.T + 0.5 * rng.standard_normal((len(theta), 40))}
'''
TAILS = '''
"""Statistics over twelve orders of magnitude, positive and of either sign, with outliers."""
import numpy as np


def simulate(scale, tilt, *, rng):
    n = len(scale)
    powers = scale[:, None] * np.array([0.5, 1.0, 2.0, 4.0]) + 0.3 * rng.standard_normal((n, 4))
    signed = tilt[:, None] * 10.0 ** (scale[:, None] / 2) + rng.standard_cauchy((n, 3))
    return {"powers": 10.0**powers, "signed": signed}
'''
FEW = '''
"""A straight line at five places; 300 simulations in all."""
import numpy as np


def simulate(intercept, slope, *, rng):
    clean = intercept[:, None] + slope[:, None] * np.linspace(-1, 1, 5)
    return {"y": clean + 0.5 * rng.standard_normal(clean.shape)}
'''


def _parameters(**bounds: tuple[float, float]) -> dict[str, Any]:
    return {
        name: {"kind": "uniform", "low": low, "high": high} for name, (low, high) in bounds.items()
    }


NAMES = [f"p{i}" for i in range(30)]
PROBLEMS: dict[str, dict[str, Any]] = {
    "image": {
        "code": IMAGE,
        "parameters": _parameters(length=(0.5, 4), strength=(0.3, 3), noise=(0.1, 2)),
        "simulate": {"train": 20_000, "validation": 2_000, "test": 1_000},
    },
    "series": {
        "code": SERIES,
        "parameters": _parameters(memory=(-0.98, 0.98), drive=(0.3, 3), noise=(0.1, 2)),
        "simulate": {"train": 20_000, "validation": 2_000, "test": 1_000},
    },
    "set": {
        "code": SET,
        "parameters": _parameters(share=(0.05, 0.95), distance=(0.0, 5), spread=(0.3, 3)),
        "simulate": {"train": 10_000, "validation": 1_000, "test": 1_000},
        "model": {"inputs": {"y": {"as": "set"}}},  # the one word
    },
    "many": {
        "code": MANY.replace("PARAMETERS", ", ".join(NAMES)),
        "parameters": {name: {"kind": "normal"} for name in NAMES},
        "simulate": {"train": 20_000, "validation": 2_000, "test": 1_000},
    },
    "tails": {
        "code": TAILS,
        "parameters": _parameters(scale=(-1.5, 1.5), tilt=(-3, 3)),
        "simulate": {"train": 10_000, "validation": 1_000, "test": 1_000},
    },
    "few": {
        "code": FEW,
        "parameters": {"intercept": {"kind": "normal"}, "slope": {"kind": "normal"}},
        "simulate": {"train": 220, "validation": 40, "test": 40},
    },
}


class Warnings(Silent):
    """Keeps what is warned of."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


def run(name: str, folder: Path) -> str:
    """One problem, from its YAML to its row."""
    problem = dict(PROBLEMS[name])
    (folder / f"{name}.py").write_text(problem.pop("code"))
    document = {
        "name": name,
        "problem": {"simulator": f"{name}.py", "parameters": problem.pop("parameters")},
        **problem,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    project, reporter = open_project(path, runs=folder / "runs"), Warnings()
    simulate.simulate(project, reporter)
    start = time.perf_counter()
    trained = train.train(project, reporter)
    seconds = time.perf_counter() - start
    project = open_project(path, runs=folder / "runs")
    diagnosis = diagnose.diagnose(project, reporter)
    choices = read_choices(project.run)
    assert choices is not None
    kinds = [part["summary"]["kind"] for part in choices.model["inputs"].values()]  # type: ignore[attr-defined]
    odd = [row for row in diagnosis.judgments if row.verdict in ("warn", "fail")]
    told = [f"{row.check} {row.parameter}: {row.verdict}, {row.reason}" for row in odd]
    return (
        f"{name:8} {','.join(kinds):20} loss {trained.facts.best_loss:8.3f}  {seconds:6.0f} s"
        f"  {diagnosis.verdict}  {' | '.join([*told, *reporter.texts])}"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="alone-") as folder:
        for name in sys.argv[1:] or PROBLEMS:
            print(run(name, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
