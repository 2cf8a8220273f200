"""What the campaign counts: cells, and how often a repetition of one rejects."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from tests.calibration.posteriors import CASES, EXACT, STRATUM, Case

ROOT_SEED = 20260704  # fixed before the first run
DIMENSIONS = (1, 5, 20)
SIZES = ((200, 99), (1000, 99), (1000, 999))
LARGEST = SIZES[-1]
VERDICT, FAILS, BY_STRATA, BY_STRATA_FAILS, ONE_STRATUM = (
    "verdict",
    "fails",
    "by strata",
    "by strata, fails",
    "one stratum",
)


@dataclass(frozen=True)
class Cell:
    """One kind of posterior at one size.

    Args:
        case: What is wrong with it.
        d: Parameters.
        n: Test pairs.
        s: Draws each.
        real: Whether draws are made and go through `compute`; else their ranks are drawn.
    """

    case: Case
    d: int
    n: int
    s: int
    real: bool = False

    def __str__(self) -> str:
        return f"{self.case.name}, N = {self.n}, S = {self.s}, D = {self.d}{', real draws' if self.real else ''}"

    @property
    def by_strata(self) -> bool:
        """Whether the verdict over all strata is taken too."""
        return self.case in (EXACT, STRATUM)

    @property
    def target(self) -> str:
        """The verdict that has to find the fault."""
        return BY_STRATA if self.case == STRATUM else VERDICT

    def rng(self, repetition: int) -> np.random.Generator:
        """The generator of one repetition."""
        key = (CASES.index(self.case), self.d, self.n, self.s, int(self.real), repetition)
        return np.random.default_rng(np.random.SeedSequence(ROOT_SEED, spawn_key=key))


@dataclass(frozen=True)
class Rates:
    """Rejections of a cell.

    Args:
        cell: The cell.
        repetitions: How many.
        counts: Rejections by column: a verdict, a check, or a part of one.
    """

    cell: Cell
    repetitions: int
    counts: Counter[str]

    def __add__(self, other: Rates) -> Rates:
        return Rates(self.cell, self.repetitions + other.repetitions, self.counts + other.counts)

    def rate(self, column: str) -> float:
        return self.counts[column] / self.repetitions

    def error(self, column: str) -> float:
        """Binomial standard error; where all or none reject, that of a single one that does
        otherwise."""
        share = min(max(self.rate(column), 1 / self.repetitions), 1 - 1 / self.repetitions)
        return float(np.sqrt(share * (1 - share) / self.repetitions))


def cells(repetitions: int, control: int) -> dict[Cell, int]:
    """Every cell with its repetitions; real draws for each case at the dearest, and for the exact
    posterior wherever S is 99."""
    every = [
        Cell(case, d, *size)
        for case in CASES
        for size in SIZES
        for d in DIMENSIONS
        if case.defined(d)
    ]
    drawn = [cell for cell in every if cell.case == EXACT or cell.n == LARGEST[0]]
    dear = [
        replace(cell, real=True)
        for cell in drawn
        if cell.d == DIMENSIONS[-1] and (cell.n, cell.s) == LARGEST
    ]
    cheap = [replace(cell, real=True) for cell in drawn if cell.case == EXACT and cell.s == 99]
    return {**dict.fromkeys(drawn, repetitions), **dict.fromkeys([*cheap, *dear], control)}
