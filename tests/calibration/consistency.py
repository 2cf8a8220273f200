"""`make calibration`, on self-consistency: how often its verdict accuses a posterior that is as
good as at the test pairs, and how often a worse one, as Markdown tables.

    python -m tests.calibration.consistency                      2,000 repetitions
    python -m tests.calibration.consistency --repetitions 40     few: does it work?
    python -m tests.calibration.consistency --out rates.md       also written to a file

A repetition is a run of its own: both networks, never right (`networks.py`), at 200 fresh test
pairs and, for each fault, at one observation that has it. `spreads` and `p_values` are the
package's. The last table is on faults that all data sets have alike, which this verdict cannot see:
ranks of c at the true theta among c at draws can. Seeds are a function of cell and repetition, so
that processes and order change nothing. Exits with 1 where a target is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a process a core

import itertools
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sbiwb.diagnostics import _ecdf
from sbiwb.seeds import generator, place
from sbiwb.steps.joint.consistency import p_values, spreads
from sbiwb.steps.joint.observed import ALPHA
from tests.calibration.networks import (
    CORRELATED,
    LARGE,
    NONE,
    SMALL,
    USUAL,
    Errors,
    Fault,
    Networks,
    trained,
)
from tests.calibration.tables import LEAST_POWER, MOST_FALSE, head, line

ROOT_SEED = 20260705  # fixed before the first run
DIMENSIONS = (1, 5, 20)
TEST_PAIRS, DRAWS = 200, 1000
RANKED_PAIRS, RANKED_DRAWS = 1000, 99
AT_ONCE = 20  # pairs, so that their draws stay in the cache
FEWER = 8  # times fewer repetitions where no target is set
NO_FAULT = Fault("as at test pairs")
UNCORRELATED = Fault("correlation 0.8 shown as 0", uncorrelated=True)
FAULTS = (
    NO_FAULT,
    Fault("sd × 0.5", scale=0.5, gross=True),
    Fault("sd × 2", scale=2, gross=True),
    Fault("mean + 1 sd", shift=1, gross=True),
    Fault("sd × 0.8", scale=0.8),
    Fault("sd × 1.25", scale=1.25),
    Fault("mean + 0.3 sd", shift=0.3),
    Fault("likelihood: noise sd × 1.5", noise=1.5),
    Fault("sd × 0.5 of one column", scale=0.5, one=True),
    Fault("sd × 2 of one column", scale=2, one=True),
    Fault("mean + 1 sd of one column", shift=1, one=True),
)
STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "spread": spreads,
    "sd of c": lambda c: c.std(axis=1),
}
Counts = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """Runs of one size, whose networks are off by as much at test pairs as at the observation.

    Args:
        d: Parameters.
        errors: Of both networks.
        s: Draws of each data set.
        rho: Correlation within pairs of columns of the exact posterior.
    """

    d: int
    errors: Errors = USUAL
    s: int = DRAWS
    rho: float = 0.0

    @property
    def faults(self) -> tuple[Fault, ...]:
        if self.rho:
            return (UNCORRELATED,)
        return tuple(fault for fault in FAULTS if self.d > 1 or not fault.one)

    def rejections(self, repetition: int) -> Iterator[tuple[str, str]]:
        """Each fault that is found, and by what."""
        rng = generator(ROOT_SEED, "consistency", place(str(self)), repetition)
        usual = self._c(self._trained(TEST_PAIRS, rng), rng)
        observed = np.concatenate(
            [self._c(self._trained(1, rng).with_fault(fault), rng) for fault in self.faults]
        )
        for name, statistic in STATISTICS.items():
            found = p_values(statistic(observed), statistic(usual)) <= ALPHA
            for fault in itertools.compress(self.faults, found):
                yield fault.name, name

    def _trained(self, n: int, rng: np.random.Generator) -> Networks:
        errors = {"posterior": self.errors, "likelihood": self.errors}
        return trained(n, self.d, rng, rho=self.rho, **errors)

    def _c(self, networks: Networks, rng: np.random.Generator) -> np.ndarray:
        starts = range(0, len(networks.x), AT_ONCE)
        parts = [networks.at(slice(start, start + AT_ONCE)) for start in starts]
        return np.concatenate([part.c(part.draws(self.s, rng)) for part in parts])


@dataclass(frozen=True)
class Everywhere:
    """A fault that all data sets have.

    Args:
        d: Parameters.
        fault: The fault.
        posterior: Errors of the posterior beside it.
        likelihood: Errors of the likelihood.
        exact: Whether the posterior is exact, so that ranks are uniform.
    """

    d: int
    fault: Fault
    posterior: Errors = NONE
    likelihood: Errors = USUAL
    exact: bool = False

    def rejections(self, repetition: int) -> Iterator[tuple[str, str]]:
        """The test quantities whose ranks are not uniform."""
        rng = generator(ROOT_SEED, "consistency", place(str(self)), repetition)
        rho = CORRELATED if self.fault.uncorrelated else 0.0
        errors = {"posterior": self.posterior, "likelihood": self.likelihood}
        networks = trained(RANKED_PAIRS, self.d, rng, rho=rho, **errors).with_fault(self.fault)
        z, true = networks.draws(RANKED_DRAWS, rng), networks.z_true[:, None]
        quantities = {"c": networks.c, "log q": _log_q}
        ranks = [(of(z) < of(true)).sum(1) for of in quantities.values()]
        found = _ecdf.uniformity(np.stack(ranks, axis=1), RANKED_DRAWS).p <= ALPHA
        yield from ((self.fault.name, name) for name in itertools.compress(quantities, found))


def _log_q(z: np.ndarray) -> np.ndarray:
    return -np.square(z).sum(2)  # but for what is the same at all draws


Study = Cell | Everywhere
GLOBAL = (
    Fault("sd × 0.8", scale=0.8),
    Fault("sd × 1.25", scale=1.25),
    Fault("mean + 0.3 sd", shift=0.3),
    Fault("prior as posterior", prior=True),
    UNCORRELATED,
)
OTHERS = ((SMALL, DRAWS), (LARGE, DRAWS), (USUAL, 400), (USUAL, 100))  # errors, draws


def everywhere(d: int) -> Iterator[Everywhere]:
    """What ranks are looked at, in the order of the table."""
    yield Everywhere(d, Fault("exact"), exact=True)
    yield Everywhere(d, Fault("exact; likelihood: noise sd × 1.5", noise=1.5), exact=True)
    for fault in GLOBAL:
        if d > 1 or not fault.uncorrelated:
            yield Everywhere(d, fault)
    for errors in (SMALL, USUAL):
        yield Everywhere(d, Fault(f"errors of {errors}"), posterior=errors)


def studies(repetitions: int) -> dict[Study, int]:
    """All of them with their repetitions."""
    wanted: dict[Study, int] = {Cell(d): repetitions for d in DIMENSIONS}
    fewer = max(1, repetitions // FEWER)
    others = [Cell(d, errors, s) for errors, s in OTHERS for d in DIMENSIONS]
    correlated = [Cell(d, rho=CORRELATED) for d in DIMENSIONS if d > 1]
    ranked = [study for d in DIMENSIONS for study in everywhere(d)]
    return wanted | dict.fromkeys([*correlated, *others, *ranked], fewer)


@dataclass(frozen=True)
class Rates:
    """How often what was found.

    Args:
        repetitions: How many.
        counts: Rejections by fault and statistic, or test quantity.
    """

    repetitions: int
    counts: Counts

    def __add__(self, other: Rates) -> Rates:
        return Rates(self.repetitions + other.repetitions, self.counts + other.counts)

    def rate(self, fault: Fault, by: str) -> float:
        return self.counts[fault.name, by] / self.repetitions

    def shown(self, fault: Fault, by: str) -> str:
        """In per cent, with its binomial standard error."""
        rate = self.rate(fault, by)
        share = min(max(rate, 1 / self.repetitions), 1 - 1 / self.repetitions)
        return f"{100 * rate:.1f} ± {100 * (share * (1 - share) / self.repetitions) ** 0.5:.1f}"


def work(task: tuple[Study, range]) -> tuple[Study, Rates]:
    """Some repetitions of a study."""
    study, repetitions = task
    found = itertools.chain.from_iterable(study.rejections(one) for one in repetitions)
    return study, Rates(len(repetitions), Counter(found))


def run(wanted: dict[Study, int], *, processes: int, chunk: int = 25) -> dict[Study, Rates]:
    """So many repetitions of each study, in chunks, by several processes."""
    tasks = [
        (study, range(at, min(at + chunk, total)))
        for study, total in wanted.items()
        for at in range(0, total, chunk)
    ]
    found = {study: Rates(0, Counter()) for study in wanted}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for study, rates in pool.imap_unordered(work, tasks):
            found[study] += rates
    return found


def tables(found: dict[Study, Rates]) -> Iterator[str]:
    """All of them, line by line."""
    yield from at_one(found)
    yield from at_other_sizes(found)
    yield from at_all(found)


def at_one(found: dict[Study, Rates]) -> Iterator[str]:
    repetitions = found[Cell(DIMENSIONS[0])].repetitions
    yield f"Self-consistency at one observation, {DRAWS:,} draws, {TEST_PAIRS} test pairs: rejected at 5 %, in per cent of"
    yield f"{repetitions:,} repetitions ({repetitions // FEWER:,} of the last row); both networks err by {USUAL} everywhere:"
    yield ""
    yield from head("posterior", *columns("D = {}"), *columns("sd of c, D = {}"))
    for fault in FAULTS:
        yield _row(fault, [found.get(Cell(d)) for d in DIMENSIONS], STATISTICS)
    yield _row(UNCORRELATED, [found.get(Cell(d, rho=CORRELATED)) for d in DIMENSIONS], STATISTICS)
    yield ""


def _row(fault: Fault, rates: list[Rates | None], by: Iterator[str] | dict) -> str:
    """One fault by each statistic in each dimension; nothing where there is no such fault."""
    cells = [
        one.shown(fault, name) if one and not (fault.one and place == 0) else ""
        for name in by
        for place, one in enumerate(rates)
    ]
    return line(fault.name, *cells)


def columns(words: str) -> list[str]:
    return [words.format(d) for d in DIMENSIONS]


def at_other_sizes(found: dict[Study, Rates]) -> Iterator[str]:
    faults = [fault for fault in FAULTS if fault.gross or fault == NO_FAULT]
    yield "The same with other errors and other numbers of draws:"
    yield ""
    yield from head("posterior", "errors", "draws", *columns("D = {}"))
    for errors, s in OTHERS:
        for fault in faults:
            rates = [found[Cell(d, errors, s)].shown(fault, "spread") for d in DIMENSIONS]
            yield line(fault.name, errors, s, *rates)
    yield ""


def at_all(found: dict[Study, Rates]) -> Iterator[str]:
    yield f"Faults that all data sets have: ranks of c at the true theta among {RANKED_DRAWS} draws at {RANKED_PAIRS:,} test pairs, and those of log q,"
    yield f"not uniform at 5 %, in per cent; the likelihood errs by {USUAL}:"
    yield ""
    yield from head("posterior", *columns("c, D = {}"), *columns("log q, D = {}"))
    for name in dict.fromkeys(study.fault.name for study in everywhere(DIMENSIONS[-1])):
        by_dimension = [_study(found, name, d) for d in DIMENSIONS]
        cells = [
            found[study].shown(study.fault, by) if study else ""
            for by in ("c", "log q")
            for study in by_dimension
        ]
        yield line(name, *cells)
    yield ""


def _study(found: dict[Study, Rates], name: str, d: int) -> Everywhere | None:
    return next((study for study in everywhere(d) if study.fault.name == name), None)


def unmet(found: dict[Study, Rates]) -> Iterator[str]:
    """Each target that is missed, in words."""
    for d in DIMENSIONS:
        rates = found[Cell(d)]
        if rates.rate(NO_FAULT, "spread") > MOST_FALSE:
            yield f"D = {d}: false alarms {rates.shown(NO_FAULT, 'spread')} %"
        for fault in FAULTS:
            if fault.gross and rates.rate(fault, "spread") < LEAST_POWER:
                yield f"D = {d}, {fault.name}: found in {rates.shown(fault, 'spread')} %"


def main(
    repetitions: Annotated[int, typer.Option(min=1, help="Of each cell with a target.")] = 2000,
    out: Annotated[Path | None, typer.Option(help="Where the tables are kept as Markdown.")] = None,
    processes: Annotated[int, typer.Option(help="Processes, one thread each.")] = os.cpu_count()
    or 1,
) -> None:
    """Runs the study and prints its tables."""
    found = run(studies(repetitions), processes=processes)
    text = "\n".join(tables(found)) + "\n"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    typer.echo(text)
    missed = list(unmet(found))
    for missing in missed:
        typer.echo(f"Missed: {missing}")
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
