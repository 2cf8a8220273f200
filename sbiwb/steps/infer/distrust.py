"""Sentences on why not to trust a posterior: data that no simulation resembles, draws outside the
prior."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.contracts import Distribution
from sbiwb.evidence import Value
from sbiwb.priors import Prior
from sbiwb.project.observe import DataSets

MAX_WARNINGS = 3
ALONE = "{}_p"  # name of the p-value of a data set in a space, by itself


@dataclass(frozen=True)
class SimulationGap:
    """How far the data lie from the simulations.

    Args:
        values: In the network's features and in statistics, by data set.
        spaces: Their names.
        unknown: Why nobody knows, in a sentence.
    """

    values: tuple[Value, ...] = ()
    spaces: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def odd(self) -> list[str]:
        """The data sets that are unlike all simulations."""
        return [value.parameter for value in self.values if value.warning]

    def alone(self, space: str, data_set: str) -> Value | None:
        """What is known of a data set in a space."""
        name = ALONE.format(space)
        found = (one for one in self.values if (one.name, one.parameter) == (name, data_set))
        return next(found, None)


def unlike_simulations(values: Sequence[Value]) -> list[str]:
    """One sentence on data sets that lie outside what was simulated."""
    odd = [value for value in values if value.warning]
    if not odd:
        return []
    worst = min(odd, key=lambda value: value.value or 0.0)
    return [
        f"{_which(odd)} unlike the simulations (p = {worst.value:.1g}; {worst.reason}): do not "
        "trust this posterior before you know why"
    ]


def _which(values: Iterable[Value]) -> str:
    labels = list(dict.fromkeys(value.parameter for value in values))
    if len(labels) == 1:
        return "the data are"
    return f"{len(labels)} data sets ({', '.join(labels[:MAX_WARNINGS])}, ...) are"


def at_most_a_few(sentences: Sequence[str]) -> list[str]:
    """One sentence where there are many: a vector far outside has one for each of its numbers."""
    if len(sentences) <= MAX_WARNINGS:
        return list(sentences)
    return [
        f"{len(sentences)} warnings of values that no simulation had: do not trust this posterior; "
        f"the first: {sentences[0]}"
    ]


def context_outside(context: Mapping[str, Distribution], data: DataSets) -> list[str]:
    """Context outside its simulated range, also where the network does not see it."""
    sentences = []
    for name, distribution in context.items():
        values = np.asarray(data.context[name], float).reshape(len(data), -1)
        low, high = distribution.support()
        if ((values < low) | (values > high)).any():
            sentences.append(
                f"context {name} = {values.min():g} to {values.max():g} lies outside the simulated "
                f"range [{low[0]:g}, {high[0]:g}]"
            )
    return sentences


def draws_outside(prior: Prior, theta: np.ndarray) -> list[str]:
    """Draws (N, S, D) outside the prior's support, a sentence a column."""
    shares = 1 - prior.inside(theta).mean(axis=(0, 1))
    sentences = []
    for column, share in zip(prior.columns, shares, strict=True):
        if share > 0:
            sentences.append(
                f"{share:.1%} of the draws of {column} lie outside the prior's support"
            )
    return sentences
