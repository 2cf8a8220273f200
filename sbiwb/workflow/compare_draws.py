"""The verb `compare` on folders of draws: how far each method's posterior of the same data is from
a reference's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb import report
from sbiwb.contracts import Reporter
from sbiwb.distances import c2st_many, mmd2
from sbiwb.errors import CorruptFile, DataError, RunError
from sbiwb.files import put_json, put_text, read_json
from sbiwb.report.saving import put_picture
from sbiwb.rundir import put_provenance
from sbiwb.stopping import raise_on_signal

DRAWS = "draws.h5"
FEWEST, MOST_DRAWS = 50, 10_000  # on each side; the published table of C2ST has 10,000
MOST_COLUMNS = 8  # in the picture
MOST_NAMES = 6


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


@dataclass(frozen=True)
class DistanceSummary:
    """A method's distances over all data sets: the mean of each and the worst.

    Args:
        method: Its name.
        c2st: Mean and largest.
        mmd2: Mean and largest.
        shift: Mean and largest of |m1 - m2| / sd of the reference, of the column that is farthest
            off.
        ratio: Mean over the data sets of the ratio of sds, of the column that is farthest from 1;
            then the worst of all.
        farthest: The columns of the worst shift and of the worst ratio.
    """

    method: str
    c2st: tuple[float, float]
    mmd2: tuple[float, float]
    shift: tuple[float, float]
    ratio: tuple[float, float]
    farthest: tuple[str, str]


@dataclass(frozen=True)
class Overlay:
    """Draws of the same posteriors by several methods.

    Args:
        reference: The method that the others are held against.
        rows: One a method and data set.
        methods: One a method.
        draws: Draws on each side.
        data_sets: How many.
        folder: Where compare.json, compare.csv and overlay.png are.
    """

    reference: str
    rows: tuple[report.Distance, ...]
    methods: tuple[DistanceSummary, ...]
    draws: int
    data_sets: int
    folder: Path


def holds_draws(path: Path) -> bool:
    """Whether `sample` or `reference` wrote this folder."""
    return (path / DRAWS).is_file()


def overlay(paths: Sequence[Path], reporter: Reporter, *, output: Path | None = None) -> Overlay:
    """Holds draws against those of a reference method: the first folder named
    `reference/METHOD/OBSERVATION`, else the first one.

    Args:
        paths: Folders of draws, two or more.
        reporter: Where progress goes.
        output: Folder to write to; without it `compare/OBSERVATION` in the run of the reference.

    Raises:
        RunError: A path is no folder of draws, there is only one, or their parameters or data sets
            differ.
        DataError: Draws are too few or not finite, or a column of the reference is constant.
    """
    begun = time.perf_counter()
    _check(paths)
    found = [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    reference = next((one for one in found if _method(one.folder)), found[0])
    others = [one for one in found if one is not reference]
    for one in others:
        _refuse(reference, one)
    draws = min(MOST_DRAWS, *(one.theta.shape[1] for one in found))
    with raise_on_signal():
        rows = _distances(reference, others, draws, reporter)
    folder = output or _home(reference.folder)
    apart = tuple(
        _apart(one.name, [row for row in rows if row.method == one.name]) for one in others
    )
    compared = Overlay(reference.name, tuple(rows), apart, draws, len(reference.labels), folder)
    _write(compared, reference, others, time.perf_counter() - begun)
    return compared


def _check(paths: Sequence[Path]) -> None:
    without = [str(path) for path in paths if not holds_draws(path)]
    if without:
        raise RunError(
            f"holds no draws ({DRAWS}), while others do: trained runs and folders of draws are "
            "not compared with each other",
            where=", ".join(without),
            todo="Name run folders alone, or folders alone that `sbiwb sample` and `sbiwb "
            "reference` wrote.",
        )
    if not 1 < len({path.resolve() for path in paths}) == len(paths):
        raise RunError(
            "compares two different folders of draws or more",
            where="sbiwb compare " + " ".join(map(str, paths)),
            todo="For example: sbiwb compare runs/x/sample/seen runs/x/reference/nuts/seen",
        )


def _method(folder: Path) -> str:
    """METHOD of a folder reference/METHOD/OBSERVATION; empty for any other folder."""
    parts = folder.resolve().parts
    return parts[-2] if len(parts) > 2 and parts[-3] == "reference" else ""


def _home(folder: Path) -> Path:
    """RUN/compare/OBSERVATION of a folder of a run; beside any other."""
    folder = folder.resolve()
    if _method(folder):
        return folder.parents[2] / "compare" / folder.name
    return (
        folder.parents[1] / "compare" / folder.name
        if folder.parent.name == "sample"
        else folder.parent / "compare"
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """The methods; `amortized` for what `sample` wrote; the paths of those that are not told apart
    by it."""
    short = [
        _method(path) or ("amortized" if path.resolve().parent.name == "sample" else str(path))
        for path in paths
    ]
    return [
        str(path) if short.count(name) > 1 else name
        for name, path in zip(short, paths, strict=True)
    ]


def _read(folder: Path, name: str) -> NamedDraws:
    """The draws of a folder, their columns in the order of its summary.

    Raises:
        CorruptFile: They cannot be read.
    """
    import h5py

    try:
        with h5py.File(folder / DRAWS) as file:
            theta = {one: values[:] for one, values in file["theta"].items()}
            units = {
                one: str(values.attrs.get("units", "")) for one, values in file["theta"].items()
            }
            labels = tuple(file["labels"].asstr()[:])
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorruptFile(
            f"cannot be read ({error})",
            where=folder / DRAWS,
            todo="Run `sbiwb sample` or `reference` again.",
        ) from error
    flat = report.flat(theta)
    columns = sorted(flat, key=_order(folder, list(flat)))
    by_column = {column: unit for column in columns if (unit := units[column.partition("[")[0]])}
    return NamedDraws(
        name,
        folder,
        tuple(columns),
        by_column,
        labels,
        np.stack([flat[column] for column in columns], axis=-1),
    )


def _order(folder: Path, columns: Sequence[str]) -> Callable[[str], int]:
    """Places of columns: HDF5 lists names by the alphabet, the summary as the YAML has them."""
    path = folder / "summary.json"
    told = [row["name"] for row in read_json(path)["rows"]] if path.is_file() else []
    order = {column: place for place, column in enumerate(dict.fromkeys([*told, *columns]))}
    return order.__getitem__


def _refuse(reference: NamedDraws, other: NamedDraws) -> None:
    """Refuses other parameters or data sets than the reference's.

    Raises:
        RunError: With the names that only one of them has.
    """
    for what, mine, theirs in (
        ("parameters", reference.columns, other.columns),
        ("data sets", reference.labels, other.labels),
    ):
        if mine != theirs:
            lacks, more = _listed(set(mine) - set(theirs)), _listed(set(theirs) - set(mine))
            told = "; ".join(
                [
                    *([f"it lacks {lacks}"] if lacks else []),
                    *([f"it has {more} besides"] if more else []),
                ]
            )
            raise RunError(
                f"has other {what} than {reference.folder}: {told or 'the same in another order'}",
                where=other.folder,
                todo="Compare draws of the same parameters, given the same observation.",
            )


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:MOST_NAMES]) + (
        f" and {len(shown) - MOST_NAMES} more" if len(shown) > MOST_NAMES else ""
    )


def _distances(
    reference: NamedDraws, others: Sequence[NamedDraws], draws: int, reporter: Reporter
) -> list[report.Distance]:
    """A row for each method and data set; C2ST and MMD² on `draws` draws a side, spread evenly over
    all."""
    exact, drawn = _thinned(reference, draws), {one.name: _thinned(one, draws) for one in others}
    _check_moves(reference, exact)
    pairs = [(one, i) for one in others for i in range(len(exact))]
    with reporter.task("compare", len(pairs), unit="pairs of draws") as ticker:
        accuracies = c2st_many([(exact[i], drawn[one.name][i]) for one, i in pairs], ticker=ticker)
    rows = []
    for (one, i), accuracy in zip(pairs, accuracies, strict=True):
        spread = exact[i].std(0, ddof=1)
        distance = mmd2(exact[i] / spread, drawn[one.name][i] / spread)
        rows.append(
            report.Distance(
                one.name,
                reference.labels[i],
                draws,
                float(accuracy),
                distance,
                *_moments(reference, one, i),
            )
        )
    return rows


def _moments(
    reference: NamedDraws, other: NamedDraws, which: int
) -> tuple[dict[str, float], dict[str, float]]:
    """|m1 - m2| / sd of the reference and ratio of the sds, by column, of all draws of one data
    set."""
    exact, drawn = reference.theta[which], other.theta[which]
    sd = exact.std(0, ddof=1)
    shift, ratio = np.abs(drawn.mean(0) - exact.mean(0)) / sd, drawn.std(0, ddof=1) / sd
    return dict(zip(reference.columns, shift.tolist(), strict=True)), dict(
        zip(reference.columns, ratio.tolist(), strict=True)
    )


def _thinned(one: NamedDraws, draws: int) -> np.ndarray:
    """`draws` draws of each data set, (N, draws, D), evenly spread: chains stand one after the
    other.

    Raises:
        DataError: They are too few, or not finite.
    """
    if draws < FEWEST:
        what = f"{one.theta.shape[1]:,} draws, and the least of all folders is {draws}: too few to be told apart"
        raise DataError(
            what,
            where=one.folder / DRAWS,
            todo=f"Draw at least {FEWEST} (--draws) by every method.",
        )
    bad = int((~np.isfinite(one.theta).all(-1)).sum())
    if bad:
        raise DataError(
            f"{bad:,} draws are not finite",
            where=one.folder / DRAWS,
            todo="Draw again, or compare another method.",
        )
    return one.theta[:, np.linspace(0, one.theta.shape[1] - 1, draws).round().astype(int)]


def _check_moves(reference: NamedDraws, theta: np.ndarray) -> None:
    """Refuses a reference (N, S, D) with columns that never move.

    Raises:
        DataError: With their names.
    """
    still = np.unique(np.nonzero(np.ptp(theta, axis=1) == 0)[1])
    if len(still):
        raise DataError(
            f"{_listed({reference.columns[i] for i in still})} never moves: there is no sd to measure by",
            where=reference.folder / DRAWS,
            todo="Compare with another reference, or with more draws.",
        )


def _apart(method: str, rows: Sequence[report.Distance]) -> DistanceSummary:
    """A method's rows as one."""
    shifts = [max(row.shift.items(), key=lambda pair: pair[1]) for row in rows]
    ratios = [max(row.ratio.items(), key=lambda pair: _off(pair[1])) for row in rows]
    shift, ratio = (
        max(shifts, key=lambda pair: pair[1]),
        max(ratios, key=lambda pair: _off(pair[1])),
    )
    return DistanceSummary(
        method=method,
        c2st=_mean_and_worst([row.c2st for row in rows]),
        mmd2=_mean_and_worst([row.mmd2 for row in rows]),
        shift=_mean_and_worst([value for _, value in shifts]),
        ratio=(float(np.mean([value for _, value in ratios])), ratio[1]),
        farthest=(shift[0], ratio[0]),
    )


def _off(ratio: float) -> float:
    """How far a ratio is from 1: half as far as twice."""
    return abs(float(np.log(ratio))) if ratio > 0 else float("inf")


def _mean_and_worst(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), max(values)


def _write(
    found: Overlay, reference: NamedDraws, others: Sequence[NamedDraws], seconds: float
) -> None:
    told: dict[str, Any] = {
        "reference": found.reference,
        "draws": found.draws,
        "data_sets": list(reference.labels),
    }
    told |= {"folders": {one.name: str(one.folder) for one in (reference, *others)}}
    told |= {
        "methods": [_told(one) for one in found.methods],
        "rows": [asdict(row) for row in found.rows],
    }
    put_json(found.folder / "compare.json", told)
    put_text(found.folder / "compare.csv", report.overlay_csv(found.rows))
    shown = _shown(found)
    labels = [
        f"{column} ({reference.units[column]})" if column in reference.units else column
        for column in shown
    ]
    places = [reference.columns.index(column) for column in shown]
    draws = {one.name: one.theta[0][:, places] for one in (reference, *others)}
    title = f"{reference.labels[0]}: {reference.name} (grey) and others"
    if len(shown) < len(reference.columns):
        title += f"; the {len(shown)} of {len(reference.columns)} columns that differ most"
    put_picture(found.folder / "overlay", report.overlay_picture(draws, labels, title=title))
    put_provenance(
        found.folder, seconds=seconds, facts={"folders": told["folders"], "draws": found.draws}
    )


def _told(one: DistanceSummary) -> dict[str, Any]:
    """A method for programs, each pair of numbers with its names."""
    pairs = {"c2st": one.c2st, "mmd2": one.mmd2, "mean_shift": one.shift, "sd_ratio": one.ratio}
    named = {name: {"mean": mean, "worst": worst} for name, (mean, worst) in pairs.items()}
    return {
        "method": one.method,
        **named,
        "farthest": dict(zip(("mean_shift", "sd_ratio"), one.farthest, strict=True)),
    }


def _shown(found: Overlay) -> list[str]:
    """Columns of the picture, in their order: all, or those whose means or sds differ most in the
    first data set."""
    rows = [row for row in found.rows if row.data_set == found.rows[0].data_set]
    columns = list(rows[0].shift)
    worst = sorted(
        columns, key=lambda one: -max(max(row.shift[one], _off(row.ratio[one])) for row in rows)
    )[:MOST_COLUMNS]
    return [column for column in columns if column in worst]
