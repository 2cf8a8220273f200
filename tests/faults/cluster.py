"""Rows whose faults have tests of their own (SLURM, Dask, fuzzed configs): those are run, and their
outcome is told here."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.faults.bench import Bench, Fault, Seen

ROOT = Path(__file__).parents[2]
SLURM, DASK, FUZZ = (
    "tests/cluster/test_slurm.py",
    "tests/executors/test_dask.py",
    "tests/config/test_loading.py",
)
SAME = "tests/faults/test_same_rows.py"


def by_pytest(bench: Bench, *, test: str) -> Seen:
    """All cases of one test."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        f"--basetemp={bench.folder / 'pytest'}",
        test,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    skipped = re.search(r"^SKIPPED .*?: (.*)$", done.stdout, re.M)
    if skipped:
        return Seen("", needs=skipped[1])
    outcome = (done.stdout.strip().splitlines() or ["nothing"])[-1].strip("= ")
    if done.returncode:
        return Seen(f"{done.returncode} {outcome}\n{done.stdout[-2000:]}", None, False)
    return Seen(
        f"{done.returncode} {outcome} ({test.partition('::')[0]})",
        *((None, None) if test.startswith(FUZZ) else (0, True)),
    )


def _row(number: str, name: str, test: str) -> Fault:
    return Fault(number, name, partial(by_pytest, test=test), "^0 .*passed", slow=True)


FAULTS = [
    _row(
        "10",
        "serial, pools, shares and Dask: the same rows",
        f"{SAME}::test_the_same_rows_whoever_makes_them",
    ),
    _row(
        "10",
        "the same with rows that time out",
        f"{SAME}::test_the_same_rows_but_for_those_that_timed_out",
    ),
    _row("10", "SLURM: the same rows", f"{SAME}::test_the_same_rows_from_slurm"),
    _row(
        "13",
        "more shards than elements, lost elements",
        f"{SLURM}::test_more_shards_than_the_array_may_have_elements_and_lost_ones_are_submitted_again",
    ),
    _row(
        "13",
        "array elements killed and requeued",
        f"{SLURM}::test_killed_and_requeued_elements_are_run_again",
    ),
    _row(
        "14",
        "the signal before the time limit: requeued",
        f"{SLURM}::test_the_signal_before_the_time_limit_requeues_until_all_is_there",
    ),
    _row(
        "14",
        "every job of all steps stopped once",
        f"{SLURM}::test_all_steps_to_the_report_each_stopped_once_and_then_a_failing_gate",
    ),
    _row(
        "15",
        "a worker of Dask killed",
        f"{DASK}::test_a_worker_killed_in_the_middle_leaves_the_same_bytes",
    ),
    _row(
        "15",
        "a task that kills every worker of Dask",
        f"{DASK}::test_a_task_that_kills_every_worker_ends_alone",
    ),
    _row(
        "15",
        "the scheduler of Dask killed",
        f"{DASK}::test_a_scheduler_that_is_lost_is_told_and_running_again_continues",
    ),
    _row(
        "32",
        "100 configs with odd values: only ConfigError",
        f"{FUZZ}::test_whatever_stands_in_the_file_only_config_errors_come",
    ),
    _row(
        "32",
        "100 mistyped configs: only ConfigError",
        f"{FUZZ}::test_whatever_is_typed_only_config_errors_come",
    ),
    _row(
        "33",
        "SLURM's controller killed, then its node",
        f"{SLURM}::test_the_controller_is_killed_and_then_the_node_crashes",
    ),
]
