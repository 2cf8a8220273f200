"""What a change of the code must not change: losses, shards and draws of short trainings, as lines
of text to compare.

`python -m tests.studies.numbers > before.txt`, the same with the other version of the code, and
`diff before.txt after.txt`.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {
    "simulate.train": 4_000,
    "simulate.validation": 500,
    "simulate.test": 300,
    "train.steps": 200,
}
CASES = {
    "influenza": ("influenza", {}),
    "choice": ("choice", {}),
    "slcp": ("slcp", {}),
    "ensemble": ("slcp", {"model.uncertainty": "{kind: ensemble, members: 2}", "name": "ensemble"}),
    "lynx_hare": ("lynx_hare", {}),
    "bayesian": (
        "linear_regression",
        {"model.uncertainty": "{kind: bayesian}", "name": "bayesian"},
    ),
}
LOSSES = ("step", "train", "validation", "train_loss", "validation_loss", "loss")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or CASES:
            for line in case(name, Path(folder)):
                print(f"{name}  {line}", flush=True)


def case(name: str, runs: Path) -> Iterator[str]:
    """The lines of one case, after `sbiwb run`."""
    config, settings = CASES[name]
    asked = [f"--set={key}={value}" for key, value in {**SMALL, **settings}.items()]
    command = [
        sys.executable,
        "-m",
        "sbiwb",
        "run",
        str(CONFIGS / f"{config}.yaml"),
        *asked,
        "--runs",
        str(runs),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    yield from shards(runs / name)
    yield from losses(runs / name)
    yield from draws(runs / name)


def shards(run: Path) -> Iterator[str]:
    for path in sorted(run.glob("data/*/shard-*.h5")):
        yield f"{path.relative_to(run)} {arrays(path)}"


def losses(run: Path) -> Iterator[str]:
    for line in (run / "train/metrics.jsonl").read_text().splitlines():
        facts = json.loads(line)
        yield "metrics " + " ".join(f"{key}={facts[key]!r}" for key in LOSSES if key in facts)


def draws(run: Path) -> Iterator[str]:
    for path in sorted([*run.glob("diagnose/draws/*.h5"), *run.glob("sample/*/draws.h5")]):
        yield f"{path.relative_to(run)} {arrays(path)}"
    for value in json.loads((run / "diagnose/numbers.json").read_text())["values"]:
        yield f"numbers {value['name']} {value['parameter']} {value['value']!r} {value['p']!r}"


def arrays(path: Path) -> str:
    """sha256 of the names and bytes of all numbers in an HDF5 file; not of its attributes, which
    name versions."""
    found = hashlib.sha256()

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf":
            found.update(name.encode() + np.asarray(item[()]).tobytes())

    with h5py.File(path) as file:
        file.visititems(add)
    return found.hexdigest()[:16]


if __name__ == "__main__":
    main()
