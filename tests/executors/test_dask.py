"""Dask for real: a killed worker costs nothing, a poison task only itself, and a lost scheduler is
told.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("distributed", reason="the extra `dask` is not installed")

from sbiwb.errors import RunError, SimulatorError
from sbiwb.executors import Cluster, family
from sbiwb.executors.dask import jobqueue_options
from sbiwb.workflow import simulate as module
from sbiwb.workflow.simulate import simulate
from tests.cluster.conftest import SIMULATOR
from tests.executors import tasks
from tests.tiny import Recorder, Tiny, until

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def dask(**options):
    return family.parse({"kind": "dask", "workers": 2, **options}).build(Cluster())


def numbered(count: int, **more) -> list[dict]:
    return [{"n": n, **more} for n in range(count)]


def test_a_killed_worker_costs_one_retry(tmp_path):
    found = {
        task["n"]: result
        for task, result in dask().run(tasks.die_once, numbered(4, folder=str(tmp_path)))
    }
    assert found == {n: n for n in range(4)} and (tmp_path / "1").exists()


@pytest.mark.slow
def test_a_task_that_kills_every_worker_ends_alone():
    found = {task["n"]: result for task, result in dask().run(tasks.die_always, numbered(6))}
    assert {n: found[n] for n in (0, 2, 3, 4, 5)} == {n: n for n in (0, 2, 3, 4, 5)}
    assert isinstance(found[1], SimulatorError)
    assert "a worker process died 3 times" in found[1].what and "n 1" in found[1].where


def test_a_scheduler_that_is_not_there_is_told(monkeypatch):
    from sbiwb.executors import dask as part

    monkeypatch.setattr(part, "CONNECT_S", 1.0)
    with pytest.raises(RunError) as caught:
        list(dask(scheduler="tcp://127.0.0.1:9").run(tasks.double, numbered(1)))
    assert (
        caught.value.what == "no scheduler answers at tcp://127.0.0.1:9"
        and "dask scheduler" in caught.value.todo
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("undisturbed"), {}, SIMULATOR)
    simulate(tiny.open(), Recorder())
    return tiny


def test_a_worker_killed_in_the_middle_leaves_the_same_bytes(
    tmp_path, monkeypatch, recorder, undisturbed
):
    monkeypatch.setattr(module, "NOT_WORTH_A_POOL_S", 0)
    monkeypatch.setenv("TINY_SLEEP", "0.3")
    tiny = Tiny.write(
        tmp_path, {"machine": {"executor": {"kind": "dask", "workers": 2}}}, SIMULATOR
    )
    killed: list[int] = []

    def kill_one():
        until(tiny.shards)
        killed.append(workers_of_dask()[0])
        os.kill(killed[0], signal.SIGKILL)

    hand = threading.Thread(target=kill_one)
    hand.start()
    simulate(tiny.open(), recorder)
    hand.join()
    assert killed
    assert tiny.shards() == undisturbed.shards()


def workers_of_dask() -> list[int]:
    """Processes of Dask's workers below this one."""
    import psutil

    return [
        child.pid
        for child in psutil.Process().children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_told_and_running_again_continues(
    tmp_path, monkeypatch, undisturbed
):
    monkeypatch.setattr(module, "NOT_WORTH_A_POOL_S", 0)
    monkeypatch.setenv("TINY_SLEEP", "0.4")
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    scheduler = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
        ],
        **options,
    )
    address = next(
        found[0] for line in scheduler.stderr if (found := re.search(r"tcp://127.0.0.1:\d+", line))
    )
    threading.Thread(target=scheduler.stderr.read).start()
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-dashboard",
        ],
        **options,
    )
    threading.Thread(target=worker.stderr.read).start()
    try:
        tiny = Tiny.write(
            tmp_path, {"machine": {"executor": {"kind": "dask", "scheduler": address}}}, SIMULATOR
        )
        hand = threading.Thread(target=lambda: (until(tiny.shards), scheduler.kill()))
        hand.start()
        start = time.monotonic()
        with pytest.raises(RunError, match="the scheduler of Dask is lost"):
            simulate(tiny.open(), Recorder())
        assert time.monotonic() - start < 100
        hand.join()
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
    assert 0 < len(tiny.shards()) < 6
    simulate(tiny.open("machine.executor=serial"), Recorder())
    assert tiny.shards() == undisturbed.shards()


def test_its_options_can_be_written_out_and_read_again():
    part = family.parse({"kind": "dask"})
    assert family.parse(part.model_dump(mode="json")) == part
    assert (
        part.build(Cluster()).workers >= 1
        and family.parse({**part.model_dump(mode="json"), "cluster": "pbs"})
        .build(Cluster(array=7))
        .workers
        == 7
    )


def test_jobs_ask_for_what_the_cluster_section_says():
    cluster = Cluster(
        partition={"simulate": "cpu"},
        account="me",
        time_min=90,
        cpus=2,
        memory_gb=3.0,
        environment=["module load x"],
    )
    slurm, pbs, lsf = (jobqueue_options(where, cluster) for where in ("slurm", "pbs", "lsf"))
    assert (
        slurm["queue"],
        slurm["account"],
        slurm["walltime"],
        slurm["memory"],
        slurm["job_cpu"],
    ) == ("cpu", "me", "01:30:00", "3GiB", 2)
    assert slurm["job_script_prologue"] == ["module load x"] and slurm["worker_extra_args"] == [
        "--lifetime",
        "5220s",
    ]
    assert pbs["resource_spec"] == "select=1:ncpus=2:mem=3072mb"
    assert (lsf["project"], lsf["walltime"], lsf["ncpus"]) == ("me", "01:30", 2)
