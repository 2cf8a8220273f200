"""A simulator in a process of its own: the same rows, and whatever it does to its process only its
guilty rows fail."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sbiwb.errors import SimulatorError
from sbiwb.simulation.blocks import FailureCounter, Problem, simulate_block
from sbiwb.simulation.preflight import preflight
from sbiwb.simulation.sandbox import SubprocessSimulator
from tests.simulation.helpers import problem

# what the rows with mu > 1 do to their process, and how that is told; the last line of each is line
# 9 of the file
HARM = {
    "segfault": ("ctypes.string_at(0)", "killed by SIGSEGV"),
    "abort": ("os.abort()", "killed by SIGABRT"),
    "exit 0": ("os._exit(0)", "exit code 0"),
    "exit 3": ("os._exit(3)", "exit code 3"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    "hangs in compiled code": ("sum(itertools.repeat(0))", "timeout"),
    "hangs in Python": (
        "[None for _ in itertools.repeat(0)] if not time.sleep(1000) else None",
        "timeout",
    ),
    "memory": ("np.ones(2**40)", "memory"),
    "raises": ("raise ValueError('too large')", "exception"),
}
CODE = """import ctypes, itertools, os, signal, sys, time
import numpy as np


def simulate(mu, *, rng):
    y = mu + rng.normal(size=len(mu))
    if (mu > 1).any():
        print("the end is near", file=sys.stderr)
        HARM
    return {"y": y}
"""


@pytest.fixture
def isolated():
    """Puts a problem's simulator into a process that ends with the test."""
    opened: list[SubprocessSimulator] = []

    def isolate(found: Problem) -> Problem:
        opened.append(SubprocessSimulator(found.simulator))
        return replace(found, simulator=opened[-1])

    yield isolate
    for one in opened:
        one.close()


def harmful(folder: Path, harm: str) -> Problem:
    found = problem(folder, CODE.replace("HARM", HARM[harm][0]), timeout_s=0.3)
    return replace(found, simulator=replace(found.simulator, memory_gb=0.5))


def block(found: Problem, rows: int = 6):
    return simulate_block(found, "train", 0, rows, FailureCounter(1.0))


def test_the_same_rows_as_in_this_process(tmp_path, isolated):
    found = problem(
        tmp_path, "def simulate(mu, *, rng):\n    return {'y': mu + rng.normal(size=len(mu))}\n"
    )
    here, there = block(found)[0], block(isolated(found))[0]
    np.testing.assert_array_equal(here.x["y"], there.x["y"])
    np.testing.assert_array_equal(here.theta["mu"], there.theta["mu"])


@pytest.mark.parametrize("harm", HARM)
def test_only_the_guilty_rows_fail_and_twice_the_same(tmp_path, isolated, harm):
    found = isolated(harmful(tmp_path, harm))
    pairs, failures = block(found)
    again, failures_again = block(found)
    assert failures and (pairs.theta["mu"] <= 1).all() and len(pairs) == 6
    assert all(one.theta["mu"] > 1 and one.seconds >= 0 for one in failures)
    assert {one.kind for one in failures} == {HARM[harm][1]}
    assert [one.message for one in failures] == [one.message for one in failures_again]
    np.testing.assert_array_equal(pairs.x["y"], again.x["y"])


def test_the_outcome_is_that_of_an_exception_in_the_same_rows(tmp_path, isolated):
    """Rows do not depend on how their neighbours failed, nor on who noticed."""
    raised, _ = block(harmful(tmp_path, "raises"))
    (tmp_path / "other").mkdir()
    crashed, _ = block(isolated(harmful(tmp_path / "other", "segfault")))
    np.testing.assert_array_equal(raised.x["y"], crashed.x["y"])


def test_the_ledger_tells_the_line_and_what_was_printed_last(tmp_path, isolated):
    _, failures = block(isolated(harmful(tmp_path, "segfault")))
    assert failures[0].message == (
        "its process ended: killed by SIGSEGV (sim.py:9); it printed last: the end is near"
    )
    _, failures = block(isolated(harmful(tmp_path, "raises")))
    assert (failures[0].message, failures[0].reason) == (
        "ValueError: too large (sim.py:9)",
        "ValueError",
    )


def test_megabytes_of_print_come_to_nothing(tmp_path, isolated, capfd):
    found = isolated(
        problem(tmp_path, "def simulate(mu):\n    print('x' * 5_000_000)\n    return {'y': mu}\n")
    )
    assert not block(found)[1] and not block(found)[1]
    assert capfd.readouterr() == ("", "")
    assert os.fstat(found.simulator._process.printed.fileno()).st_size < 6_000_000


def test_what_a_simulator_starts_ends_with_it(tmp_path, isolated):
    code = "import subprocess\ndef simulate(mu):\n    return {'y': mu + 0 * subprocess.Popen(['sleep', '100']).pid}\n"
    found = isolated(problem(tmp_path, code))
    pairs, _ = block(found)
    group = found.simulator._process._process.pid
    assert len(pairs) == 6 and _members(group) >= 2
    found.simulator.close()
    assert not _members(group)


def test_a_simulator_that_forks_comes_back_once(tmp_path, isolated):
    code = "import os\ndef simulate(mu):\n    os.fork()\n    return {'y': mu}\n"
    for found in (problem(tmp_path, code), isolated(problem(tmp_path, code))):
        pairs, failures = block(found)
        assert not failures and np.array_equal(pairs.x["y"], pairs.theta["mu"])


def test_a_process_killed_between_two_calls_is_replaced(tmp_path, isolated):
    found = isolated(problem(tmp_path, "def simulate(mu):\n    return {'y': mu}\n"))
    block(found)
    process = found.simulator._process._process
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not block(found)[1]


def test_errors_of_ours_rise(tmp_path, isolated):
    with pytest.raises(SimulatorError, match="returned nothing"):
        block(isolated(problem(tmp_path, "def simulate(mu):\n    pass\n")))


def test_a_file_changed_meanwhile_is_refused(tmp_path, isolated):
    found = problem(tmp_path, "def simulate(mu):\n    return {'y': mu}\n")
    (tmp_path / "sim.py").write_text("def simulate(mu):\n    return {'y': 2 * mu}\n")
    with pytest.raises(SimulatorError, match="was changed while it was in use"):
        block(isolated(found))


def test_a_file_that_cannot_live_alone_is_told(tmp_path, isolated):
    found = problem(
        tmp_path,
        f"import os, sys\nif os.getpid() != {os.getpid()}:\n    sys.stderr.write('no licence'); os._exit(4)\n\n"
        "def simulate(mu):\n    return {'y': mu}\n",
    )
    with pytest.raises(SimulatorError) as caught:
        block(isolated(found))
    assert (
        "exit code 4" in caught.value.what
        and "no licence" in caught.value.what
        and "executor=serial" in caught.value.todo
    )


def test_a_preflight_survives(tmp_path, isolated):
    seen = preflight(isolated(harmful(tmp_path, "segfault")), 16)
    assert 0 < seen.failure_rate < 0.5 and (seen.example.theta["mu"] <= 1).all()


def _members(group: int) -> int:
    """Living processes of a process group."""
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        count += int(its_group) == group and state != "Z"
    return count
