"""Folders of draws that `sample` and `reference` wrote, read and named for a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb import report
from sbiwb.errors import CorruptFile, DataError, RunError
from sbiwb.files import read_json

DRAWS = "draws.h5"
MIN_DRAWS = 50  # of each folder
MAX_NAMES = 6  # in a message
MAX_NUMBER = 1e150  # whose square is a number
DAMAGED = (OSError, KeyError, TypeError, AttributeError, ValueError, RuntimeError)


@dataclass(frozen=True)
class NamedDraws:
    """What a folder of draws holds.

    Args:
        name: The method, or the folder where two have the same.
        folder: The folder.
        columns: Names of theta's columns, D.
        units: Of columns that have one.
        labels: Of the N data sets.
        theta: (N, S, D).
    """

    name: str
    folder: Path
    columns: tuple[str, ...]
    units: Mapping[str, str]
    labels: tuple[str, ...]
    theta: np.ndarray

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / DRAWS

    def label(self, column: str) -> str:
        """A column with its unit."""
        if column not in self.units:
            return column
        return f"{column} ({self.units[column]})"

    def thinned(self, draws: int) -> np.ndarray:
        """Some draws of each data set, evenly spread: chains stand one after the other.

        Args:
            draws: How many of each data set.

        Returns:
            (N, draws, D).

        Raises:
            DataError: They are too few, or not finite.
        """
        available = self.theta.shape[1]
        if draws < MIN_DRAWS:
            raise DataError(
                f"{available:,} draws, and the least of all folders is {draws}: too few to be told "
                "apart",
                where=self.path,
                todo=f"Draw at least {MIN_DRAWS} (--draws) by every method.",
            )
        bad = int((~(np.abs(self.theta) < MAX_NUMBER).all(-1)).sum())
        if bad:
            raise DataError(
                f"{bad:,} draws are not finite, or beyond {MAX_NUMBER:g}",
                where=self.path,
                todo="Draw again, or compare another method.",
            )
        return self.theta[:, np.linspace(0, available - 1, draws).round().astype(int)]

    def check_same_question(self, other: NamedDraws) -> None:
        """Refuses draws of other parameters or data sets than these.

        Raises:
            RunError: With the names that only one of them has.
        """
        self._check_same("parameters", self.columns, other.columns, other.folder)
        self._check_same("data sets", self.labels, other.labels, other.folder)

    def _check_same(
        self, what: str, mine: Sequence[str], theirs: Sequence[str], folder: Path
    ) -> None:
        if mine == theirs:
            return
        changes = []
        if set(mine) - set(theirs):
            changes.append(f"it lacks {listed(set(mine) - set(theirs))}")
        if set(theirs) - set(mine):
            changes.append(f"it has {listed(set(theirs) - set(mine))} besides")
        words = "; ".join(changes) or "the same in another order"
        raise RunError(
            f"has other {what} than {self.folder}: {words}",
            where=folder,
            todo="Compare draws of the same parameters, given the same observation.",
        )


def holds_draws(path: Path) -> bool:
    """Whether `sample` or `reference` wrote this folder."""
    return (path / DRAWS).is_file()


def check_folders(paths: Sequence[Path]) -> None:
    """Refuses anything but two or more different folders of draws.

    Raises:
        RunError: With what to name instead.
    """
    without = [str(path) for path in paths if not holds_draws(path)]
    if without:
        raise RunError(
            f"holds no draws ({DRAWS}), while others do: trained runs and folders of draws are not "
            "compared with each other",
            where=", ".join(without),
            todo="Name run folders alone, or folders alone that `sbiwb sample` and "
            "`sbiwb reference` wrote.",
        )
    if not 1 < len(set(map(Path.resolve, paths))) == len(paths):
        raise RunError(
            "compares two different folders of draws or more",
            where="sbiwb compare " + " ".join(map(str, paths)),
            todo="For example: sbiwb compare runs/x/sample/seen runs/x/reference/nuts/seen",
        )


def draws_of(folder: Path, columns: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Draws (N, S, D) of these data sets' posteriors by whatever method wrote them.

    Args:
        folder: Written by `reference` or `sample`.
        columns: Of theta, D.
        labels: Of the N data sets.

    Raises:
        RunError: It holds none, or those of other parameters or data sets.
        CorruptFile: They cannot be read.
    """
    todo = "Name a folder that `sbiwb reference` wrote for this observation."
    if not holds_draws(folder):
        raise RunError(f"holds no draws ({DRAWS})", where=folder, todo=todo)
    named = read(folder, str(folder))
    lacking = set(columns) - set(named.columns)
    if lacking:
        raise RunError(f"has no draws of {listed(lacking)}", where=folder, todo=todo)
    if list(named.labels) != list(labels):
        raise RunError(
            f"has other data sets: {listed(set(named.labels))}, not {listed(set(labels))}",
            where=folder,
            todo=todo,
        )
    return named.theta[..., [named.columns.index(column) for column in columns]]


def method_of(folder: Path) -> str:
    """METHOD of a folder reference/METHOD/OBSERVATION; empty for any other folder."""
    parts = folder.resolve().parts
    if len(parts) > 2 and parts[-3] == "reference":
        return parts[-2]
    return ""


def is_sample(folder: Path) -> bool:
    """Whether `sample` wrote it into a run."""
    return folder.resolve().parent.name == "sample"


def default_output(folder: Path) -> Path:
    """RUN/compare/OBSERVATION of a folder of a run; beside any other."""
    folder = folder.resolve()
    if method_of(folder):
        return folder.parents[2] / "compare" / folder.name
    if is_sample(folder):
        return folder.parents[1] / "compare" / folder.name
    return folder.parent / "compare"


def read_all(paths: Sequence[Path]) -> list[NamedDraws]:
    """The draws of each folder, named by its method, or by its path where two have the same.

    Raises:
        CorruptFile: They cannot be read.
    """
    short = list(map(_short_name, paths))
    draws = []
    for path, name in zip(paths, short, strict=True):
        if short.count(name) > 1:
            name = str(path)
        draws.append(read(path, name))
    return draws


def _short_name(path: Path) -> str:
    """The method; `amortized` for what `sample` wrote."""
    if method_of(path):
        return method_of(path)
    if is_sample(path):
        return "amortized"
    return str(path)


def read(folder: Path, name: str) -> NamedDraws:
    """The draws of a folder, their columns in the order of its summary.

    Args:
        folder: Holds draws.h5 and, mostly, summary.json.
        name: What they are called.

    Raises:
        CorruptFile: They cannot be read.
    """
    try:
        theta, units, labels = _contents(folder / DRAWS)
    except DAMAGED as error:
        raise CorruptFile(
            f"cannot be read ({error})",
            where=folder / DRAWS,
            todo="Run `sbiwb sample` or `reference` again.",
        ) from error
    flat = report.flat(theta)
    columns = _ordered(folder, list(flat))
    unit_of = {}
    for column in columns:
        unit = units[column.partition("[")[0]]
        if unit:
            unit_of[column] = unit
    stacked = np.stack([flat[column] for column in columns], axis=-1)
    return NamedDraws(name, folder, tuple(columns), unit_of, labels, stacked)


def _contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str], tuple[str, ...]]:
    """Parameters (N, S) or (N, S, K) and units by name, and N labels.

    Raises:
        ValueError: It is another kind of file; h5py raises the others of `DAMAGED`.
    """
    import h5py

    theta: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    with h5py.File(path) as file:
        labels = tuple(file["labels"].asstr()[:])
        for name, values in file["theta"].items():
            theta[name] = _numbers(name, values[:], len(labels))
            units[name] = str(values.attrs.get("units", ""))
    if not labels or not theta:
        raise ValueError("holds no draws")
    if len({values.shape[1] for values in theta.values()}) > 1:
        raise ValueError("parameters have different numbers of draws")
    return theta, units, labels


def _numbers(name: str, values: np.ndarray, data_sets: int) -> np.ndarray:
    if values.dtype.kind not in "fiub":
        raise ValueError(f"'{name}' has type {values.dtype}, not numbers")
    if values.ndim not in (2, 3) or len(values) != data_sets:
        raise ValueError(f"'{name}' has shape {values.shape} for {data_sets} data sets")
    return values.astype(np.float64)


def _ordered(folder: Path, columns: Sequence[str]) -> list[str]:
    """Columns as the YAML has them, which the summary keeps: HDF5 lists names by the alphabet."""
    path = folder / "summary.json"
    if not path.is_file():
        return list(columns)
    rows = report.Fields.of(read_json(path)).records("rows")
    order = dict.fromkeys(row.text("name") for row in rows)
    in_summary = [name for name in order if name in columns]
    return [*in_summary, *(column for column in columns if column not in order)]


def listed(names: set[str]) -> str:
    """The first names by the alphabet, and how many more there are."""
    shown = ", ".join(sorted(names)[:MAX_NAMES])
    others = len(names) - MAX_NAMES
    if others > 0:
        shown += f" and {others} more"
    return shown
