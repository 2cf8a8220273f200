"""The verb `reference`: the posterior of real observations by a road that needs no training,
written as `sample` writes its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from sbiwb import references, report
from sbiwb.contracts import Reference, Reporter, Target
from sbiwb.document import Document
from sbiwb.errors import ConfigError, GateFailed, RunError
from sbiwb.extras import check_installed
from sbiwb.files import finite, put_json, sha256, stable_hash
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.observe import DataSets, NamedObservation, observe
from sbiwb.project.opening import write_config
from sbiwb.project.project import Project
from sbiwb.project.target import density_target, target_of
from sbiwb.project.trained import posterior_of
from sbiwb.records import take
from sbiwb.report.saving import put_picture
from sbiwb.rundir import PosteriorDir, put_provenance
from sbiwb.seeds import generator, place
from sbiwb.simulation.layout import Layout
from sbiwb.simulation.source import is_density
from sbiwb.steps.exact.saved_results import put_part, read_part
from sbiwb.steps.infer.observable_pictures import ObservablePictures
from sbiwb.steps.infer.posterior_draws import PosteriorDraws, rows_of
from sbiwb.steps.infer.posterior_files import write_draws, write_table
from sbiwb.steps.infer.posterior_pictures import PosteriorPictures
from sbiwb.steps.pairs.prepare import try_simulator
from sbiwb.stopping import raise_on_signal
from sbiwb.workflow.predict import simulate_posterior
from sbiwb.workflow.sample import PICTURES, choose_observations

MOST_TRACES = 4  # data sets whose chains are drawn
WORST = {"rhat": lambda values: float(values.max()), "ess": lambda values: float(values.min())}


@dataclass(frozen=True)
class Referenced:
    """What a method found of one observation.

    Args:
        name: The observation.
        method: Kind of the method.
        folder: Where its files are.
        rows: The summary table.
        facts: Of each data set: acceptance, log evidence, Pareto k, ...; the worst R-hat and the
            least effective sample size.
        warnings: Reasons not to take the draws for the posterior.
        seconds: Wall time of the method.
    """

    name: str
    method: str
    folder: Path
    rows: tuple[report.Row, ...]
    facts: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...]
    seconds: float


def method_of(kind: str, options: Sequence[str]) -> Any:
    """The method that the command line names, with its options.

    Raises:
        ConfigError: There is no such method or option.
    """
    given = Document(Path(), {}, {})
    for text in options:
        try:
            given.override([text])  # read as `--set` reads: 1e5 is a number
        except ConfigError as error:
            raise ConfigError(
                error.what,
                where=f"--option {text}",
                todo="Write NAME=VALUE, such as --option warmup=2000",
            ) from error
    try:
        return references.family.parse({**given.data, "kind": kind})
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or kind}: {one['msg']}" for one in error.errors()
        )
        raise ConfigError(
            told, where=f"--method {kind}", todo=f"Options: sbiwb parts references {kind}"
        ) from error
    except ValueError as error:
        raise ConfigError(
            str(error), where=f"--method {kind}", todo="sbiwb parts references says what each does."
        ) from error


def only_observation(project: Project) -> NamedObservation | None:
    """The YAML's observation; None where it has none.

    Raises:
        ConfigError: It has several.
    """
    known = project.config.problem.observations
    if len(known) > 1:
        raise ConfigError(
            f"names {len(known)} observations",
            where="problem.observations",
            todo=f"Choose one: --observation NAME, of {', '.join(known)}; or name a file.",
        )
    return next(iter(project.observations), None)


def choose_observation(
    project: Project,
    name: str | None,
    *,
    group_by: str = "",
    columns: Sequence[str] = (),
    context: Sequence[str] = (),
) -> NamedObservation | None:
    """What the command line asks for, as `sample.choose_observations`; None: the YAML's only one.

    Raises:
        ConfigError: None is named, and the YAML has several.
        DataError: There is no such observation, or an option is not NAME=VALUE.
    """
    if name is None:
        return only_observation(project)
    [chosen] = choose_observations(
        project, name, group_by=group_by, columns=columns, context=context
    )
    return chosen


def reference(
    project: Project,
    observation: NamedObservation | None,
    method: Any,
    reporter: Reporter,
    *,
    draws: int,
    seed: int,
) -> Referenced:
    """Draws from the posterior of an observation by a reference method.

    Args:
        project: With `log_likelihood`, `posterior` or `log_density` in its simulator file; trained
            where the method starts from that.
        observation: Its file, and how to read it; None for a file that is a density by itself.
        method: A part of the family `references`.
        reporter: Where progress goes.
        draws: Draws for each data set.
        seed: Root of all random numbers.

    Raises:
        ConfigError: The file lacks what the method needs, or a package is not installed.
        DataError: The observation does not fit, or no start has a finite density.
        RunError: The method starts from the amortized posterior, and nothing is trained.
    """
    check_installed(*method.packages, extra="reference", where=f"--method {method.kind}")
    with raise_on_signal():
        torch.set_num_threads(1)
        data, targets = _targets(project, observation, method, reporter)
        begun = time.perf_counter()
        found = []
        for i, target in enumerate(targets):
            path = _folder(project, method, data) / "parts" / f"{i:05d}.h5"
            identity = _identity(project, method, data, i, draws, seed)
            one = read_part(path, identity)
            if one is None:
                one = method.run(
                    target, draws, generator(seed, "reference", place(data.name), i), reporter
                )
                put_part(path, one, identity)
            found.append(one)
        seconds = time.perf_counter() - begun
        return _written(project, data, method, found, reporter, seed=seed, seconds=seconds)


def check_reference(found: Referenced) -> None:
    """The gate.

    Raises:
        GateFailed: A warning stands: the draws are not known to be of the posterior.
    """
    if found.warnings:
        raise GateFailed(
            f"{found.method} on {found.name}: {found.warnings[0]}"
            + f" (and {len(found.warnings) - 1} more)" * (len(found.warnings) > 1),
            where=found.folder,
            todo="Draw more, start elsewhere (--option warmup=..., start=..., thin=...), or take "
            "another --method; --no-gate lets it pass.",
        )


def _targets(
    project: Project,
    observation: NamedObservation | None,
    method: Any,
    reporter: Reporter,
) -> tuple[DataSets, list[Target]]:
    if observation is None:
        return DataSets("density", ("density",), {}, {}, {}), [density_target(project)]
    if is_density(project.source):
        raise ConfigError(
            "is a density by itself", where=project.source.path, todo="Leave out --observation."
        )
    shapes = {one: part.event for one, part in project.context.items()}
    data = observe(observation, _layout(project), shapes)
    posterior = _amortized(project, method, reporter)
    return data, [target_of(project, data.x, data.context, i, posterior) for i in range(len(data))]


def _folder(project: Project, method: Any, data: DataSets) -> Path:
    return project.run.reference(Path(method.kind).stem, data.name)


def _identity(
    project: Project, method: Any, data: DataSets, which: int, draws: int, seed: int
) -> str:
    """Of all that decides the draws of one data set: the network's weights too, where the method
    makes use of them."""
    one = {
        name: take(values, np.array([which]))[0].tolist() for name, values in data.variables.items()
    }
    weights = weights_hash(project.run) if method.uses_amortized else None
    facts = {
        "draws": draws,
        "seed": seed,
        "name": data.name,
        "data set": which,
        "likelihood": sha256(project.source.path.read_bytes()),
    }
    return stable_hash(
        {
            "data_hash": project.own_hash,
            "method": method.model_dump(mode="json"),
            "x": one,
            "weights": weights,
            **facts,
        }
    )


def _layout(project: Project) -> Layout:
    """What the simulator returns: as planned, or as a few simulations show."""
    seen = project.problem.layout
    return seen if seen is not None else try_simulator(project).layout


def _amortized(project: Project, method: Any, reporter: Reporter) -> Posterior | None:
    """The trained posterior where the method makes use of it."""
    if not method.uses_amortized:
        return None
    if not project.run.best.is_file():
        raise RunError(
            f"{method.kind} starts from the amortized posterior, and nothing is trained",
            where=project.run.path,
            todo="Run `sbiwb run` on the config first, or choose another start: --option "
            "start=prior (importance: proposal=prior).",
        )
    return posterior_of(project, reporter)


def _written(
    project: Project,
    data: DataSets,
    method: Any,
    found: Sequence[Reference],
    reporter: Reporter,
    *,
    seed: int,
    seconds: float,
) -> Referenced:
    folder = _folder(project, method, data)
    if not project.run.config.is_file():  # that of a trained run stays as it was trained
        write_config(project)
    theta = np.stack([one.theta for one in found])
    told, facts, warnings = [], {}, []
    for label, one in zip(data.labels, found, strict=True):
        judged = references.judge(one, project.prior.columns)
        chains = {
            key: values
            for key, values in (("rhat", judged.rhat), ("ess", judged.ess))
            if values is not None
        }
        by_column = {key: _by_column(project, values) for key, values in chains.items()}
        told.append(
            {
                "data_set": label,
                "facts": finite(one.facts),
                **by_column,
                "warnings": list(judged.warnings),
            }
        )
        facts[label] = {
            **one.facts,
            **{f"worst {key}": WORST[key](values) for key, values in chains.items()},
        }
        warnings += [
            f"{label}: {sentence}" if len(data) > 1 else sentence for sentence in judged.warnings
        ]
    draws = PosteriorDraws(data, theta, project.prior, project.derived.of(theta))
    rows = rows_of(draws)
    predicted, failed = simulate_posterior(project, data, theta, seed, reporter)
    about = {
        "run": project.run.name,
        "data_hash": project.own_hash,
        "method": method.kind,
        "seed": str(seed),
    }
    posterior_dir, constants = PosteriorDir(folder), project.config.problem.constants
    write_table(posterior_dir, draws, rows, warnings=[*warnings, *failed])
    omitted = write_draws(
        posterior_dir, draws, about=about, constants=constants, predicted=predicted
    )
    if omitted:
        reporter.say(f"{data.name}: {omitted}.")
    observables = ObservablePictures.of(project.source, project.config.model.inputs)
    PosteriorPictures(draws, rows, observables, predicted, PICTURES).write(folder)
    put_json(folder / "method.json", {"method": method.model_dump(mode="json"), "data_sets": told})
    _draw_method(project, data, found, folder)
    put_provenance(
        folder,
        seconds=seconds,
        facts={"data_hash": project.own_hash, "method": method.kind, "seed": seed},
    )
    for sentence in (*warnings, *failed):
        reporter.warn(f"{data.name}: {sentence}")
    return Referenced(data.name, method.kind, folder, tuple(rows), facts, tuple(warnings), seconds)


def _by_column(project: Project, values: np.ndarray) -> dict[str, Any]:
    """Numbers (D,) by column."""
    return finite(dict(zip(project.prior.columns, map(float, values), strict=True)))


def _draw_method(
    project: Project, data: DataSets, found: Sequence[Reference], folder: Path
) -> None:
    """Chains and curves of the first data sets."""
    for old in (*folder.glob("trace*.??g"), *folder.glob("curves*.??g")):
        old.unlink()
    for i, one in enumerate(found[:MOST_TRACES]):
        end = f"-{i}" if len(data) > 1 else ""
        if one.chains:
            put_picture(folder / f"trace{end}", references.plot_trace(one, project.prior.columns))
        if one.curves:
            put_picture(folder / f"curves{end}", references.plot_curves(one))
