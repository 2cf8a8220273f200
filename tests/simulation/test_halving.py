"""A failed batch of an external program: guilty rows are found by halving, and the same rows come
out each time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from sbiwb.simulation.blocks import FailureCounter, simulate_block
from sbiwb.simulation.sandbox import SubprocessSimulator
from sbiwb.simulation.source import SourceFile
from tests.simulation.helpers import problem

CODE = """import numpy as np
calls = []


def simulate(mu, *, rng):
    calls.append(len(mu))
    if (mu > LIMIT).any():
        raise ValueError("too large")
    return {"y": mu + rng.normal(size=len(mu))}
"""


@dataclass(frozen=True)
class HalvedFile(SourceFile):
    """A Python file in the role of a program, whose calls can be counted."""

    is_halved = True


def halved(folder, limit: float):
    """A problem whose simulator fails where mu is above `limit`."""
    found = problem(folder, CODE.replace("LIMIT", str(limit)))
    source = found.simulator.source
    source = HalvedFile(source.path, source.module, source.function, source.code_hash)
    return replace(found, simulator=replace(found.simulator, source=source))


def block(found, rows: int):
    return simulate_block(found, "train", 0, rows, FailureCounter(1.0))


def test_one_guilty_row_of_256_costs_16_calls_more(tmp_path):
    everything, _ = block(halved(tmp_path, 1e9), 256)
    largest, second = np.sort(everything.theta["mu"])[[-1, -2]]
    found = halved(tmp_path, (largest + second) / 2)
    calls = found.simulator.source.module.calls
    calls.clear()
    pairs, failures = block(found, 256)
    assert [one.theta["mu"] for one in failures] == [largest]
    assert (failures[0].kind, failures[0].message) == (
        "exception",
        "ValueError: too large (sim.py:8)",
    )
    assert sorted(calls)[::-1] == [256, 128, 128, 64, 64, 32, 32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1, 1]
    kept = np.arange(256) != failures[0].row
    np.testing.assert_array_equal(pairs.theta["mu"][kept], everything.theta["mu"][kept])


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_many_guilty_rows_cost_little_more_than_one_call_each(tmp_path, rows):
    found = halved(tmp_path, 0)
    calls = found.simulator.source.module.calls
    calls.clear()
    pairs, failures = block(found, rows)
    assert (pairs.theta["mu"] <= 0).all() and len(pairs) == rows
    attempts = 1 + max((one.attempt for one in failures), default=0)
    assert len(calls) <= 1.6 * (rows + len(failures)) + 3 * attempts


def test_the_noise_of_no_two_rows_is_alike(tmp_path):
    """Each part draws from a stream of its own."""
    pairs, failures = block(halved(tmp_path, 1), 64)
    noise = pairs.x["y"] - pairs.theta["mu"]
    assert failures and len(np.unique(noise.round(9))) == 64


def test_the_same_rows_come_out_in_this_process_and_in_another(tmp_path):
    found = halved(tmp_path, 1)
    isolated = SubprocessSimulator(found.simulator)
    here, failures = block(found, 64)
    again, _ = block(found, 64)
    try:
        # a source file crosses the border as itself, so only the calls happen elsewhere
        there, failures_there = block(replace(found, simulator=isolated), 64)
    finally:
        isolated.close()
    for other in (again, there):
        np.testing.assert_array_equal(here.x["y"], other.x["y"])
        np.testing.assert_array_equal(here.theta["mu"], other.theta["mu"])
    assert [one.row for one in failures] == [one.row for one in failures_there]
