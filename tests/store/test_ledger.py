"""The ledger of failed simulations: each is drawn again from the place that it names, and neither
who simulates nor how a row fails changes any row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from sbiwb.priors import family as priors
from sbiwb.rundir import SPLITS
from sbiwb.seeds import generator
from sbiwb.simulation.blocks import FailureCounter, simulate_block
from sbiwb.simulation.sandbox import SubprocessSimulator
from sbiwb.store import manifest
from sbiwb.store.shards import read_failures
from sbiwb.workflow.simulate import simulate
from tests.simulation.helpers import problem
from tests.tiny import Recorder, Tiny

SEED, BLOCK = 3, 32  # of the tiny project
PRIOR = priors.parse("normal").build()
ROWS = """import numpy as np


def simulate(mu, *, rng, n):
    y = mu + rng.standard_normal(n)
    if y.mean() < -1:
        raise ValueError(f"low {y[0]!r}")
    return {"y": np.full(n, np.nan) if y.mean() > 1 else y}
"""
BATCHES = """import numpy as np


def simulate(mu, *, rng, n):
    y = mu[:, None] + rng.standard_normal((len(mu), n))
    y[y.mean(1) > 1] = np.nan
    return {"y": y}
"""
ONE_ROW = """import os
import numpy as np


def simulate(mu, *, rng):
    y = mu + rng.normal()
    if mu > 0.8:
        HARM
    return {"y": y}
"""


@dataclass(frozen=True)
class Failed:
    """A line of the ledger, with what its place needs."""

    split: str
    block: int
    attempt: int
    row: int
    mu: float
    message: str


def ledger(folder, simulator: str, **problem: object) -> list[Failed]:
    """All failed simulations of a run, read from its shards."""
    changes = {"problem": problem, "simulate": {"failures": {"max_rate": 0.9}}}
    tiny = Tiny.write(folder, changes, simulator)
    simulate(tiny.open(), Recorder())
    lines = []
    for split in SPLITS:
        for shard in manifest.shards(tiny.run / "data" / split):
            of = read_failures(shard.path, shard.record)
            columns = (of["block"], of["attempt"], of["row"], of["theta/mu"], of["message"])
            for block, attempt, row, mu, message in zip(*columns, strict=True):
                text = message.decode()
                lines.append(Failed(split, int(block), int(attempt), int(row), float(mu), text))
    return lines


def places(lines: list[Failed]) -> list[tuple[Failed, int, int]]:
    """Each line with the rows that its attempt drew, and its own place among them: an attempt draws
    what the one before has left open."""
    open_rows: dict[tuple[str, int, int], list[int]] = {}
    for line in sorted(lines, key=lambda line: line.row):
        open_rows.setdefault((line.split, line.block, line.attempt + 1), []).append(line.row)
    drawn = []
    for line in lines:
        rows = open_rows.get((line.split, line.block, line.attempt), list(range(BLOCK)))
        drawn.append((line, len(rows), rows.index(line.row)))
    return drawn


def test_a_row_alone_is_simulated_again_from_its_place(tmp_path):
    lines = ledger(tmp_path, ROWS, batched=False)
    assert Counter(line.attempt for line in lines).keys() >= {0, 1, 2}
    for line, count, place in places(lines):
        position = (line.split, line.block, line.attempt)
        mu = PRIOR.sample(generator(SEED, *position), count)[place, 0]
        y = mu + generator(SEED, *position, place).standard_normal(4)
        expected = "'y' is not finite"
        if y.mean() < 1:
            expected = f"ValueError: low {y[0]!r} (tiny.py:7)"
        assert (line.mu, line.message) == (mu, expected) and abs(y.mean()) > 1


def test_a_row_of_a_batch_is_simulated_again_from_its_place(tmp_path):
    lines = ledger(tmp_path, BATCHES)
    assert Counter(line.attempt for line in lines).keys() >= {0, 1}
    for line, count, place in places(lines):
        rng = generator(SEED, line.split, line.block, line.attempt)
        mu = PRIOR.sample(rng, count)[:, 0]
        y = mu[:, None] + rng.standard_normal((count, 4))
        assert line.mu == mu[place] and y[place].mean() > 1


@pytest.fixture
def block(tmp_path):
    """Makes the pairs and failures of a block of rows by themselves, of which some fail so."""
    processes: list[SubprocessSimulator] = []

    def make(harm: str):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        whole = problem(folder, ONE_ROW.replace("HARM", harm), batched=False)
        if "_exit" in harm:
            processes.append(SubprocessSimulator(whole.simulator))
            whole = replace(whole, simulator=processes[-1])
        return simulate_block(whole, "train", 0, 16, FailureCounter(1.0))

    yield make
    for process in processes:
        process.close()


@pytest.mark.parametrize("harm", ["raise SystemExit(3)", "y = y * np.nan", "os._exit(3)"])
def test_the_same_rows_come_out_however_one_fails(block, harm):
    pairs, failures = block("raise ValueError('high')")
    other_pairs, other_failures = block(harm)
    np.testing.assert_array_equal(pairs.theta["mu"], other_pairs.theta["mu"])
    np.testing.assert_array_equal(pairs.x["y"], other_pairs.x["y"])
    places = place_of(failures)
    assert place_of(other_failures) == places and len(places) > 3
    assert {one.message for one in failures}.isdisjoint(one.message for one in other_failures)


def place_of(failures) -> list[tuple[int, int, int, float]]:
    return [(one.block, one.attempt, one.row, float(one.theta["mu"])) for one in failures]
