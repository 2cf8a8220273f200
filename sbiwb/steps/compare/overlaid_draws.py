"""Draws of one posterior by several methods: how far each is from a reference's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sbiwb import report
from sbiwb.contracts import Reporter
from sbiwb.distances import c2st_many, mmd2
from sbiwb.errors import DataError
from sbiwb.files import put_json, put_text
from sbiwb.project import named_draws
from sbiwb.project.named_draws import NamedDraws
from sbiwb.report.saving import put_picture
from sbiwb.rundir import put_provenance
from sbiwb.stopping import raise_on_signal

MAX_DRAWS = 10_000  # on each side; the published table of C2ST has 10,000
MAX_COLUMNS = 8  # in the picture


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

    @classmethod
    def of(cls, method: str, rows: Sequence[report.Distance]) -> DistanceSummary:
        """A method's rows, one a data set, as one."""
        shifts = [max(row.shift.items(), key=_value) for row in rows]
        ratios = [max(row.ratio.items(), key=_value_off) for row in rows]
        shift, ratio = max(shifts, key=_value), max(ratios, key=_value_off)
        return cls(
            method=method,
            c2st=_mean_and_worst([row.c2st for row in rows]),
            mmd2=_mean_and_worst([row.mmd2 for row in rows]),
            shift=_mean_and_worst(list(map(_value, shifts))),
            ratio=(float(np.mean(list(map(_value, ratios)))), ratio[1]),
            farthest=(shift[0], ratio[0]),
        )

    def to_json(self) -> dict[str, object]:
        """Each pair of numbers with its names."""
        entry: dict[str, object] = {"method": self.method}
        pairs = {"c2st": self.c2st, "mmd2": self.mmd2}
        pairs |= {"mean_shift": self.shift, "sd_ratio": self.ratio}
        for name, (mean, worst) in pairs.items():
            entry[name] = {"mean": mean, "worst": worst}
        entry["farthest"] = {"mean_shift": self.farthest[0], "sd_ratio": self.farthest[1]}
        return entry


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
    named_draws.check_folders(paths)
    every = named_draws.read_all(paths)
    reference = _reference_of(every)
    others = [method for method in every if method is not reference]
    for other in others:
        reference.check_same_question(other)
    draws = min(MAX_DRAWS, *(method.theta.shape[1] for method in every))
    with raise_on_signal():
        rows = _distances(reference, others, draws, reporter)
    overlaid = Overlay(
        reference=reference.name,
        rows=tuple(rows),
        methods=tuple(_summaries(rows)),
        draws=draws,
        data_sets=len(reference.labels),
        folder=output or named_draws.default_output(reference.folder),
    )
    _write(overlaid, reference, others, time.perf_counter() - begun)
    return overlaid


def _reference_of(every: Sequence[NamedDraws]) -> NamedDraws:
    for method in every:
        if named_draws.method_of(method.folder):
            return method
    return every[0]


def _summaries(rows: Sequence[report.Distance]) -> list[DistanceSummary]:
    by_method: dict[str, list[report.Distance]] = {}
    for row in rows:
        by_method.setdefault(row.method, []).append(row)
    return [DistanceSummary.of(method, mine) for method, mine in by_method.items()]


def _distances(
    reference: NamedDraws, others: Sequence[NamedDraws], draws: int, reporter: Reporter
) -> list[report.Distance]:
    """A row for each method and data set; C2ST and MMD² on `draws` draws a side, spread evenly over
    all."""
    exact = reference.thinned(draws)
    pairs, places = [], []
    for other in others:
        for i, theta in enumerate(other.thinned(draws)):
            pairs.append((exact[i], theta))
            places.append((other, i))
    _check_moves(reference, exact)
    with reporter.task("compare", len(pairs), unit="pairs of draws") as ticker:
        accuracies = c2st_many(pairs, ticker=ticker)
    rows = []
    for (other, i), (one_side, theta), accuracy in zip(places, pairs, accuracies, strict=True):
        sd = one_side.std(0, ddof=1)
        shift, ratio = _moments(reference.theta[i], other.theta[i])
        rows.append(
            report.Distance(
                method=other.name,
                data_set=reference.labels[i],
                draws=draws,
                c2st=float(accuracy),
                mmd2=mmd2(one_side / sd, theta / sd),
                shift=dict(zip(reference.columns, shift, strict=True)),
                ratio=dict(zip(reference.columns, ratio, strict=True)),
            )
        )
    return rows


def _moments(exact: np.ndarray, drawn: np.ndarray) -> tuple[list[float], list[float]]:
    """|m1 - m2| / sd of the reference and ratio of the sds of each column, of draws (S, D)."""
    sd = exact.std(0, ddof=1)
    shift = np.abs(drawn.mean(0) - exact.mean(0)) / sd
    ratio = drawn.std(0, ddof=1) / sd
    return shift.tolist(), ratio.tolist()


def _check_moves(reference: NamedDraws, theta: np.ndarray) -> None:
    """Refuses a reference (N, S, D) with columns that never move.

    Raises:
        DataError: With their names.
    """
    constant = (np.ptp(theta, axis=1) == 0).any(axis=0)
    if constant.any():
        names = set(np.array(reference.columns)[constant].tolist())
        raise DataError(
            f"{named_draws.listed(names)} never moves: there is no sd to measure by",
            where=reference.path,
            todo="Compare with another reference, or with more draws.",
        )


def _value(item: tuple[str, float]) -> float:
    return item[1]


def _value_off(item: tuple[str, float]) -> float:
    return _off(item[1])


def _off(ratio: float) -> float:
    """How far a ratio is from 1: half as far as twice."""
    if ratio <= 0:
        return float("inf")
    return abs(float(np.log(ratio)))


def _mean_and_worst(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), max(values)


def _write(
    overlaid: Overlay, reference: NamedDraws, others: Sequence[NamedDraws], seconds: float
) -> None:
    folder = overlaid.folder
    folders = {method.name: str(method.folder) for method in (reference, *others)}
    put_json(folder / "compare.json", _to_json(overlaid, reference.labels, folders))
    put_text(folder / "compare.csv", report.overlay_csv(overlaid.rows))
    _draw(overlaid, reference, others)
    facts = {"folders": folders, "draws": overlaid.draws}
    put_provenance(folder, seconds=seconds, facts=facts)


def _to_json(
    overlaid: Overlay, labels: Sequence[str], folders: Mapping[str, str]
) -> dict[str, object]:
    return {
        "reference": overlaid.reference,
        "draws": overlaid.draws,
        "data_sets": list(labels),
        "folders": dict(folders),
        "methods": [method.to_json() for method in overlaid.methods],
        "rows": list(map(asdict, overlaid.rows)),
    }


def _draw(overlaid: Overlay, reference: NamedDraws, others: Sequence[NamedDraws]) -> None:
    """The first data set by all methods over one another."""
    shown = _shown(overlaid)
    places = list(map(reference.columns.index, shown))
    draws = {method.name: method.theta[0][:, places] for method in (reference, *others)}
    title = f"{reference.labels[0]}: {reference.name} (grey) and others"
    if len(shown) < len(reference.columns):
        title += f"; the {len(shown)} of {len(reference.columns)} columns that differ most"
    labels = list(map(reference.label, shown))
    put_picture(overlaid.folder / "overlay", report.overlay_picture(draws, labels, title=title))


def _shown(overlaid: Overlay) -> list[str]:
    """Columns of the picture, in their order: all, or those whose means or sds differ most in the
    first data set."""
    columns = list(overlaid.rows[0].shift)
    farthest = dict.fromkeys(columns, 0.0)
    for row in overlaid.rows:
        if row.data_set != overlaid.rows[0].data_set:
            continue
        for column in columns:
            off = max(row.shift[column], _off(row.ratio[column]))
            farthest[column] = max(farthest[column], off)
    worst = sorted(columns, key=farthest.__getitem__, reverse=True)[:MAX_COLUMNS]
    return sorted(worst, key=columns.index)
