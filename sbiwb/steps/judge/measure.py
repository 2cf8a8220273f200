"""What evidence is made of: observations, their summaries, and draws under each network."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from sbiwb.contracts import Reporter
from sbiwb.diagnostics import moments, statistics
from sbiwb.errors import DataError
from sbiwb.evidence import FeatureSpace, Summaries, WeightDraws
from sbiwb.posterior import Posterior
from sbiwb.project.observe import DataSets, observe
from sbiwb.project.plan import read_plan
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.records import Columns, Pairs, join

MOST_TRAINING = (
    4_000  # simulations that stand for the training set where data sets are compared with it
)


WEIGHED, EACH = 500, 200  # test pairs under each network of a mixture, and draws of each


def weight_draws(posterior: Posterior, x: Columns, rng: np.random.Generator) -> WeightDraws:
    """Mean and variance of the posterior of N data sets under each of its networks."""
    found = [moments(draws) for draws in posterior.sample_each(x, EACH, rng)]
    mean, variance = (np.stack(parts, axis=1) for parts in zip(*found, strict=True))
    return WeightDraws(posterior.columns, mean, variance, EACH, np.asarray(posterior.shares))


def observed(project: Project, reporter: Reporter) -> list[DataSets]:
    """Every observation of the YAML that can be read."""
    layout = read_plan(project.data_run).layout
    shapes = {name: one.event for name, one in project.context.items()}
    found = []
    for observation in project.observations:
        try:
            found.append(observe(observation, layout, shapes))
        except DataError as error:
            reporter.warn(f"observation {observation.name} is left out: {error.where} {error.what}")
    return found


def numbers(x: Columns, context: Columns, missing: Collection[str]) -> np.ndarray:
    """Data sets as statistics and context, (N, K); `missing` names the observables that may have missing values."""
    _, found = statistics(x, missing)
    return np.hstack(
        [found, *(np.asarray(values, float).reshape(len(found), -1) for values in context.values())]
    )


def summaries(
    project: Project, posterior: Posterior, observations: list[DataSets], test: Pairs
) -> Summaries:
    """Simulations and real data as the network's features, and as statistics of the observables."""
    train = load_split(project, "train", most=MOST_TRAINING)
    labels = tuple(label for one in observations for label in one.labels)
    groups = tuple(one.name for one in observations for _ in one.labels)
    real = (
        {name: join([one.x[name] for one in observations]) for name in train.x}
        if observations
        else {}
    )
    context = (
        {
            name: np.concatenate([one.context[name] for one in observations])
            for name in train.context
        }
        if observations
        else {}
    )
    sets = [(train.x, train.context), (test.x, test.context), (real, context)]
    missing = project.config.problem.missing
    names, _ = statistics(train.x, missing)
    known = [statistics(x, missing)[1] if x else np.zeros((0, len(names))) for x, _ in sets]
    seen = [posterior.features({**x, **extra}) if x else None for x, extra in sets]
    width = 0 if seen[0] is None else seen[0].shape[1]
    learned = [np.zeros((0, width)) if one is None else one for one in seen]
    return Summaries(
        labels,
        groups,
        {
            "statistics": FeatureSpace(names, *known),
            "network": FeatureSpace(tuple(f"feature {k}" for k in range(width)), *learned),
        },
        project.config.diagnose.seed,
    )
