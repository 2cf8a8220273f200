"""The verb `sample`: the posterior of real observations, as draws, a table and pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sbiwb import report
from sbiwb.config.model import Observation
from sbiwb.contracts import Reporter
from sbiwb.diagnostics import family
from sbiwb.errors import CorruptFile, DataError, RunError
from sbiwb.evidence import Value
from sbiwb.files import read_json
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.observe import DataSets, NamedObservation, observe
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.target import refinement_targets
from sbiwb.project.trained import posterior_of
from sbiwb.report.saving import put_picture
from sbiwb.rundir import put_provenance
from sbiwb.seeds import generator, place
from sbiwb.simulation.layout import from_json
from sbiwb.steps.exact.refine import Outcome, Refined, refine, write_refined
from sbiwb.steps.infer.posterior_files import PosteriorDraws, rows_of, write
from sbiwb.steps.infer.posterior_predictive import predicted_of
from sbiwb.steps.judge.measure import summaries, weight_draws
from sbiwb.stopping import raise_on_signal

MOST_WARNINGS = 3
MISSPECIFICATION = "misspecification"
EPISTEMIC = "epistemic"


@dataclass(frozen=True)
class Sampled:
    """Posterior of one observation (one or many data sets).

    Args:
        name: The observation.
        folder: Where its files are.
        rows: The summary table.
        warnings: Sentences on data that no simulation resembles, and on draws outside the prior.
        seconds: Wall time of the amortized draws alone.
        refined: What became of each data set, where draws were to be repaired.
    """

    name: str
    folder: Path
    rows: tuple[report.Row, ...]
    warnings: tuple[str, ...]
    seconds: float
    refined: tuple[Refined, ...] = ()


def sample(
    project: Project,
    observations: Sequence[NamedObservation],
    reporter: Reporter,
    *,
    draws: int,
    seed: int,
    how: str | None = None,
) -> list[Sampled]:
    """Infers observations.

    Args:
        project: A trained run.
        observations: Their files, and how to read them.
        reporter: Where progress goes.
        draws: Posterior draws for each data set.
        seed: Root of the draws.
        how: What repairs the draws where they need it; None leaves them as the network gives them.

    Raises:
        ConfigError: Draws are to be repaired, and the simulator file has no `log_likelihood`.
        DataError: An observation does not fit the simulator.
        RunError: Nothing is trained yet, or there is nothing to infer.
    """
    if not observations:
        raise RunError(
            "names no observation",
            where="problem.observations",
            todo="Add one to the YAML, or name a file: sbiwb sample CONFIG data.csv",
        )
    with raise_on_signal():
        torch.set_num_threads(1)  # chunks of draws are what shares the cores
        posterior = posterior_of(project, reporter)
        layout = from_json(_plan(project)["layout"])
        shapes = {name: one.event for name, one in project.context.items()}
        found = [observe(observation, layout, shapes) for observation in observations]
        return [_sample_one(project, posterior, data, reporter, draws, seed, how) for data in found]


def named_observations(project: Project, name: str | None) -> list[NamedObservation]:
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
    return [one for one in project.observations if name in (None, one.name)]


def choose_observations(
    project: Project,
    name: str | None,
    *,
    group_by: str = "",
    columns: Sequence[str] = (),
    context: Sequence[str] = (),
) -> list[NamedObservation]:
    """What the command line asks for.

    Args:
        project: The run.
        name: An observation of the YAML, or a file; None: all observations of the YAML.
        group_by: Of a file: columns whose values part the rows into data sets, with commas.
        columns: Of a file: VARIABLE=COLUMN.
        context: Of a file: NAME=VALUE.

    Raises:
        DataError: There is no such observation, or an option is not NAME=VALUE.
    """
    if name is None or name in project.config.problem.observations or not Path(name).suffix:
        return named_observations(project, name)
    return [from_file(Path(name), group_by=group_by, columns=columns, context=context)]


def _plan(project: Project) -> dict[str, Any]:
    path = project.data_run.plan
    if not path.is_file():
        raise RunError(
            "nothing is simulated yet",
            where=project.data_run.path,
            todo="Run `sbiwb run` on the config first.",
        )
    return read_json(path)


def _sample_one(
    project: Project,
    posterior: Posterior,
    data: DataSets,
    reporter: Reporter,
    draws: int,
    seed: int,
    how: str | None,
) -> Sampled:
    start = time.perf_counter()
    theta = posterior.sample(data.variables, draws, generator(seed, "sample", place(data.name)))
    seconds = time.perf_counter() - start
    unlike, untold = _misfit(project, posterior, data)
    repaired: list[Refined] = []
    if how is not None:
        odd = [one.parameter for one in unlike if one.warning]
        targets = refinement_targets(project, posterior, data, theta)
        theta, repaired = refine(targets, data, theta, how, reporter, unlike=odd, seed=seed)
    warnings = [
        *untold,
        *_few(posterior.ood_warnings(data.variables)),
        *_outside_context(project, data),
        *_unlike(unlike),
        *_leaked(project, theta),
        *(f"{one.data_set}: {one.reason}" for one in repaired if one.verdict == Outcome.LEFT),
    ]
    drawn = PosteriorDraws(data, theta, posterior.theta_map.circular, posterior.theta_map.levels)
    rows = rows_of(project, drawn)
    shares = _epistemic(posterior, data, seed)
    if shares is not None:
        rows = [
            replace(row, epistemic=_share(shares, posterior.columns, data, row)) for row in rows
        ]
    predicted, told = predicted_of(project, data, theta, seed, reporter)
    warnings += told
    folder = project.run.sample(data.name)
    about = {
        "run": project.run.name,
        "data_hash": project.data_hash,
        "weights": weights_hash(project.run),
        "seed": str(seed),
    }
    write(
        project,
        drawn,
        rows,
        folder,
        reporter,
        about=about,
        warnings=warnings,
        unlike=unlike,
        predicted=predicted,
    )
    (folder / "refined.json").unlink(missing_ok=True)
    if how is not None:
        write_refined(folder, repaired, how)
    if shares is not None:
        by_column = dict(zip(posterior.columns, shares.T, strict=True))
        put_picture(
            folder / "epistemic",
            report.shares_picture(data.labels, by_column, _usual_shares(project)),
        )
    facts = {
        "weights": weights_hash(project.run),
        "data_hash": project.data_hash,
        "seed": seed,
        "draws": draws,
        "draw_seconds": seconds,
    }
    put_provenance(folder, seconds=time.perf_counter() - start, facts=facts)
    for warning in warnings:
        reporter.warn(f"{data.name}: {warning}")
    for note in data.notes:
        reporter.say(f"{data.name}: {note}.")
    return Sampled(data.name, folder, tuple(rows), tuple(warnings), seconds, tuple(repaired))


def _epistemic(posterior: Posterior, data: DataSets, seed: int) -> np.ndarray | None:
    """Share of each data set's posterior variance that comes from uncertain weights, (N, D); None where there is one set of them."""
    if len(posterior.networks) == 1:
        return None
    return family.module(EPISTEMIC).shares(
        weight_draws(posterior, data.variables, generator(seed, "components", place(data.name)))
    )


def _share(
    shares: np.ndarray, columns: Sequence[str], data: DataSets, row: report.Row
) -> float | None:
    """Of one row of the table; derived quantities have none."""
    if row.name not in columns:
        return None
    share = shares[data.labels.index(row.data_set), list(columns).index(row.name)]
    return max(0.0, float(share)) if np.isfinite(share) else None


def _usual_shares(project: Project) -> dict[str, np.ndarray]:
    """What `diagnose` found over the test pairs for these weights, 5, 50 and 95 %, by parameter."""
    path = project.run.diagnose / "provenance.json"
    if (
        not project.run.numbers.is_file()
        or not path.is_file()
        or read_json(path).get("weights") != weights_hash(project.run)
    ):
        return {}
    return {
        name: np.array(found)
        for name, found in read_json(project.run.numbers).get("epistemic_quantiles", {}).items()
    }


def _misfit(
    project: Project, posterior: Posterior, data: DataSets
) -> tuple[tuple[Value, ...], list[str]]:
    """Repair far each data set lies from the simulations, in the network's features and in statistics; or why nobody knows."""
    try:
        test = load_split(project, "test")
        seen = summaries(project, posterior, [data], test)
    except (RunError, CorruptFile) as error:
        return (), [f"not compared with the simulations: {error.where} {error.what}"]
    check = next(
        (one for one in project.config.diagnose.checks if one.kind == MISSPECIFICATION),
        family.parse(MISSPECIFICATION),
    )
    return tuple(family.module(MISSPECIFICATION).compute(seen, check).values), []


def _unlike(found: Sequence[Value]) -> list[str]:
    """One sentence on data sets that lie outside what was simulated."""
    odd = [one for one in found if one.warning]
    if not odd:
        return []
    worst = min(odd, key=lambda one: one.value or 0.0)
    labels = list(dict.fromkeys(one.parameter for one in odd))
    which = (
        "the data are"
        if len(labels) == 1
        else f"{len(labels)} data sets ({', '.join(labels[:MOST_WARNINGS])}, ...) are"
    )
    return [
        f"{which} unlike the simulations (p = {worst.value:.1g}; {worst.reason}): do not trust this posterior before you know why"
    ]


def _few(sentences: list[str]) -> list[str]:
    """One sentence where there are many: a vector far outside has one for each of its numbers."""
    if len(sentences) <= MOST_WARNINGS:
        return sentences
    return [
        f"{len(sentences)} warnings of values that no simulation had: do not trust this posterior; the first: {sentences[0]}"
    ]


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


def from_file(
    path: Path, *, group_by: str, columns: Sequence[str], context: Sequence[str]
) -> NamedObservation:
    """An observation named on the command line.

    Raises:
        DataError: An option is not NAME=VALUE.
    """
    return NamedObservation(
        path.stem,
        Observation.model_validate(
            {
                "file": str(path),
                "group_by": [name.strip() for name in group_by.split(",") if name.strip()],
                "columns": dict(_pair("--column", one) for one in columns),
                "context": dict(_number_or_column(*_pair("--context", one)) for one in context),
            }
        ),
        Path(),
    )


def context_values(context: Sequence[str]) -> dict[str, float]:
    """`NAME=NUMBER` of the command line.

    Raises:
        DataError: One is not that.
    """
    return {
        name: _value(name, value) for name, value in (_pair("--context", one) for one in context)
    }


def _number_or_column(name: str, text: str) -> tuple[str, float | str]:
    """A context variable of the command line: its number, its column, or `rows`."""
    try:
        return name, float(text)
    except ValueError:
        return name, text


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise DataError(
            "is not NAME=VALUE", where=f"{option} {text}", todo=f"For example {option} x=column"
        )
    return name, value


def _value(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(
            f"'{text}' is no number", where=f"--context {name}", todo="Give a number."
        ) from error
