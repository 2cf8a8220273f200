"""Strata of test pairs: by context, by an observable's size, or by what the posterior says.

An exact posterior is calibrated within every set of data sets that is chosen by the data or by
known design variables alone, so every calibration check holds within such a stratum. It is not
calibrated among pairs chosen by their true parameter: the posterior shrinks towards the prior, and
rightly so. Strata of a parameter are therefore those of its posterior median, taken over the draws
*and* the truth: truth and draws of an exact posterior are alike, so a choice that treats them alike
leaves the ranks uniform. The median of the draws alone does not: a pair whose draws happen to lie
high has a low rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.errors import ConfigError
from sbiwb.evidence import Draws

MIN_PAIRS = 50  # test pairs worth a verdict of their own
PAIRS_AT_ONCE = 64  # of draws that may be on disk
LABEL_DIGITS = range(3, 18)


@dataclass(frozen=True)
class Stratum:
    """Some of the test pairs.

    Args:
        by: The variable.
        label: Which of its values, in words.
        rows: The pairs, (n,).
    """

    by: str
    label: str
    rows: np.ndarray


@dataclass(frozen=True)
class PartingVariable:
    """What the pairs are parted by.

    Args:
        name: The variable.
        values: Of each pair, (N,).
        words: How the values are called.
    """

    name: str
    values: np.ndarray
    words: str


def strata(draws: Draws, by: Sequence[str] | str, count: int) -> tuple[list[Stratum], list[str]]:
    """All strata that are large enough for a verdict, and sentences on those that are not.

    Args:
        draws: Of the test pairs.
        by: Names of context variables, observables or parameters; `auto`: every context variable,
            and every size that varies.
        count: Strata of each; a variable with no more values than that has one for each value.

    Raises:
        ConfigError: A name that is none of these.
    """
    names = by
    if by == "auto":
        names = _automatic(draws)
    large, small = [], []
    for name in names:
        for stratum in _strata_of(_variable(draws, name), count):
            if len(stratum.rows) >= MIN_PAIRS:
                large.append(stratum)
            else:
                pairs = f"{len(stratum.rows)} test pairs"
                small.append(f"{stratum.label}: {pairs} are too few for a verdict of their own")
    return large, small


def _automatic(draws: Draws) -> list[str]:
    """Context variables, then sizes, each ordering of the pairs once.

    A number of trials is often the size of an observable too.
    """
    by_order: dict[bytes, str] = {}
    for name in (*draws.context, *draws.sizes):
        _, order = np.unique(_variable(draws, name).values, return_inverse=True)
        by_order.setdefault(order.tobytes(), name)
    return list(by_order.values())


def _variable(draws: Draws, name: str) -> PartingVariable:
    """The variable of this name."""
    if name in draws.context:
        return PartingVariable(name, np.asarray(draws.context[name], float), name)
    if name in draws.sizes:
        return PartingVariable(name, np.asarray(draws.sizes[name], float), f"size of {name}")
    if name in draws.names:
        return PartingVariable(name, _medians(draws, draws.names.index(name)), f"median of {name}")
    raise ConfigError(
        f"diagnose.by  '{name}' parts no test pairs",
        todo=f"There are: {', '.join([*draws.context, *draws.sizes, *draws.names])}.",
    )


def _medians(draws: Draws, column: int) -> np.ndarray:
    """Median of the draws and the truth together, (N,)."""
    medians = np.empty(draws.n)
    for start in range(0, draws.n, PAIRS_AT_ONCE):
        rows = slice(start, start + PAIRS_AT_ONCE)
        pooled = np.column_stack([draws.theta[rows, column], draws.draws[rows][..., column]])
        medians[rows] = np.median(pooled, axis=1)
    return medians


def _strata_of(variable: PartingVariable, count: int) -> Iterator[Stratum]:
    """Strata of one variable: fewer where they would be too small, all of them told."""
    parts = _parts(variable.values, count)
    labels = _labels(variable.words, variable.values, parts)
    for label, part in zip(labels, parts, strict=True):
        yield Stratum(variable.name, label, np.flatnonzero(part))


def _parts(values: np.ndarray, count: int) -> list[np.ndarray]:
    """Which pairs are in each part, (N,) each; none where all values are the same."""
    distinct = np.unique(values)
    if len(distinct) < 2:
        return []
    count = max(2, min(count, len(values) // MIN_PAIRS))
    if len(distinct) <= count:
        return list(values == distinct[:, None])
    levels = np.linspace(0, 1, count + 1)
    edges = np.unique(np.quantile(values, levels, method="inverted_cdf"))
    place = np.clip(np.searchsorted(edges, values, side="left"), 1, len(edges) - 1)
    return list(place == np.arange(1, len(edges))[:, None])


def _labels(words: str, values: np.ndarray, parts: Sequence[np.ndarray]) -> list[str]:
    """A label for each part, with as many digits as it takes to tell them apart."""
    labels: list[str] = []
    for digits in LABEL_DIGITS:
        labels = [_label(words, values[part], digits) for part in parts]
        if len(set(labels)) == len(labels):
            break
    return labels


def _label(words: str, values: np.ndarray, digits: int) -> str:
    low, high = values.min(), values.max()
    if high > low:
        return f"{words} {low:.{digits}g} to {high:.{digits}g}"
    return f"{words} {low:.{digits}g}"
