"""`make calibration`, on what is said of one data set, L-C2ST with the other parts: how often each
accuses an exact posterior and a wrong one, as a Markdown table.

    python -m tests.calibration.local                      60 repetitions
    python -m tests.calibration.local --repetitions 2      few: does it work?

The problem is that of `trust`, with one difference: L-C2ST learns from test pairs, so these have the
fault too, as where a network is wrong. A repetition trains the classifiers once and asks them at
`OBSERVED` observations, which share what is by chance in them: standard errors are of the
repetitions' means. Exits with 1 where a target is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a process a core

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sbiwb.diagnostics import lc2st
from sbiwb.evidence import LC2STData
from sbiwb.seeds import generator, place
from tests.calibration.tables import LEAST_POWER, MOST_FALSE, head, line, report
from tests.calibration.trust import (
    COVERED,
    EACH,
    EXACT,
    FAULTS,
    ROOT_SEED,
    TEST,
    D,
    Wrong,
    accusations,
    data_sets,
    p_of_parts,
    shown_as,
)

OBSERVED = 20
OBSERVED_DRAWS = 1_000
PARTS = (*EACH[:-1], "L-C2ST", "whole")
REGIONAL = COVERED[-1]
CASES = (EXACT, *FAULTS, REGIONAL)
FEWER = 5  # times fewer repetitions of faults

Task = tuple[Wrong, int]


def accused(task: Task) -> tuple[Wrong, np.ndarray]:
    """Shares of the observations at which each of `PARTS` accuses."""
    wrong, repetition = task
    rng = generator(ROOT_SEED, "trust", 2, place(wrong.name), repetition)
    x = data_sets(rng.standard_normal((OBSERVED, D)), rng)
    if wrong.regional:
        x[:, 0] = 1.0 + np.abs(x[:, 0])
    found = lc2st.compute(_evidence(x, wrong, rng), lc2st.Config())
    counts = np.zeros(len(PARTS))
    for each, value in zip(x[:, None], found.values, strict=True):
        assert value.p is not None
        p = {**p_of_parts(each, wrong, rng), "L-C2ST": value.p}
        counts += np.isin(PARTS, list(accusations(p)))
    return wrong, counts / OBSERVED


def _evidence(x: np.ndarray, wrong: Wrong, rng: np.random.Generator) -> LC2STData:
    """Test pairs of a network that is wrong, and its draws at observations x (M, D)."""
    theta = rng.standard_normal((TEST, D))
    pairs = data_sets(theta, rng)
    return LC2STData(
        names=("1", "2"),
        z=theta,
        draws=shown_as(pairs, wrong).draws(1, rng)[:, 0],
        x=pairs,
        labels=tuple(map(str, range(len(x)))),
        observed_x=x,
        observed_draws=shown_as(x, wrong).draws(OBSERVED_DRAWS, rng),
        seed=int(rng.integers(2**32)),
    )


def times(wrong: Wrong, repetitions: int) -> int:
    """How often a posterior is repeated."""
    return repetitions if wrong == EXACT else max(2, repetitions // FEWER)


def tables(shares: dict[Wrong, np.ndarray]) -> Iterator[str]:
    exact, some = len(shares[EXACT]), len(shares[FAULTS[0]])
    yield f"Parts alone at 5 % and the whole, L-C2ST among them: accused, in per cent of {OBSERVED} observations in each of {exact}"
    yield f"repetitions ({some} with a fault), ± one standard error; {TEST:,} test pairs with the same fault:"
    yield ""
    yield from head("posterior", *PARTS)
    for wrong, found in shares.items():
        mean, error = 100 * found.mean(0), 100 * found.std(0, ddof=1) / np.sqrt(len(found))
        cells = [f"{m:.1f} ± {e:.1f}" for m, e in zip(mean, error, strict=True)]
        yield line(wrong.name, *cells)


def missed(shares: dict[Wrong, np.ndarray]) -> Iterator[str]:
    """Targets that were not reached."""
    exact = shares[EXACT][:, -1]
    false, error = exact.mean(), exact.std(ddof=1) / np.sqrt(len(exact))
    if false > MOST_FALSE + 2 * error:
        yield f"an exact posterior is accused in {false:.1%} ± {error:.1%}"
    for wrong, found in shares.items():
        if wrong.gross and found[:, -1].mean() < LEAST_POWER:
            yield f"{wrong.name} is found in {found[:, -1].mean():.1%}"


def main(
    repetitions: Annotated[int, typer.Option(min=2)] = 60,
    processes: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    out: Annotated[Path | None, typer.Option()] = None,
) -> None:
    tasks = [(wrong, k) for wrong in CASES for k in range(times(wrong, repetitions))]
    found: dict[Wrong, list[np.ndarray]] = {wrong: [] for wrong in CASES}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for wrong, share in pool.imap_unordered(accused, tasks):
            found[wrong].append(share)
    shares = {wrong: np.stack(each) for wrong, each in found.items()}
    report(tables(shares), missed(shares), out)


if __name__ == "__main__":
    typer.run(main)
