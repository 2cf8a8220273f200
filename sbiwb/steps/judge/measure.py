"""What evidence is made of: summaries of data sets, and draws under each network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.diagnostics import moments, statistics
from sbiwb.evidence import FeatureSpace, LC2STData, Summaries, WeightDraws
from sbiwb.posterior import Posterior
from sbiwb.project.observe import DataSets
from sbiwb.records import Columns, Pairs, Variable, join, take

MAX_TRAINING_SIMULATIONS = 4_000  # that stand for all where data sets are compared with them
WEIGHT_PAIRS = 500  # test pairs under each network of a mixture
DRAWS_OF_NETWORK = 200  # of each data set under each network


def weight_draws(posterior: Posterior, x: Columns, rng: np.random.Generator) -> WeightDraws:
    """Mean and variance of the posterior of N data sets under each of its networks."""
    means, variances = [], []
    for draws in posterior.sample_each(x, DRAWS_OF_NETWORK, rng):
        mean, variance = moments(draws)
        means.append(mean)
        variances.append(variance)
    mean, variance = np.stack(means, axis=1), np.stack(variances, axis=1)
    shares = np.asarray(posterior.shares)
    return WeightDraws(posterior.columns, mean, variance, DRAWS_OF_NETWORK, shares)


def numbers(x: Columns, context: Columns, missing: Collection[str]) -> np.ndarray:
    """Data sets as statistics and context, (N, K).

    Args:
        x: Observables.
        context: Design variables.
        missing: Observables that may have missing values.
    """
    _, stats = statistics(x, missing)
    columns = [np.asarray(values, float).reshape(len(stats), -1) for values in context.values()]
    return np.hstack([stats, *columns])


@dataclass(frozen=True)
class JoinedObservations:
    """The data sets of several observations, end to end.

    Args:
        labels: Of M data sets.
        groups: The observation that each belongs to, M names.
        variables: Observables and context by name, M rows each; empty where M is 0.
    """

    labels: tuple[str, ...]
    groups: tuple[str, ...]
    variables: Columns

    @classmethod
    def of(cls, observations: Sequence[DataSets]) -> JoinedObservations:
        """All of them, in order."""
        labels: list[str] = []
        groups: list[str] = []
        parts: dict[str, list[Variable]] = {}
        for data in observations:
            labels += data.labels
            groups += [data.name] * len(data.labels)
            for name, values in data.variables.items():
                parts.setdefault(name, []).append(values)
        variables = {name: join(values) for name, values in parts.items()}
        return cls(tuple(labels), tuple(groups), variables)

    def take(self, rows: np.ndarray) -> JoinedObservations:
        """The data sets at `rows`."""
        labels = tuple(np.array(self.labels)[rows].tolist())
        groups = tuple(np.array(self.groups)[rows].tolist())
        variables = {name: take(values, rows) for name, values in self.variables.items()}
        return JoinedObservations(labels, groups, variables)

    def columns(self, names: Iterable[str]) -> Columns:
        """Some variables, in this order; none where there are no data."""
        if not self.variables:
            return {}
        return {name: self.variables[name] for name in names}


@dataclass(frozen=True)
class CalibrationPairs:
    """Pairs that classifiers learn from.

    Args:
        variables: Observables and context, N rows each.
        truth: What generated them, (N, D).
        draws: One posterior draw of each, (N, D).
    """

    variables: Columns
    truth: np.ndarray
    draws: np.ndarray


def local_evidence(
    posterior: Posterior,
    pairs: CalibrationPairs,
    data: JoinedObservations,
    observed_draws: np.ndarray,
    seed: int,
) -> LC2STData:
    """What judges a posterior at single data sets.

    Args:
        posterior: Whose features and unconstrained theta are seen.
        pairs: That classifiers learn from.
        data: M real data sets.
        observed_draws: Their posterior draws, (M, S, D).
        seed: Root of the classifiers.
    """
    forward = posterior.theta_map.forward
    flat = observed_draws.reshape(-1, observed_draws.shape[-1])
    return LC2STData(
        names=posterior.columns,
        z=forward(pairs.truth),
        draws=forward(pairs.draws),
        x=posterior.features(pairs.variables),
        labels=data.labels,
        observed_x=posterior.features(data.variables),
        observed_draws=forward(flat).reshape(observed_draws.shape),
        seed=seed,
    )


@dataclass(frozen=True)
class SummarySpaces:
    """Data sets as the network's features, and as statistics of the observables.

    Args:
        posterior: Whose features.
        missing: Observables that may have missing values.
        seed: Root of whatever is drawn at random.
    """

    posterior: Posterior
    missing: Collection[str]
    seed: int

    def summaries(self, train: Pairs, test: Pairs, observations: Sequence[DataSets]) -> Summaries:
        """Simulations and real data in both spaces.

        Args:
            train: Training simulations, some of them.
            test: Simulations that no training saw.
            observations: Real data.
        """
        data = JoinedObservations.of(observations)
        sets = [
            (train.x, train.context),
            (test.x, test.context),
            (data.columns(train.x), data.columns(train.context)),
        ]
        spaces = {"statistics": self._statistics(sets), "network": self._features(sets)}
        return Summaries(data.labels, data.groups, spaces, self.seed)

    def _statistics(self, sets: Sequence[tuple[Columns, Columns]]) -> FeatureSpace:
        names, _ = statistics(sets[0][0], self.missing)
        features = [np.zeros((0, len(names)))] * len(sets)
        for place, (x, _) in enumerate(sets):
            if x:
                features[place] = statistics(x, self.missing)[1]
        return FeatureSpace(names, *features)

    def _features(self, sets: Sequence[tuple[Columns, Columns]]) -> FeatureSpace:
        features = [self.posterior.features({**x, **context}) for x, context in sets if x]
        width = features[0].shape[1]
        features += [np.zeros((0, width))] * (len(sets) - len(features))  # no real data
        return FeatureSpace(tuple(f"feature {k}" for k in range(width)), *features)
