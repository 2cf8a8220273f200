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
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import Reference, ReferencePart, Reporter
from sbiwb.extras import imported
from sbiwb.families import Count
from sbiwb.references._start import Start

RHAT_OK = 1.01
RHAT_NOT_CONVERGED = 1.05
MIN_ESS = 400
MIN_CHAIN_LENGTH = 4  # that R-hat needs
MAX_NAMES = 6


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
    ratio, effective = rhat(draws), ess(draws)
    doubts = (*reference.warnings, *warnings_of(columns, ratio, effective))
    return Judged(tuple(columns), ratio, effective, doubts)


def shares(draws: int, chains: int) -> np.ndarray:
    """How many of `draws` draws each chain gives, (C,): they differ by at most one, the first
    chains give more."""
    return draws // chains + (np.arange(chains) < draws % chains)


def joined(draws: np.ndarray, total: int) -> np.ndarray:
    """The first draws of each chain, (C, S, D) to (total, D), chain by chain."""
    lengths = shares(total, len(draws))
    return np.concatenate([chain[:n] for chain, n in zip(draws, lengths, strict=True)])


def split(theta: np.ndarray, chains: int) -> np.ndarray:
    """The way back: (total, D) to (C, S, D), without the last draw of chains that have one more
    than others."""
    parts = np.array_split(theta, chains)
    return np.stack([part[: len(parts[-1])] for part in parts])


def rhat(draws: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat of draws (C, S, D), (D,).

    NaN for one chain, fewer than 4 draws a chain, or draws that never move.
    """
    chains, length, columns = draws.shape
    if chains == 1 or length < MIN_CHAIN_LENGTH:
        return np.full(columns, np.nan)
    return _arviz("rhat", draws)


def ess(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of the bulk of draws (C, S, D), (D,).

    NaN for fewer than 4 draws a chain, or draws that never move.
    """
    if draws.shape[1] < MIN_CHAIN_LENGTH:
        return np.full(draws.shape[2], np.nan)
    moved = np.ptp(draws, axis=(0, 1)) > 0
    return np.where(moved, _arviz("ess", draws, method="bulk"), np.nan)


def _arviz(function: str, draws: np.ndarray, **options: str) -> np.ndarray:
    import xarray

    with warnings.catch_warnings():
        # its import warns, and so do divisions by zero for draws that never move
        warnings.simplefilter("ignore")
        arviz = imported("arviz", extra="reference", where="R-hat of a reference method's chains")
        data = xarray.Dataset({"theta": (("chain", "draw", "column"), draws)})
        return getattr(arviz, function)(data, **options)["theta"].values


def warnings_of(columns: Sequence[str], rhat: np.ndarray, ess: np.ndarray) -> list[str]:
    """Sentences about R-hat (D,) and effective draws (D,) of the named columns.

    None where all is well.
    """
    unknown = np.isnan(rhat) | np.isnan(ess)
    said = ColumnWarnings(tuple(columns))
    said.add(
        unknown,
        "R-hat cannot be judged for {names}: it needs two chains that move and "
        f"{MIN_CHAIN_LENGTH} draws of each; ask for more draws",
    )
    said.add(
        rhat > RHAT_NOT_CONVERGED,
        f"the chains have not converged: R-hat above {RHAT_NOT_CONVERGED} for {{names}}; "
        "more warmup, another start or another method",
        rhat,
        ".3f",
    )
    said.add(
        (rhat > RHAT_OK) & (rhat <= RHAT_NOT_CONVERGED),
        f"the chains have hardly mixed: R-hat above {RHAT_OK} for {{names}}; "
        "more warmup, more draws or a larger thin",
        rhat,
        ".3f",
    )
    said.add(
        ess < MIN_ESS,
        f"fewer than {MIN_ESS} effective draws for {{names}}; more draws or a larger thin",
        -ess,
        ".0f",
    )
    return said.sentences


@dataclass
class ColumnWarnings:
    """Sentences on some of the columns."""

    columns: tuple[str, ...]
    sentences: list[str] = field(default_factory=list)

    def add(
        self,
        concerned: np.ndarray,
        sentence: str,
        badness: np.ndarray | None = None,
        form: str = "",
    ) -> None:
        """A sentence with `{names}`, where any column is concerned.

        Args:
            concerned: Which columns, (D,).
            sentence: What to say.
            badness: The worst is named first, with this number, (D,).
            form: Of the number; empty: it is left out.
        """
        if not concerned.any():
            return
        if badness is None:
            badness = np.zeros(len(self.columns))
        names = self._names(np.flatnonzero(concerned), badness, form)
        self.sentences.append(sentence.format(names=names))

    def _names(self, places: np.ndarray, badness: np.ndarray, form: str) -> str:
        """`a (1.030), b (1.020) and 3 more`."""
        worst_first = places[np.argsort(-badness[places], kind="stable")]
        names = []
        for place in worst_first[:MAX_NAMES]:
            number = f" ({abs(badness[place]):{form}})" if form else ""
            names.append(self.columns[place] + number)
        more = len(places) - MAX_NAMES
        return ", ".join(names) + (f" and {more} more" if more > 0 else "")


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
