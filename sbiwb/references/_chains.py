r"""Markov chains: the options they share, how their draws are kept, and when they are not to be
trusted.

$\hat R$ is the larger of the rank-normalised split $\hat R$ and that of the folded draws, the
effective sample size that of the bulk (Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021,
https://doi.org/10.1214/20-BA1221). They advise against draws with $\hat R > 1.01$ or an effective
sample size below 400; above 1.05 we say outright that the chains have not converged.

Warning: $\hat R$ sees only what the chains visited: all of them in one mode of two look converged.
With short chains it is above 1.01 even for good draws, about $1 + (\tau - 1) / S$ for S draws a
chain with autocorrelation time $\tau$.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import Reference, ReferencePart, Reporter
from sbiwb.extras import imported
from sbiwb.families import Count
from sbiwb.references._start import Start

MIXED, CONVERGED = 1.01, 1.05  # R-hat
ENOUGH = 400  # effective draws
FEWEST = 4  # draws a chain that R-hat needs
MOST_NAMES = 6


class MarkovChain(ReferencePart):
    """Options that every Markov chain has."""

    packages: ClassVar[tuple[str, ...]] = ("arviz",)

    start: Start = Field(
        "prior",
        description="Where chains begin: at draws of the `prior` or of the `amortized` posterior, "
        "or around the `map`.",
    )
    thin: Count | None = Field(
        None,
        ge=1,
        description="Iterations for each draw that is kept; by default about the autocorrelation "
        "time.",
    )

    @property
    def uses_amortized(self) -> bool:
        return self.start == "amortized"


@dataclass(frozen=True)
class Judged:
    """What the chains of a reference say about themselves.

    Args:
        columns: D names.
        rhat: R-hat of each column, (D,); None where the draws are independent, NaN where it cannot
            be computed.
        ess: Effective draws of each column, (D,); None likewise.
        warnings: The method's own, then those of R-hat and the effective sample size.
    """

    columns: tuple[str, ...]
    rhat: np.ndarray | None
    ess: np.ndarray | None
    warnings: tuple[str, ...]


def judge(reference: Reference, columns: Sequence[str]) -> Judged:
    """R-hat and effective sample size of a reference's chains, and every reason not to trust
    them."""
    if not reference.chains:
        return Judged(tuple(columns), None, None, reference.warnings)
    draws = split(reference.theta, reference.chains)
    found, effective = rhat(draws), ess(draws)
    return Judged(
        tuple(columns),
        found,
        effective,
        (*reference.warnings, *warnings_of(columns, found, effective)),
    )


def shares(draws: int, chains: int) -> np.ndarray:
    """How many of `draws` draws each chain gives, (C,): they differ by at most one, the first
    chains give more."""
    return draws // chains + (np.arange(chains) < draws % chains)


def joined(draws: np.ndarray, total: int) -> np.ndarray:
    """The first draws of each chain, (C, S, D) to (total, D), chain by chain."""
    return np.concatenate(
        [chain[:share] for chain, share in zip(draws, shares(total, len(draws)), strict=True)]
    )


def split(theta: np.ndarray, chains: int) -> np.ndarray:
    """The way back: (total, D) to (C, S, D), without the last draw of chains that have one more
    than others."""
    parts = np.array_split(theta, chains)
    return np.stack([part[: len(parts[-1])] for part in parts])


def rhat(draws: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat of draws (C, S, D), (D,); NaN for one chain, fewer than 4 draws a
    chain, or draws that never move."""
    chains, length, d = draws.shape
    return _arviz("rhat", draws) if chains > 1 and length >= FEWEST else np.full(d, np.nan)


def ess(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of the bulk of draws (C, S, D), (D,); NaN for fewer than 4 draws a
    chain."""
    if draws.shape[1] < FEWEST:
        return np.full(draws.shape[2], np.nan)
    moved = np.ptp(draws, axis=(0, 1)) > 0
    return np.where(moved, _arviz("ess", draws, method="bulk"), np.nan)


def _arviz(function: str, draws: np.ndarray, **options: str) -> np.ndarray:
    import xarray

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # its import, and divisions by zero for draws that never move
        arviz = imported("arviz", extra="reference", where="R-hat of a reference method's chains")
        found = getattr(arviz, function)(
            xarray.Dataset({"theta": (("chain", "draw", "column"), draws)}), **options
        )
    return found["theta"].values


def warnings_of(columns: Sequence[str], rhat: np.ndarray, ess: np.ndarray) -> list[str]:
    """Sentences about R-hat (D,) and effective draws (D,) of the named columns; none where all is
    well."""
    bad = np.isnan(rhat) | np.isnan(ess)
    apart, slow, few = rhat > CONVERGED, (rhat > MIXED) & (rhat <= CONVERGED), ess < ENOUGH
    found = []
    if bad.any():
        names = _listed(columns, bad, np.zeros(len(columns)), "")
        found.append(
            f"R-hat cannot be judged for {names}: it needs two chains that move and {FEWEST} "
            "draws of each; ask for more draws"
        )
    if apart.any():
        names = _listed(columns, apart, rhat, ".3f")
        found.append(
            f"the chains have not converged: R-hat above {CONVERGED} for {names}; more warmup, "
            "another start or another method"
        )
    if slow.any():
        names = _listed(columns, slow, rhat, ".3f")
        found.append(
            f"the chains have hardly mixed: R-hat above {MIXED} for {names}; more warmup, more "
            "draws or a larger thin"
        )
    if few.any():
        names = _listed(columns, few, -ess, ".0f")
        found.append(
            f"fewer than {ENOUGH} effective draws for {names}; more draws or a larger thin"
        )
    return found


def _listed(columns: Sequence[str], chosen: np.ndarray, badness: np.ndarray, form: str) -> str:
    """`a (1.030), b (1.020)`: the worst of the chosen columns first, and how many more; an empty
    `form` leaves the numbers out."""
    places = np.flatnonzero(chosen)
    places = places[np.argsort(-badness[places], kind="stable")]
    said = [
        f"{columns[i]} ({abs(badness[i]):{form}})" if form else columns[i]
        for i in places[:MOST_NAMES]
    ]
    return ", ".join(said) + (
        f" and {len(places) - MOST_NAMES} more" if len(places) > MOST_NAMES else ""
    )


def acceptance_warning(acceptance: float, low: float, high: float, todo: str) -> tuple[str, ...]:
    """A sentence where the acceptance rate is outside of [low, high]."""
    if low <= acceptance <= high:
        return ()
    return (f"acceptance of {acceptance:.3f}, outside of {low} to {high}: {todo}",)


class ChainProgress:
    """Tells a reporter in strides: chains take many short steps."""

    def __init__(self, advance: Callable[[int], None], stride: int) -> None:
        self.advance, self.stride, self.waiting = advance, stride, 0

    def step(self, iterations: int = 1) -> None:
        self.waiting += iterations
        if self.waiting >= self.stride:
            self.flush()

    def flush(self) -> None:
        self.advance(self.waiting)
        self.waiting = 0


@contextmanager
def progress(reporter: Reporter, name: str, total: int) -> Iterator[ChainProgress]:
    """A progress line of `total` iterations, moved every hundredth part of them."""
    with reporter.task(name, total, unit="iterations") as ticker:
        line = ChainProgress(ticker.advance, max(1, total // 100))
        yield line
        line.flush()
