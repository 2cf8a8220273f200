"""Each row of the fault matrix: what happens is told, nothing finished is lost, and the bytes are
those of an undisturbed run."""

from __future__ import annotations

import pytest

from tests.faults import cluster
from tests.faults.bench import Bench, Fault, Seen
from tests.faults.table import FAULTS, HEAD, Row, line, summary

MATRIX = {*map(str, range(1, 16)), "31", "32", "33"}


def case(fault: Fault):
    marks = [pytest.mark.slow] * fault.slow
    return pytest.param(fault, marks=marks, id=f"{fault.number} {fault.name}")


@pytest.mark.parametrize("fault", map(case, FAULTS))
def test_nothing_is_lost(tmp_path, fault):
    seen = fault.work(Bench(tmp_path))
    if seen.needs:
        pytest.skip(f"needs {seen.needs}")
    assert fault.verdict(seen) == ""


def test_every_row_of_the_matrix_is_here():
    numbers = [fault.number for fault in (*FAULTS, *cluster.FAULTS)]
    assert set(numbers) >= MATRIX
    assert {fault.number for fault in FAULTS if not fault.slow} >= MATRIX - {
        "13",
        "15",
        "32",
        "33",
    }, "no fast case"


FAULT = Fault("4", "disk full", lambda bench: Seen(""), "^2 .*full")
ERROR = "2 Trying ...\nerror  /tmp/a/b/plan.json  The disk is full\n       Free some space.\n"


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (Seen("0 fine"), "expected"),
        (Seen(ERROR, lost=1), "1 shards lost"),
        (Seen(ERROR, equal=False), "other bytes"),
        (Seen(ERROR), ""),
        (Seen("", needs="root"), ""),
    ],
)
def test_the_table_tells_what_is_not_as_expected(seen, told):
    row = Row(FAULT, seen, FAULT.verdict(seen), 1.0)
    assert row.verdict.startswith(told) and bool(row.verdict) == bool(told)
    assert ("NOT AS EXPECTED" in line(row)) == bool(told)
    assert f"{bool(told):d} not as expected" in summary([row])


def test_a_line_has_the_exit_code_and_the_error():
    assert Seen(ERROR).line == "2 error plan.json The disk is full"
    assert len(line(Row(FAULT, Seen(ERROR), "", 1.0))) == len(HEAD)
