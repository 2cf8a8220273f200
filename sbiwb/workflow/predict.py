"""The verb `predict`: data simulated from the posterior of an observation or from the prior, also under another context."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sbiwb import report
from sbiwb.contracts import Reporter
from sbiwb.errors import DataError, RunError
from sbiwb.files import put
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.observe import DataSets, NamedObservation, observe
from sbiwb.project.project import Project
from sbiwb.project.simulations import Simulations
from sbiwb.project.trained import posterior_of
from sbiwb.records import Columns
from sbiwb.report.saving import put_picture
from sbiwb.rundir import versions
from sbiwb.seeds import generator, place
from sbiwb.steps.infer.posterior_predictive import SHOWN, _kinds, _listed, _some, predictive_picture
from sbiwb.stopping import raise_on_signal
from sbiwb.store import hdf5
from sbiwb.store.shards import flatten

MOST_PICTURES = 6  # data sets that get one each


@dataclass(frozen=True)
class Predicted:
    """Data simulated from a posterior, or from the prior.

    Args:
        name: The observation, or `prior`.
        file: The HDF5 file: theta/NAME (n, ...), context/NAME (n, ...), x/NAME (n, ...) or x/NAME/values and x/NAME/offsets, and for
            each simulation its `data_set` (a place among `labels`) and posterior `draw`.
        pictures: Beside it.
        simulations: The data themselves.
        warnings: Sentences on failures, and on data that no simulation resembles.
    """

    name: str
    file: Path
    pictures: tuple[Path, ...]
    simulations: Simulations
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Start:
    """Where simulations begin: parameters (N, S, D) and context of N data sets, and the real data if there are any."""

    name: str
    folder: Path
    theta: np.ndarray
    context: Columns
    data: DataSets | None
    warnings: tuple[str, ...] = ()


def predict(
    project: Project,
    reporter: Reporter,
    *,
    observation: NamedObservation | None,
    draws: int,
    seed: int,
    context: Mapping[str, float] | None = None,
    output: Path | None = None,
) -> Predicted:
    """Simulates data at posterior draws of an observation, or at draws from the prior.

    Parameters are learned from the observation as it is; `context` changes the simulations alone: what would 200 trials look like?

    Args:
        project: A trained run; for the prior any project.
        reporter: Where progress goes.
        observation: As `sample` takes them; None for the prior.
        draws: Simulations for each data set, or from the prior. For one data set they are the first draws of `sample` with this seed.
        seed: Root of draws and simulations.
        context: Design variables that are fixed to a number.
        output: Folder to write to; without it `sample/OBSERVATION/` or `predict/prior/` of the run.

    Raises:
        DataError: The observation does not fit, or there is no such context variable.
        RunError: Nothing is trained yet.
        SimulatorError: Not one simulation came out.
    """
    fixed = dict(context or {})
    _check_context(project, fixed)
    with raise_on_signal():
        torch.set_num_threads(1)  # chunks of draws are what shares the cores
        start = (
            _from_prior(project, draws, seed)
            if observation is None
            else _from_posterior(project, reporter, observation, draws, seed)
        )
        changed = {
            name: np.full((len(start.theta), *project.context[name].event), value)
            for name, value in fixed.items()
        }
        done = project.forward.simulate(
            start.theta, {**start.context, **changed}, seed, reporter, name=start.name
        )
    folder = output or start.folder
    stem = "predictive" + "".join(f"-{name}={value:.12g}" for name, value in fixed.items())
    put(
        folder / f"{stem}.h5", hdf5.image(_arrays(start, done), _about(project, start, fixed, seed))
    )
    pictures = _draw_pictures(project, start, done, folder / stem, fixed)
    warnings = (*start.warnings, *done.warnings)
    for warning in warnings:
        reporter.warn(f"{start.name}: {warning}")
    return Predicted(start.name, folder / f"{stem}.h5", pictures, done, warnings)


def _check_context(project: Project, fixed: Mapping[str, float]) -> None:
    for name, value in fixed.items():
        if name not in project.context:
            raise DataError(
                f"no context variable '{name}'",
                where="context",
                todo=f"There are: {', '.join(project.context) or 'none in this problem'}.",
            )
        if not math.isfinite(value):
            raise DataError(
                f"{value} is no number to simulate with",
                where=f"context {name}",
                todo=f"For example {name}=100.",
            )
        if project.context[name].discrete and value != round(value):
            raise DataError(
                f"{value:g} is no integer",
                where=f"context {name}",
                todo=f"For example {name}={round(value)}.",
            )


def _from_prior(project: Project, draws: int, seed: int) -> _Start:
    drawn = project.problem.draw(generator(seed, "prior", 1), draws)
    return _Start(
        "prior",
        project.run.path / "predict" / "prior",
        project.prior.stack(drawn.theta)[:, None],
        drawn.context,
        None,
    )


def _from_posterior(
    project: Project,
    reporter: Reporter,
    observation: NamedObservation,
    draws: int,
    seed: int,
) -> _Start:
    posterior, layout = posterior_of(project, reporter), project.problem.layout
    if layout is None:
        raise RunError(
            "nothing is simulated yet",
            where=project.data_run.path,
            todo="Run `sbiwb run` on the config first.",
        )
    data = observe(observation, layout, {name: one.event for name, one in project.context.items()})
    theta = posterior.sample(data.variables, draws, generator(seed, "sample", place(data.name)))
    return _Start(
        data.name,
        project.run.sample(data.name),
        theta,
        data.context,
        data,
        tuple(posterior.ood_warnings(data.variables)[:3]),
    )


def _arrays(start: _Start, done: Simulations) -> dict[str, np.ndarray]:
    """The file's arrays: columns as shards have them, and where each simulation comes from."""
    arrays = flatten(done.pairs)
    if start.data is None:
        return arrays
    data_set, draw = np.divmod(done.rows, done.shape[1])
    return {
        **arrays,
        "data_set": data_set,
        "draw": draw,
        "labels": np.array([label.encode() for label in start.data.labels]),
    }


def _about(
    project: Project, start: _Start, fixed: Mapping[str, float], seed: int
) -> dict[str, Any]:
    weights = {} if start.data is None else {"weights": weights_hash(project.run)}
    told = {
        "name": start.name,
        "run": project.run.name,
        "data_hash": project.data_hash,
        "seed": seed,
        **weights,
    }
    return {**told, "context": json.dumps(dict(fixed)), "versions": json.dumps(versions())}


def _draw_pictures(
    project: Project, start: _Start, done: Simulations, stem: Path, fixed: Mapping[str, float]
) -> tuple[Path, ...]:
    """One picture for each of the first data sets, or one of the prior, as PNG and as SVG; those of an earlier prediction are removed."""
    for old in (
        old
        for end in ("", "-[0-9]")
        for suffix in ("png", "svg")
        for old in stem.parent.glob(f"{stem.name}{end}.{suffix}")
    ):
        old.unlink()
    paths = []
    for end, figure in _pictures(
        project, start, done, "".join(f", {name} = {value:g}" for name, value in fixed.items())
    ):
        paths.append(put_picture(stem.with_name(f"{stem.name}{end}"), figure))
    return tuple(paths)


def _pictures(
    project: Project, start: _Start, done: Simulations, changed: str
) -> Iterator[tuple[str, Any]]:
    """(end of the file's name, picture)."""
    if start.data is None:
        yield "", _prior_picture(project, done.pairs.x, f"Simulated from the prior{changed}")
        return
    for i, label in enumerate(start.data.labels[:MOST_PICTURES]):
        x = done.of(i)
        if len(next(iter(x.values()))):
            title = f"{label}: simulated from the posterior{changed}"
            yield (
                "" if len(start.data) == 1 else f"-{i + 1}",
                predictive_picture(project, start.data, i, x, title=title),
            )


def _prior_picture(project: Project, x: Columns, title: str) -> Any:
    show = project.source.optional("show")
    if show is not None:
        return report.shown_simulations(show, _some(x, SHOWN + 1), title=title)
    return report.simulated_picture(_listed(x), _kinds(project), title=title)
