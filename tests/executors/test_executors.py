"""Executors: every member keeps one contract; the pool also survives its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sbiwb.errors import DataError, SimulatorError
from sbiwb.executors import Cluster, WorkerDied, family
from tests.executors import tasks

ROOT = Path(__file__).parents[2]


@pytest.fixture(
    params=[name for name in family.names() if name != "slurm"]
)  # which runs simulations only: tests/cluster
def executor(request):
    options = {"workers": 2} if "workers" in family.config(request.param).model_fields else {}
    if request.param == "dask":
        options["scheduler"] = request.getfixturevalue("dask_scheduler")
    return family.parse({"kind": request.param, **options}).build(Cluster())


def numbered(count: int, **more) -> list[dict]:
    return [{"n": n, **more} for n in range(count)]


def test_every_task_comes_back_with_its_result(executor):
    found = list(executor.run(tasks.double, numbered(7)))
    assert sorted((task["n"], result) for task, result in found) == [(n, 2 * n) for n in range(7)]
    assert executor.workers >= 1


def test_no_task_is_no_result(executor):
    assert list(executor.run(tasks.double, [])) == []


def test_what_a_user_can_mend_comes_back_as_the_result(executor):
    found = {task["n"]: result for task, result in executor.run(tasks.odd_fail, numbered(4))}
    assert (found[0], found[2]) == (0, 2)
    assert isinstance(found[1], DataError) and isinstance(found[3], DataError)
    assert (found[3].what, found[3].where, found[3].todo) == ("3 is odd", "here", "Use even ones.")


def test_our_own_bug_rises(executor):
    with pytest.raises(ZeroDivisionError, match="ours"):
        list(executor.run(tasks.bug, numbered(1)))


def test_it_can_be_left_early(executor):
    results = executor.run(tasks.double, numbered(50))
    next(results)
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 5


def test_a_killed_worker_costs_one_retry(tmp_path):
    found = list(
        family.parse({"kind": "pool", "workers": 2})
        .build(Cluster())
        .run(tasks.die_once, numbered(3, folder=str(tmp_path)))
    )
    assert sorted(result for _, result in found) == [0, 1, 2]
    assert (tmp_path / "1").exists(), "the worker was never killed"


@pytest.mark.parametrize(
    ("work", "more", "cause"),
    [
        (tasks.die_always, {}, "killed by SIGKILL"),
        (tasks.die_always, {"signal": int(signal.SIGSEGV)}, "killed by SIGSEGV"),
        (tasks.leave, {}, "exit code 3"),
    ],
)
def test_a_worker_that_always_dies_is_named_and_the_others_go_on(work, more, cause):
    found = {
        task["n"]: result
        for task, result in family.parse({"kind": "pool", "workers": 1})
        .build(Cluster())
        .run(work, numbered(2, **more))
    }
    assert isinstance(found[1], SimulatorError)
    assert (
        f"died 2 times ({cause})" in found[1].what or "it ended at once" in found[1].what
    )  # before pebble knew it had begun
    assert "n 1" in found[1].where
    assert "machine.executor=serial" in found[1].todo
    if work is tasks.die_always:
        assert found[0] == 0


@pytest.mark.parametrize(
    ("work", "cause"),
    [(tasks.leave_quietly, "exit code 0"), (tasks.hang_in_compiled_code, "exit code 1")],
)
def test_a_worker_that_ends_without_a_word_or_hangs_is_noticed(work, cause):
    found = {
        task["n"]: result
        for task, result in family.parse({"kind": "pool", "workers": 1})
        .build(Cluster())
        .run(work, numbered(3))
    }
    assert isinstance(found[1], WorkerDied) and f"died 2 times ({cause})" in found[1].what
    assert (found[0], found[2]) == (0, 2)


def test_what_workers_print_and_leave_running_is_gone(capfd):
    found = [
        pid
        for _, pid in family.parse({"kind": "pool", "workers": 1})
        .build(Cluster())
        .run(tasks.shout_and_litter, numbered(2))
    ]
    assert len(found) == 2 and capfd.readouterr() == ("", "")
    _until(lambda: not any(_lives(pid) for pid in found))


def test_a_worker_counts_with_one_thread():
    assert [
        result
        for _, result in family.parse({"kind": "pool", "workers": 1})
        .build(Cluster())
        .run(tasks.threads, numbered(1))
    ] == ["1"]


def test_no_worker_outlives_its_parent(tmp_path):
    code = (
        "from sbiwb.executors import family\nfrom sbiwb.executors import Cluster\nfrom "
        "tests.executors import tasks\n"
        "if __name__ == '__main__':\n"
        f"    work = [{{'n': n, 'folder': {str(tmp_path)!r}}} for n in range(2)]\n"
        "    list(family.parse({'kind': 'pool', 'workers': "
        "2}).build(Cluster()).run(tasks.mark_and_wait, work))\n"
    )
    script = tmp_path / "main.py"
    script.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        _until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    finally:
        parent.kill()
        parent.wait()
    _until(lambda: not any(_lives(int(mark.stem)) for mark in tmp_path.glob("*.pid")))


def _until(true, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
