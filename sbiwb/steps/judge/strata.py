"""Strata of test pairs: by context, by the size of an observable, or by what the posterior says of a parameter.

An exact posterior is calibrated within every set of data sets that is chosen by the data or by known design variables alone, so
every calibration check holds within such a stratum. It is not calibrated among pairs chosen by their true parameter: the posterior
shrinks towards the prior, and rightly so. Strata of a parameter are therefore those of its posterior median, taken over the draws *and*
the truth: truth and draws of an exact posterior are alike, so a choice that treats them alike leaves the ranks uniform. The median of the
draws alone does not: a pair whose draws happen to lie high has a low rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sbiwb.errors import ConfigError
from sbiwb.evidence import Draws

FEWEST = 50  # test pairs worth a verdict of their own


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


def strata(draws: Draws, by: list[str] | str, count: int) -> tuple[list[Stratum], list[str]]:
    """All strata that are large enough for a verdict, and sentences on those that are not.

    Args:
        draws: Of the test pairs.
        by: Names of context variables, observables or parameters; `auto`: every context variable, and every size that varies.
        count: Strata of each; a variable with no more values than that has one for each value.

    Raises:
        ConfigError: A name that is none of these.
    """
    names = _automatic(draws) if by == "auto" else list(by)
    found = [stratum for name in names for stratum in _of(name, *_values(draws, name), count)]
    small = [
        f"{one.label}: {len(one.rows)} test pairs are too few for a verdict of their own"
        for one in found
        if len(one.rows) < FEWEST
    ]
    return [one for one in found if len(one.rows) >= FEWEST], small


def _automatic(draws: Draws) -> list[str]:
    """Context variables, then sizes, each ordering of the pairs once: a number of trials is often the size of an observable too."""
    seen: set[bytes] = set()
    names = []
    for name in (*draws.context, *draws.sizes):
        order = np.unique(_values(draws, name)[0], return_inverse=True)[1].tobytes()
        names += [] if order in seen else [name]
        seen.add(order)
    return names


def _values(draws: Draws, name: str) -> tuple[np.ndarray, str]:
    """What the pairs are parted by, (N,), and how it is called."""
    if name in draws.context:
        return np.asarray(draws.context[name], float), name
    if name in draws.sizes:
        return np.asarray(draws.sizes[name], float), f"size of {name}"
    if name in draws.names:
        column = draws.names.index(name)
        return _medians(draws, column), f"median of {name}"
    known = [*draws.context, *draws.sizes, *draws.names]
    raise ConfigError(
        f"diagnose.by  '{name}' parts no test pairs", todo=f"There are: {', '.join(known)}."
    )


def _medians(draws: Draws, column: int) -> np.ndarray:
    """Median of the draws and the truth together, (N,)."""
    found = np.empty(draws.n)
    for start in range(0, draws.n, 64):
        rows = slice(start, start + 64)
        pooled = np.column_stack([draws.theta[rows, column], draws.draws[rows][..., column]])
        found[rows] = np.median(pooled, axis=1)
    return found


def _of(name: str, values: np.ndarray, called: str, count: int) -> Iterator[Stratum]:
    """Strata of one variable: fewer where they would be too small, all of them told."""
    distinct = np.unique(values)
    if len(distinct) < 2:
        return
    count = max(2, min(count, len(values) // FEWEST))
    if len(distinct) <= count:
        parts = [values == value for value in distinct]
    else:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1), method="inverted_cdf"))
        place = np.clip(np.searchsorted(edges, values, side="left"), 1, len(edges) - 1)
        parts = [place == k for k in range(1, len(edges))]
    for label, inside in zip(
        _labels(called, [values[inside] for inside in parts]), parts, strict=True
    ):
        yield Stratum(name, label, np.flatnonzero(inside))


def _labels(called: str, parts: list[np.ndarray]) -> list[str]:
    """A label for each part, with as many digits as it takes to tell them apart."""
    for digits in range(3, 18):
        labels = [
            f"{called} {low:.{digits}g}" + f" to {high:.{digits}g}" * bool(high > low)
            for low, high in ((p.min(), p.max()) for p in parts)
        ]
        if len(set(labels)) == len(labels):
            break
    return labels
