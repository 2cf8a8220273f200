"""The verb `init`: a small project that runs, to be changed into one's own."""

from __future__ import annotations

import keyword
from pathlib import Path

from sbiwb.errors import DiskError, RunError
from sbiwb.files import put_text

SIMULATOR = '''\
"""Exponential decay seen at known times with normal noise. Replace it by your own model.

    y(t) = amplitude * exp(-rate * t) + noise,   t = 0.5, 1.0, ..., in hours
"""

import numpy as np


def simulate(amplitude, rate, noise, *, rng, steps):
    """Simulates N data sets at once.

    amplitude, rate, noise: arrays (N,), one entry a data set.
    Returns {"y": (N, steps)}.
    """
    time = 0.5 * np.arange(1, steps + 1)
    clean = amplitude[:, None] * np.exp(-rate[:, None] * time)
    return {"y": clean + noise[:, None] * rng.standard_normal(clean.shape)}


def derived(amplitude, rate, noise):
    """Quantities of interest made from the parameters; they appear in the tables."""
    return {"half_life": np.log(2) / rate}
'''

CONFIG = """# {name}: what is the decay rate?
#   sbiwb check {name}.yaml     tries everything for a few seconds and says what the job will cost
#   sbiwb run {name}.yaml       simulates, trains, diagnoses and infers the observation below
name: {name}
effort: quick                          # then standard, or best: `sbiwb check` shows the choice
problem:
  simulator: {name}.py                 # function simulate(); its arguments are the names below
  parameters:                          # the prior; `sbiwb parts priors` lists the kinds
    amplitude: {{kind: lognormal, loc: 1, scale: 0.5}}
    rate: {{kind: gamma, concentration: 2, rate: 4, unit: 1/h}}
    noise: {{kind: half_normal, scale: 0.5}}
  constants: {{steps: 12}}               # passed to simulate() as they are
  observations:
    measured: {{file: {name}.csv}}       # real data; a column named y
simulate: {{train: 10_000, validation: 1_000, test: 500, seed: 1}}
"""

DATA = "y\n2.31\n1.93\n1.79\n1.62\n1.20\n1.21\n0.98\n0.77\n0.87\n0.58\n0.61\n0.42\n"


def init(name: str, folder: Path) -> list[Path]:
    """Writes simulator, config and data; goes on where an earlier call was ended between them.

    Args:
        name: Of the project and its files.
        folder: Where they go.

    Returns:
        The files.

    Raises:
        RunError: A file of that name holds something else; nothing is overwritten.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise RunError(
            "is no name for files and functions",
            where=name,
            todo="Use letters, digits and underscores, beginning with a letter.",
        )
    config = CONFIG.format(name=name)
    texts = {f"{name}.yaml": config, f"{name}.py": SIMULATOR, f"{name}.csv": DATA}
    files = {folder / file: text for file, text in texts.items()}
    missing = [path for path, text in files.items() if not _holds(path, text)]
    for path in missing:
        put_text(path, files[path])
    return list(files)


def _holds(path: Path, text: str) -> bool:
    """Whether the file is there and is ours.

    Raises:
        RunError: It holds something else.
    """
    try:
        present = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DiskError.of(error, path) from error
    if present != text.encode():
        raise RunError(
            "exists already", where=path, todo="Choose another name; nothing was written."
        )
    return True
