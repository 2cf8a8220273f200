"""`make calibration`, first part: how often the verdicts accuse an exact posterior, and how often a
wrong one, as Markdown tables.

    python -m tests.calibration.campaign                       2,000 repetitions a cell
    python -m tests.calibration.campaign --quick               few: does it work?
    python -m tests.calibration.campaign --out rates.md        also written to a file

Every repetition makes test pairs, ranks as draws would give them (`ranks.py`), the values of all
calibration checks but lc2st, and the verdict of `judge` over all of these. As a control, some cells
also go through real draws and `compute`. Seeds are a function of cell and repetition, so that
processes and order change nothing. Exits with 1 where a target is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a process a core

import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sbiwb.contracts import DiagnosticResult
from sbiwb.diagnostics import STRATUM as IN_STRATUM
from sbiwb.diagnostics import Judgment, judge, overall
from sbiwb.diagnostics._calibration import CalibrationConfig
from sbiwb.evidence import Draws, Value
from tests.calibration.posteriors import STRATA, pairs, sampled
from tests.calibration.ranks import (
    CHECKS,
    PARTS,
    Entry,
    Ranks,
    entries_of_draws,
    entries_of_ranks,
    ranks_of,
)
from tests.calibration.rates import (
    BY_STRATA,
    BY_STRATA_FAILS,
    FAILS,
    ONE_STRATUM,
    VERDICT,
    Cell,
    Rates,
    cells,
)
from tests.calibration.tables import tables, unmet

CONFIG = CalibrationConfig()


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """What `judge` needs of a check's result."""

    values: tuple[Value, ...]


def rejections(cell: Cell, repetition: int) -> list[str]:
    """What rejects in one repetition: the verdict over everything, checks and their parts alone."""
    rng = cell.rng(repetition)
    posteriors = pairs(cell.case, cell.n, cell.d, rng)
    evidence = sampled(posteriors, cell.s, rng) if cell.real else ranks_of(posteriors, cell.s, rng)
    entries = entries_of(evidence)
    alone = {
        column: [entry for entry in entries if column in (entry.check, entry.part)]
        for column in (*CHECKS, *PARTS)
    }
    found = [column for column, some in alone.items() if verdict(some) != "pass"]
    found += names(verdict(entries), VERDICT, FAILS)
    if cell.by_strata:
        found += by_strata([*entries, *in_strata(evidence, posteriors.design)])
    return found


def by_strata(entries: Sequence[Entry]) -> list[str]:
    """What the verdict over all strata counts as, and whether it accuses the first stratum and no
    other."""
    judged = judgments(entries)
    accused = {one.check.partition(IN_STRATUM)[2] for one in judged if one.verdict != "pass"} - {""}
    return names(overall(judged).verdict, BY_STRATA, BY_STRATA_FAILS) + [ONE_STRATUM] * (
        accused == {label(0)}
    )


def entries_of(evidence: Draws | Ranks) -> list[Entry]:
    return entries_of_draws(evidence) if isinstance(evidence, Draws) else entries_of_ranks(evidence)


def in_strata(evidence: Draws | Ranks, design: np.ndarray) -> Iterator[Entry]:
    """The entries of each stratum alone, as a run has them under `by`."""
    for stratum in range(STRATA):
        for entry in entries_of(evidence.at(np.flatnonzero(design == stratum))):
            yield replace(entry, check=f"{entry.check}{IN_STRATUM}{label(stratum)}")


def label(stratum: int) -> str:
    return f"design {stratum}"


def judgments(entries: Iterable[Entry]) -> list[Judgment]:
    """All these entries judged together."""
    return judge([(entry.check, CONFIG, Result((entry.value,))) for entry in entries])


def verdict(entries: Iterable[Entry]) -> str:
    return overall(judgments(entries)).verdict


def names(found: str, rejects: str, fails: str) -> list[str]:
    """What a verdict counts as."""
    return {"fail": [rejects, fails], "warn": [rejects]}.get(found, [])


def work(task: tuple[Cell, range]) -> Rates:
    """Some repetitions of a cell."""
    cell, repetitions = task
    return Rates(
        cell,
        len(repetitions),
        Counter(itertools.chain.from_iterable(rejections(cell, one) for one in repetitions)),
    )


def run(
    wanted: dict[Cell, int],
    *,
    processes: int,
    chunk: int = 25,
    say: Callable[[str], None] = lambda text: None,
) -> list[Rates]:
    """So many repetitions of each cell, in chunks, by several processes; tells after each cell how
    far it is."""
    tasks = [
        (cell, range(at, min(at + chunk, total)))
        for cell, total in wanted.items()
        for at in range(0, total, chunk)
    ]
    found: dict[Cell, Rates] = {}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, rates in enumerate(pool.imap_unordered(work, tasks), 1):
            cell = rates.cell
            found[cell] = found[cell] + rates if cell in found else rates
            if found[cell].repetitions == wanted[cell]:
                say(
                    f"{done} of {len(tasks)} tasks; {cell}: "
                    f"{100 * found[cell].rate(cell.target):.1f} %"
                )
    return [found[cell] for cell in wanted]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few repetitions: does it work?")] = False,
    control: Annotated[
        int, typer.Option(min=1, help="Repetitions of a cell that go through real draws.")
    ] = 200,
    out: Annotated[Path | None, typer.Option(help="Where the tables are kept as Markdown.")] = None,
    processes: Annotated[int, typer.Option(help="Processes, one thread each.")] = os.cpu_count()
    or 1,
) -> None:
    """Runs the campaign and prints its tables."""
    start = time.perf_counter()
    rates = run(
        cells(40, 4) if quick else cells(2000, control),
        processes=processes,
        say=lambda text: typer.echo(text, err=True),
    )
    lines = [
        *tables(rates),
        f"Made in {(time.perf_counter() - start) / 60:.0f} minutes by {processes} processes.",
    ]
    text = "\n".join(lines) + "\n"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    typer.echo(text)
    missed = [] if quick else list(unmet(rates))
    for line in missed:
        typer.echo(f"Missed: {line}")
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
