"""The verb `sample`: the posterior of real observations, as draws, a table and pictures."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sbiwb import report
from sbiwb.config.model import Observation
from sbiwb.contracts import Reporter
from sbiwb.errors import DataError, RunError
from sbiwb.files import put, put_json, put_text, read_json
from sbiwb.posterior import Posterior
from sbiwb.records import Columns
from sbiwb.rundir import put_provenance, versions
from sbiwb.seeds import generator
from sbiwb.simulation.blocks import simulate_at
from sbiwb.simulation.layout import from_json
from sbiwb.stopping import raised
from sbiwb.workflow.derived import quantities
from sbiwb.workflow.estimator import sources_of
from sbiwb.workflow.observe import DataSets, observe
from sbiwb.workflow.posterior import posterior_of
from sbiwb.workflow.project import Project
from sbiwb.workflow.train import weights_hash

PREDICTED = 200  # simulations from the posterior for each data set
PREDICTED_MANY = 20
PRIOR_DRAWS = 20_000
MOST_WARNINGS = 3


@dataclass(frozen=True)
class Sampled:
    """Posterior of one observation (one or many data sets).

    Args:
        name: The observation.
        folder: Where its files are.
        rows: The summary table.
        warnings: Sentences on data that no simulation resembles, and on draws outside the prior.
        seconds: Wall time of the draws alone.
    """

    name: str
    folder: Path
    rows: tuple[report.Row, ...]
    warnings: tuple[str, ...]
    seconds: float


def sample(
    project: Project, observations: Sequence[tuple[str, Observation, Path]], reporter: Reporter, *, draws: int, seed: int
) -> list[Sampled]:
    """Infers observations.

    Args:
        project: A trained run.
        observations: (name, how to read it, folder its path is relative to).
        reporter: Where progress goes.
        draws: Posterior draws for each data set.
        seed: Root of the draws.

    Raises:
        DataError: An observation does not fit the simulator.
        RunError: Nothing is trained yet, or there is nothing to infer.
    """
    if not observations:
        raise RunError(
            "names no observation", where="problem.observations", todo="Add one to the YAML, or name a file: sbiwb sample CONFIG data.csv"
        )
    with raised():
        torch.set_num_threads(1)  # chunks of draws are what shares the cores
        posterior = posterior_of(project, reporter)
        layout = from_json(_plan(project)["layout"])
        shapes = {name: one.event for name, one in project.context.items()}
        found = [observe(name, what, base, layout, shapes) for name, what, base in observations]
        return [_sample_one(project, posterior, data, reporter, draws, seed) for data in found]


def named_observations(project: Project, name: str | None) -> list[tuple[str, Observation, Path]]:
    """All observations of the YAML, or the named one.

    Raises:
        DataError: There is no such observation.
    """
    known = project.config.problem.observations
    if name is not None and name not in known:
        raise DataError(
            f"no observation and no file '{name}'",
            where="problem.observations",
            todo=f"There are: {', '.join(known) or '(none)'}; or name a file.",
        )
    return [(key, what, project.base) for key, what in known.items() if name in (None, key)]


def _plan(project: Project) -> dict[str, Any]:
    path = project.data_run.plan
    if not path.is_file():
        raise RunError("nothing is simulated yet", where=project.data_run.path, todo="Run `sbiwb run` on the config first.")
    return read_json(path)


def _sample_one(project: Project, posterior: Posterior, data: DataSets, reporter: Reporter, draws: int, seed: int) -> Sampled:
    start = time.perf_counter()
    theta = posterior.sample(data.variables, draws, generator(seed, "sample"))
    seconds = time.perf_counter() - start
    warnings = [*_few(posterior.strange(data.variables)), *_outside_context(project, data), *_leaked(project, theta)]
    found = quantities(project, theta)
    rows = [row for i, label in enumerate(data.labels) for row in report.summarise(label, {name: v[i] for name, v in _flat(found).items()})]
    predicted = _predict(project, data, theta, seed, warnings)
    folder = project.run.sample(data.name)
    _write(folder, data, rows, warnings, _netcdf(project, data, found, predicted, seed))
    _draw_pictures(project, data, theta, rows, predicted, folder)
    facts = {"weights": weights_hash(project.run), "data_hash": project.data_hash, "seed": seed, "draws": draws, "draw_seconds": seconds}
    put_provenance(folder, seconds=time.perf_counter() - start, facts=facts)
    for warning in warnings:
        reporter.warn(f"{data.name}: {warning}")
    if data.unused:
        reporter.say(f"{data.name}: columns {', '.join(data.unused)} are not used.")
    return Sampled(data.name, folder, tuple(rows), tuple(warnings), seconds)


def _few(sentences: list[str]) -> list[str]:
    """One sentence where there are many: a vector far outside has one for each of its numbers."""
    if len(sentences) <= MOST_WARNINGS:
        return sentences
    return [f"{len(sentences)} warnings of values that no simulation had: do not trust this posterior; the first: {sentences[0]}"]


def _outside_context(project: Project, data: DataSets) -> list[str]:
    """Context outside its simulated range, also where the network does not see it."""
    sentences = []
    for name, distribution in project.context.items():
        values = np.asarray(data.context[name], float).reshape(len(data), -1)
        low, high = distribution.support()
        if ((values < low) | (values > high)).any():
            sentences.append(
                f"context {name} = {values.min():g} to {values.max():g} lies outside the simulated range [{low[0]:g}, {high[0]:g}]"
            )
    return sentences


def _leaked(project: Project, theta: np.ndarray) -> list[str]:
    outside = 1 - project.prior.inside(theta).mean(axis=(0, 1))
    return [
        f"{share:.1%} of the draws of {name} lie outside the prior's support"
        for name, share in zip(project.prior.columns, outside, strict=True)
        if share > 0
    ]


def _flat(quantities: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(N, S) columns: vector-valued parameters one column each."""
    flat: dict[str, np.ndarray] = {}
    for name, values in quantities.items():
        flat |= {name: values} if values.ndim == 2 else {f"{name}[{k}]": values[..., k] for k in range(values.shape[2])}
    return flat


def _predict(project: Project, data: DataSets, theta: np.ndarray, seed: int, warnings: list[str]) -> Columns:
    """Data simulated from the first posterior draws of each data set, in their order; failures are told, not hidden."""
    count = min(PREDICTED if len(data) == 1 else PREDICTED_MANY, theta.shape[1])
    rng = generator(seed, "predictive")
    flat = theta[:, :count].reshape(-1, theta.shape[-1])
    context = {name: np.repeat(values, count, axis=0) for name, values in data.context.items()}
    context = {name: values.astype(np.int64) if project.context[name].discrete else values for name, values in context.items()}
    x, failed = simulate_at(project.problem, project.prior.unstack(flat), context, rng)
    if failed:
        warnings.append(f"{failed} of {len(flat)} simulations from the posterior failed and are left out of the predictive plot")
        return {} if failed == len(flat) or len(data) > 1 else x
    return x


def _write(folder: Path, data: DataSets, rows: list[report.Row], warnings: list[str], file: bytes) -> None:
    """The draws, the table for programs, and the table for people."""
    put(folder / "posterior.nc", file)
    put_json(folder / "summary.json", {"observation": data.name, "warnings": warnings, "rows": [asdict(row) for row in rows]})
    put_text(folder / "summary.csv", _table(data, rows))


def _netcdf(project: Project, data: DataSets, found: dict[str, np.ndarray], predicted: Columns, seed: int) -> bytes:
    attributes = {"created_by": "sbiwb", "run": project.run.name, "data_hash": project.data_hash, "seed": str(seed)}
    numbers = {name: value for name, value in project.config.problem.constants.items() if isinstance(value, int | float)}
    return report.netcdf(
        found,
        predicted,
        data.x,
        {**data.context, **numbers},
        labels=data.labels,
        attributes={**attributes, "versions": json.dumps(versions())},
    )


def _table(data: DataSets, rows: list[report.Row]) -> str:
    """The summary as CSV, with the grouping columns."""
    keys = {label: [values[i] for values in data.keys.values()] for i, label in enumerate(data.labels)}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["data_set", *data.keys, "quantity", "mean", "sd", *rows[0].quantiles])
    for row in rows:
        numbers = [f"{value:.6g}" for value in (row.mean, row.sd, *row.quantiles.values())]
        writer.writerow([row.data_set, *keys[row.data_set], row.name, *numbers])
    return buffer.getvalue()


def _draw_pictures(project: Project, data: DataSets, theta: np.ndarray, rows: list[report.Row], predicted: Columns, folder: Path) -> None:
    for picture in ("forest.png", "pairs.png", "predictive.png"):
        (folder / picture).unlink(missing_ok=True)  # of an earlier sample with other groups
    if len(data) > 1:
        put(folder / "forest.png", report.to_png(_forest(project, data, rows)))
        return
    prior = project.prior.stack(project.prior.sample(generator(0, "preflight"), PRIOR_DRAWS))
    put(
        folder / "pairs.png",
        report.to_png(report.pairs_picture(theta[0], [_label(project, name) for name in project.prior.columns], prior=prior)),
    )
    if predicted:
        put(folder / "predictive.png", report.to_png(_predictive(project, data, predicted)))


def _predictive(project: Project, data: DataSets, predicted: Columns) -> Any:
    title = f"{data.name}: simulated from the posterior"
    show = project.source.optional("show")
    if show is None:
        observed = {name: np.asarray(values[0]) for name, values in data.x.items()}
        many = {name: [values[i] for i in range(len(values))] for name, values in predicted.items()}
        kinds = {source: one.as_ for name, one in project.config.model.inputs.items() for source in sources_of(name, one)}
        return report.predictive_picture(observed, many, kinds, title=title)
    simulated = [{name: values[i] for name, values in predicted.items()} for i in range(min(5, len(next(iter(predicted.values())))))]
    return report.shown_picture(show, {name: values[0] for name, values in data.x.items()}, simulated, title=title)


def _forest(project: Project, data: DataSets, rows: list[report.Row]) -> Any:
    names = list(dict.fromkeys(row.name for row in rows))
    pick = ("q2.5", "q25", "median", "q75", "q97.5")
    summaries = {_label(project, name): [tuple(row.quantiles[key] for key in pick) for row in rows if row.name == name] for name in names}
    return report.forest_picture(data.labels, summaries, title=f"{data.name}: {len(data)} data sets (median, 50 % and 95 % intervals)")  # type: ignore[arg-type]


def _label(project: Project, column: str) -> str:
    unit = project.prior.units.get(column.partition("[")[0], "")
    return f"{column} ({unit})" if unit else column


def from_file(path: Path, *, group_by: str, columns: Sequence[str], context: Sequence[str]) -> tuple[str, Observation, Path]:
    """An observation named on the command line.

    Raises:
        DataError: An option is not NAME=VALUE.
    """
    return (
        path.stem,
        Observation.model_validate(
            {
                "file": str(path),
                "group_by": [name.strip() for name in group_by.split(",") if name.strip()],
                "columns": dict(_pair("--column", one) for one in columns),
                "context": {
                    name: value if value == "rows" else _value(name, value) for name, value in (_pair("--context", one) for one in context)
                },
            }
        ),
        Path(),
    )


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise DataError("is not NAME=VALUE", where=f"{option} {text}", todo=f"For example {option} x=column")
    return name, value


def _value(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"'{text}' is no number", where=f"--context {name}", todo="Give a number, or `rows`.") from error
