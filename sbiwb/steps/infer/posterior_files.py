"""What is written of posterior draws, whoever drew them: table, files and pictures in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb import report
from sbiwb.contracts import Reporter
from sbiwb.evidence import Value
from sbiwb.files import put, put_json, put_text
from sbiwb.project.observe import DataSets
from sbiwb.project.project import Project
from sbiwb.project.simulations import Simulations
from sbiwb.report.saving import put_picture
from sbiwb.rundir import versions
from sbiwb.seeds import generator
from sbiwb.steps.infer.posterior_predictive import predictive_picture

PRIOR_DRAWS = 20_000
OWN_PICTURES = ("forest", "pairs", "predictive", "epistemic")


@dataclass(frozen=True)
class PosteriorDraws:
    """Posterior draws of N data sets, with what is told beside them.

    Args:
        data: The data sets.
        theta: Draws in the user's units, (N, S, D).
        circular: Places of the columns that are angles.
        levels: The values that each discrete column can have.
    """

    data: DataSets
    theta: np.ndarray
    circular: Sequence[int] = ()
    levels: Mapping[str, Sequence[float]] | None = None


def rows_of(project: Project, drawn: PosteriorDraws) -> list[report.Row]:
    """The summary table: a row for each data set and quantity."""
    found = project.derived.of(drawn.theta)
    flat = report.flat(found)
    flat |= _turned(project, drawn, flat)
    each = [{name: values[i] for name, values in flat.items()} for i in range(len(drawn.data))]
    prior = _prior(project)
    known = (
        report.moments(project.prior.columns, prior, project.prior.variance()) if len(prior) else {}
    )
    return [
        row
        for label, one in zip(drawn.data.labels, each, strict=True)
        for row in report.summarise(label, one, known, drawn.levels or {})
    ]


def write(
    project: Project,
    drawn: PosteriorDraws,
    rows: Sequence[report.Row],
    folder: Path,
    reporter: Reporter,
    *,
    about: Mapping[str, str],
    warnings: Sequence[str] = (),
    unlike: Sequence[Value] = (),
    predicted: Simulations | None = None,
) -> None:
    """Writes summary.json and .csv, posterior.nc, draws.h5 and .csv, and the pictures.

    Args:
        project: The problem.
        drawn: The draws.
        rows: Their table, as `rows_of` makes it.
        folder: Where to.
        reporter: Told what is left out.
        about: What the files say of where the draws come from.
        warnings: Sentences on why not to trust them.
        unlike: How far the data lie from the simulations.
        predicted: Simulations from the posterior.
    """
    prior = _prior(project)
    _write_table(folder, drawn.data, rows, warnings, unlike)
    _write_draws(project, drawn, folder, predicted, prior, about, reporter)
    _draw_pictures(project, drawn, rows, predicted, prior, folder)


def _prior(project: Project) -> np.ndarray:
    """Draws of the prior, (M, D), the same at every call; none where only bounds are known."""
    if project.prior.joint and project.prior.sampler is None:
        return np.empty((0, project.prior.size))
    return project.prior.stack(project.prior.sample(generator(0, "preflight"), PRIOR_DRAWS))


def _turned(
    project: Project, drawn: PosteriorDraws, flat: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Draws (N, S) of each angle, moved by whole turns to within half a turn of their circular mean: 359 and 1 degrees have the mean 0."""
    found = {}
    low, high = project.prior.support()
    for column in drawn.circular:
        name, period = project.prior.columns[column], high[column] - low[column]
        turns = (flat[name] - low[column]) / period
        centre = np.angle(np.exp(2j * np.pi * turns).mean(1, keepdims=True)) / (2 * np.pi)
        found[name] = low[column] + period * (centre % 1 + (turns - centre + 0.5) % 1 - 0.5)
    return found


def _write_table(
    folder: Path,
    data: DataSets,
    rows: Sequence[report.Row],
    warnings: Sequence[str],
    unlike: Sequence[Value],
) -> None:
    """The table for programs, and the table for people."""
    told = [
        {"measure": one.name, "data_set": one.parameter, "p": one.value, "reason": one.reason}
        for one in unlike
    ]
    table = [{"data_set": row.data_set, "name": row.name, **row.columns} for row in rows]
    put_json(
        folder / "summary.json",
        {
            "observation": data.name,
            "warnings": list(warnings),
            "misspecification": told,
            "rows": table,
        },
    )
    put_text(folder / "summary.csv", report.summary_csv(rows, labels=data.labels, keys=data.keys))


def _write_draws(
    project: Project,
    drawn: PosteriorDraws,
    folder: Path,
    predicted: Simulations | None,
    prior: np.ndarray,
    about: Mapping[str, str],
    reporter: Reporter,
) -> None:
    """The draws as netCDF, HDF5 and, where they are not too many, CSV."""
    data, found = drawn.data, project.derived.of(drawn.theta)
    attributes = {**about, "versions": json.dumps(versions())}
    numbers = {
        name: value
        for name, value in project.config.problem.constants.items()
        if isinstance(value, int | float)
    }
    file = report.netcdf(
        found,
        predicted.filled() if predicted else {},
        data.x,
        {**data.context, **numbers},
        labels=data.labels,
        attributes=attributes,
        prior=project.prior.unstack(prior[: drawn.theta.shape[1]]) if len(prior) else None,
        units=project.prior.units,
    )
    put(folder / "posterior.nc", file)
    theta = {name: found[name] for name in project.prior.names}
    derived = {name: values for name, values in found.items() if name not in theta}
    put(
        folder / "draws.h5",
        report.draws_hdf5(
            theta,
            derived,
            labels=data.labels,
            attributes=attributes,
            keys=data.keys,
            units=project.prior.units,
        ),
    )
    too_long = report.too_long_for_csv(found)
    if too_long:
        (folder / "draws.csv").unlink(missing_ok=True)
        reporter.say(f"{data.name}: {too_long}.")
    else:
        put_text(folder / "draws.csv", report.draws_csv(found, labels=data.labels, keys=data.keys))


def _draw_pictures(
    project: Project,
    drawn: PosteriorDraws,
    rows: Sequence[report.Row],
    predicted: Simulations | None,
    prior: np.ndarray,
    folder: Path,
) -> None:
    data = drawn.data
    for old in (*folder.glob("*.png"), *folder.glob("*.svg")):  # of earlier draws with other groups
        if old.stem in OWN_PICTURES:
            old.unlink()
    if len(data) > 1:
        put_picture(folder / "forest", _forest(project, data, rows))
        return
    labels = [label(project, name) for name in project.prior.columns]
    put_picture(
        folder / "pairs",
        report.pairs_picture(drawn.theta[0], labels, prior=prior if len(prior) else None),
    )
    if predicted:
        title = f"{data.name}: simulated from the posterior"
        put_picture(
            folder / "predictive",
            predictive_picture(project, data, 0, predicted.of(0), title=title),
        )


def _forest(project: Project, data: DataSets, rows: Sequence[report.Row]) -> Any:
    names = list(dict.fromkeys(row.name for row in rows))
    pick = ("q2.5", "q25", "median", "q75", "q97.5")
    summaries = {
        label(project, name): [
            tuple(row.quantiles[key] for key in pick) for row in rows if row.name == name
        ]
        for name in names
    }
    return report.forest_picture(
        data.labels,
        summaries,  # type: ignore[arg-type]
        title=f"{data.name}: {len(data)} data sets (median, 50 % and 95 % intervals)",
    )


def label(project: Project, column: str) -> str:
    """A column with its unit."""
    unit = project.prior.units.get(column.partition("[")[0], "")
    return f"{column} ({unit})" if unit else column
