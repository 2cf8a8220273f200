"""Reference posteriors of a benchmark's tasks: HDF5 files in a folder, or the files of an installed
package sbibm."""

from __future__ import annotations

import bz2
import importlib.util
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from sbiwb.errors import CorruptFile, DataError, DiskError
from sbiwb.files import sha256
from sbiwb.store import hdf5

PACKAGE = "sbibm"
VARIANTS = {
    "slcp_distractors": ("slcp", "observation_distractors"),
    "bernoulli_glm_raw": ("bernoulli_glm", "observation_raw"),
}
ARRAYS = ("x", "theta_true", "reference_posterior")


@dataclass(frozen=True)
class ReferenceSet:
    """One observation of a task.

    Args:
        number: From 1.
        x: What was observed, flat.
        theta_true: What it was simulated from, (D,).
        draws: Of the reference posterior, (S, D).
    """

    number: int
    x: np.ndarray
    theta_true: np.ndarray
    draws: np.ndarray


def reference_sets(task: str, folder: Path | None, most: int) -> tuple[list[ReferenceSet], str]:
    """The first observations of a task with their reference posteriors, and a hash of where they
    were read from.

    Args:
        task: Its name.
        folder: That holds TASK.h5 with groups `observation_1`, ... of `x`, `theta_true` and
            `reference_posterior`; None for sbibm's files.
        most: Observations at most.

    Raises:
        DataError: There are none, or their shapes do not fit.
        CorruptFile: A file is not what it should be.
    """
    if folder is None:
        sets, identity = _from_package(task, most)
    else:
        sets, identity = _from_folder(folder, task, most)
    for reference in sets:
        _check_shapes(reference, folder or PACKAGE)
    return sets, identity


def _check_shapes(reference: ReferenceSet, where: Path | str) -> None:
    draws, size = reference.draws, reference.theta_true.size
    if draws.ndim != 2 or draws.shape[1] != size or not np.isfinite(draws).all():
        raise DataError(
            f"observation {reference.number} has draws of shape {draws.shape} "
            f"for {size} parameters, or some not finite",
            where=where,
            todo="Give reference_posterior (S, D) and theta_true (D,).",
        )


def _from_folder(folder: Path, task: str, most: int) -> tuple[list[ReferenceSet], str]:
    path = folder / f"{task}.h5"
    try:
        changed_ns = path.stat().st_mtime_ns
    except FileNotFoundError as error:
        there = sorted(file.stem for file in folder.glob("*.h5"))
        raise DataError(
            "no reference posteriors of this task",
            where=path,
            todo=f"The folder has: {', '.join(there) or 'no HDF5 files'}.",
        ) from error
    return _from_file(path, most, changed_ns)


@lru_cache(maxsize=32)
def _from_file(path: Path, most: int, changed_ns: int) -> tuple[list[ReferenceSet], str]:
    """Read once a process as long as the file stays the same: every job of a task asks for it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DiskError.of(error, path) from error
    arrays = hdf5.read(data, path, foreign=True)
    numbers = _numbers(arrays)
    if not numbers:
        raise CorruptFile(
            "holds no group observation_1",
            where=path,
            todo=f"Write observation_1/{{{', '.join(ARRAYS)}}} and so on.",
        )
    return [_read_set(arrays, number, path) for number in numbers[:most]], sha256(data)


def _numbers(arrays: Mapping[str, np.ndarray]) -> list[int]:
    """Of the groups `observation_1`, ..., rising."""
    matches = (re.match(r"observation_(\d+)/", name) for name in arrays)
    return sorted({int(match[1]) for match in matches if match})


def _read_set(arrays: Mapping[str, np.ndarray], number: int, path: Path) -> ReferenceSet:
    group = f"observation_{number}"
    missing = [name for name in ARRAYS if f"{group}/{name}" not in arrays]
    if missing:
        raise CorruptFile(
            f"{group} has no {', '.join(missing)}",
            where=path,
            todo=f"Each group has {', '.join(ARRAYS)}.",
        )
    x, truth, draws = (_as_numbers(arrays[f"{group}/{name}"], group, path) for name in ARRAYS)
    return ReferenceSet(number, x.ravel(), truth.ravel(), draws)


def _as_numbers(values: np.ndarray, group: str, path: Path) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise CorruptFile(
            f"{group} holds {values.dtype} instead of numbers",
            where=path,
            todo=f"Each group has {', '.join(ARRAYS)}, all numbers.",
        )
    return np.asarray(values, np.float64)


def _from_package(task: str, most: int) -> tuple[list[ReferenceSet], str]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "no reference posteriors are named, and the package sbibm, which ships them, is not "
            "installed",
            where="references",
            todo="Name a folder: sbiwb benchmark CONFIG --references DIR; or: pip install "
            "--no-deps sbibm",
        )
    folder, data = VARIANTS.get(task, (task, "observation"))
    files = Path(next(iter(spec.submodule_search_locations))) / "tasks" / folder / "files"
    sets = _packaged(files, data, most)
    if not sets:
        raise DataError(
            f"the package sbibm has no task '{task}'",
            where=files,
            todo="Name a folder with its reference posteriors.",
        )
    return sets, sha256(
        b"".join(reference.draws.tobytes() + reference.x.tobytes() for reference in sets)
    )


@lru_cache(maxsize=32)
def _packaged(files: Path, data: str, most: int) -> list[ReferenceSet]:
    names = (f"{data}.csv", "true_parameters.csv", "reference_posterior_samples.csv.bz2")
    folders = {number: files / f"num_observation_{number}" for number in range(1, most + 1)}
    sets = []
    for number, folder in folders.items():
        if folder.is_dir():
            x, truth, draws = (_table(folder / name) for name in names)
            sets.append(ReferenceSet(number, x.ravel(), truth.ravel(), draws))
    return sets


def _table(path: Path) -> np.ndarray:
    """Numbers of a CSV with one line of names, packed or not."""
    try:
        raw = path.read_bytes()
        text = (bz2.decompress(raw) if path.suffix == ".bz2" else raw).decode()
        return np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        raise CorruptFile(
            f"cannot be read: {error}", where=path, todo="Install sbibm again."
        ) from error
