"""Posterior draws of data sets, whoever drew them, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sbiwb import report
from sbiwb.priors import Prior
from sbiwb.project.observe import DataSets
from sbiwb.seeds import generator

PRIOR_DRAWS = 20_000


@dataclass(frozen=True)
class PosteriorDraws:
    """Posterior draws of N data sets.

    Args:
        data: The data sets.
        theta: Draws in the user's units, (N, S, D).
        prior: Of theta.
        quantities: Parameters, and what the simulator file derives from them, by name, (N, S) or
            (N, S, K).
        circular: Places of the columns that are angles.
        levels: The values that each discrete column can have.
    """

    data: DataSets
    theta: np.ndarray
    prior: Prior
    quantities: Mapping[str, np.ndarray]
    circular: Sequence[int] = ()
    levels: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @cached_property
    def prior_draws(self) -> np.ndarray | None:
        """Draws of the prior, (M, D), the same for all data; None where only bounds are known."""
        if self.prior.joint and self.prior.sampler is None:
            return None
        return self.prior.stack(self.prior.sample(generator(0, "preflight"), PRIOR_DRAWS))

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {name: self.quantities[name] for name in self.prior.names}

    @property
    def derived(self) -> dict[str, np.ndarray]:
        derived = dict(self.quantities)
        for name in self.prior.names:
            del derived[name]
        return derived

    @property
    def level_names(self) -> dict[str, dict[float, str]]:
        """What the values of each discrete column are called."""
        names: dict[str, dict[float, str]] = {}
        for column, values in self.levels.items():
            part = self.prior.distributions[column.partition("[")[0]]
            names[column] = dict(zip(values, map(part.level_name, values), strict=True))
        return names

    def label(self, column: str) -> str:
        """A column with its unit."""
        unit = self.prior.units.get(column.partition("[")[0], "")
        if not unit:
            return column
        return f"{column} ({unit})"


def rows_of(draws: PosteriorDraws) -> list[report.Row]:
    """The summary table: a row for each data set and quantity."""
    columns = report.flat(draws.quantities)
    columns |= _unwrapped(draws, columns)
    moments = _prior_moments(draws)
    rows = []
    for i, label in enumerate(draws.data.labels):
        mine = {name: values[i] for name, values in columns.items()}
        rows += report.summarise(label, mine, moments, draws.level_names)
    return rows


def _prior_moments(draws: PosteriorDraws) -> dict[str, report.Moments]:
    if draws.prior_draws is None:
        return {}
    prior = draws.prior
    return report.moments(prior.columns, draws.prior_draws, prior.variance())


def _unwrapped(draws: PosteriorDraws, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Draws (N, S) of each angle, moved by whole turns to within half a turn of their circular
    mean: 359 and 1 degrees have the mean 0."""
    low, high = draws.prior.support()
    names = draws.prior.columns
    unwrapped = {}
    for i in draws.circular:
        unwrapped[names[i]] = _unwrap(columns[names[i]], low[i], high[i] - low[i])
    return unwrapped


def _unwrap(angles: np.ndarray, low: float, period: float) -> np.ndarray:
    turns = (angles - low) / period
    centre = np.angle(np.exp(2j * np.pi * turns).mean(1, keepdims=True)) / (2 * np.pi)
    return low + period * (centre % 1 + (turns - centre + 0.5) % 1 - 0.5)
