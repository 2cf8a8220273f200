"""Real SLURM: whatever happens to elements, nodes and the controller, the shards are those of a
serial run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sbiwb.errors import RunError, SimulatorError
from sbiwb.executors import slurm as slurm_executor
from sbiwb.files import read_json
from sbiwb.steps.pairs.tasks import missing_tasks, simulate_shard
from sbiwb.workflow import simulate as module
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.simulate_plan import Planner
from sbiwb.workflow.submit import submit
from tests.cluster.conftest import state, told
from tests.tiny import Recorder, Tiny, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
FAILS = '''"""A check that fails whenever it is asked to."""
from dataclasses import dataclass

from matplotlib.figure import Figure
from pydantic import Field

from sbiwb.evidence import Value
from sbiwb.contracts import DiagnosticPart


class Config(DiagnosticPart):
    p: float = Field(1.0, description="Its p-value.")


@dataclass(frozen=True)
class Result:
    values: tuple
    definitions = {"made": "as asked"}


def compute(draws, config):
    return Result(tuple(Value("made", name, 0.5, p=config.p, effect=0.5, effect_interval=(0.4, 0.6)) for name in draws.names))


def plot(result):
    return Figure()
'''


@pytest.fixture
def follow(monkeypatch):
    """Begins `simulate` by the executor in a thread, and keeps the scripts that it submits."""
    monkeypatch.setattr(module, "NOT_WORTH_A_POOL_S", 0)
    submitted = slurm_executor.submit

    def begin(tiny: Tiny) -> Follower:
        follower = Follower(tiny)

        def remember(path: Path, **options) -> str:
            follower.scripts.append(path.read_text())
            return submitted(path, **options)

        monkeypatch.setattr(slurm_executor, "submit", remember)
        follower.start()
        return follower

    return begin


class Follower(threading.Thread):
    def __init__(self, tiny: Tiny) -> None:
        super().__init__()
        self.tiny, self.recorder, self.error = tiny, Recorder(), None
        self.scripts: list[str] = []

    def run(self) -> None:
        try:
            simulate(self.tiny.open(), self.recorder)
        except Exception as error:
            self.error = error

    def end(self) -> None:
        self.join(timeout=240)
        assert not self.is_alive()
        if self.error:
            raise self.error


def send(tiny: Tiny, what: str) -> dict[str, str]:
    """Submits from an environment like a user's; gives the job of each step."""
    return {job.step: job.id for job in submit(tiny.open(), Recorder(), what=what)}


def processes() -> Iterator[tuple[int, list[str]]]:
    """Number and words of each process of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has just ended
        yield int(path.parent.name), words


def element_running(tiny: Tiny, share: str) -> int:
    """Process of an array element, once it runs."""
    found: list[int] = []

    def look() -> bool:
        found.extend(
            pid for pid, words in processes() if words[4:7] == ["worker", str(tiny.run), share]
        )
        return bool(found)

    until(look)
    return found[0]


def output(tiny: Tiny) -> str:
    return "".join(path.read_text() for path in sorted(tiny.run.glob("jobs/*.log")))


def test_more_shards_than_the_array_may_have_elements_and_lost_ones_are_submitted_again(
    on_slurm, follow, serial
):
    tiny = on_slurm(sleep=0.5, cluster={"array": 100})
    follower = follow(tiny)
    until(tiny.shards)
    told("scancel", "--name=sbiwb-tiny-simulate")
    follower.end()
    assert tiny.shards() == serial and len(serial) == 6
    assert "#SBATCH --array=0-2\n" in follower.scripts[0]
    assert len(follower.scripts) > 1
    assert follower.recorder.advanced["simulate"] == 256 + 64 + 64


def test_killed_and_requeued_elements_are_run_again(on_slurm, slurm, serial):
    tiny = on_slurm(sleep=0.7)
    job = send(tiny, "simulate")["simulate"]
    until(tiny.shards)
    told("scontrol", "requeue", f"{job}_0")
    os.kill(element_running(tiny, share="1"), signal.SIGKILL)
    slurm.empty()
    assert "Killed" in (tiny.run / "jobs/simulate-1.log").read_text()
    assert tiny.shards() == serial


def test_who_leaves_early_leaves_no_job_behind(on_slurm, slurm):
    """The cancelled elements stop with 75, and yet must not queue themselves again."""
    tiny = on_slurm(sleep=2)
    project = tiny.open()
    planner = Planner(project, Recorder())
    grids = planner.grids(planner.prepare())
    tasks = missing_tasks(project.run, grids, project.data_hash, Recorder())
    values = [task.to_json() for task in tasks]
    results = project.config.machine.build_executor().run(simulate_shard, values)
    next(results)
    results.close()
    slurm.empty(60)
    assert 0 < len(tiny.shards()) < 6


def test_the_signal_before_the_time_limit_requeues_until_all_is_there(on_slurm, slurm, serial):
    """SLURM looks at the limits once a minute, and warns up to a minute early: here 30 to 90
    seconds after the start.
    """
    tiny = on_slurm(sleep=8, cluster={"time_min": 2, "signal_s": 30, "array": 1})
    job = send(tiny, "simulate")["simulate"]
    slurm.empty(200)
    assert "stopped by SIGUSR2" in output(tiny) and "Restarts=" in told(
        "scontrol", "show", "job", job
    )
    assert "Restarts=0" not in told("scontrol", "show", "job", job)
    assert tiny.shards() == serial
    assert not list(tiny.run.glob("jobs/element-*.json"))


def test_the_controller_is_killed_and_then_the_node_crashes(on_slurm, slurm, follow, serial):
    tiny = on_slurm(sleep=2)
    follower = follow(tiny)
    until(tiny.shards)
    time.sleep(
        4
    )  # younger jobs are not on the controller's disk yet, and their numbers are given out again
    slurm.kill("slurmctld")
    time.sleep(1)
    slurm.start("slurmctld")
    slurm.kill("slurmd")
    for pid, words in processes():  # with all that runs on it
        if str(tiny.run) in words or words[0].startswith("slurmstepd: ["):
            os.kill(pid, signal.SIGKILL)
    there = len(tiny.shards())
    slurm.start("slurmd")
    time.sleep(1)
    told("scontrol", "reconfigure")
    follower.end()
    assert there < 6 and tiny.shards() == serial


def test_a_broken_simulator_is_told_as_by_any_executor(on_slurm, slurm, follow):
    tiny = on_slurm()
    project = tiny.open()
    simulate(tiny.open("machine.executor=serial"), Recorder())
    for path in tiny.run.glob("data/*/shard*"):
        path.unlink()
    os.environ["TINY_SLEEP"] = "no number"
    with pytest.raises(SimulatorError) as caught:
        simulate(project, Recorder())
    assert "could not convert string to float" in str(caught.value)
    slurm.empty(60)


def signal_each_once(jobs: dict[str, str]) -> None:
    """What SLURM sends before the time limit, to each job as soon as it runs."""
    for job in jobs.values():
        until(lambda job=job: state(job) not in ("PENDING", "CONFIGURING"), 120)
        time.sleep(2)
        subprocess.run(
            ["scancel", "--signal=USR2", job], timeout=60, check=False, capture_output=True
        )  # it may have ended


def test_all_steps_to_the_report_each_stopped_once_and_then_a_failing_gate(on_slurm, slurm, serial):
    tiny = on_slurm(diagnose={"checks": [{"kind": "fails.py"}, "nlpd"]})
    (tiny.folder / "fails.py").write_text(FAILS)
    jobs = send(tiny, "all")
    with pytest.raises(RunError, match="jobs of this run are in the queue"):
        submit(tiny.open(), Recorder(), what="train")
    signal_each_once(jobs)
    slurm.empty()
    assert {step: state(job) for step, job in jobs.items()} == dict.fromkeys(jobs, "COMPLETED"), (
        output(tiny)
    )
    assert "Restarts=1 " in told("scontrol", "show", "job", jobs["train"])
    assert tiny.shards() == serial
    assert (tiny.run / "report.html").is_file() and (
        tiny.run / "sample/seen/posterior.nc"
    ).is_file()
    assert {
        step: job["id"] for step, job in read_json(tiny.run / "jobs/jobs.json")["jobs"].items()
    } == jobs

    tiny.change(
        {**_machine(tiny), "diagnose": {"checks": [{"kind": "fails.py", "p": 1e-9}, "nlpd"]}}
    )
    (tiny.run / "data/train/shard-000002.h5").unlink()
    again = send(tiny, "all")
    slurm.empty()
    assert list(again) == ["simulate", "train", "diagnose", "sample", "report"]
    assert [state(job) for job in again.values()] == [
        "COMPLETED",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "COMPLETED",
    ], output(tiny)
    assert tiny.shards() == serial
    assert "Exited with exit code 3" in (tiny.run / "jobs/diagnose.log").read_text()


def _machine(tiny: Tiny) -> dict:
    import yaml

    return {"machine": yaml.safe_load(tiny.yaml.read_text())["machine"]}


def test_dask_gets_its_workers_from_slurm(on_slurm, slurm, serial, monkeypatch):
    pytest.importorskip("dask_jobqueue", reason="the extra `dask` is not installed")
    monkeypatch.setattr(module, "NOT_WORTH_A_POOL_S", 0)
    tiny = on_slurm(cluster={"memory_gb": 0.5})
    tiny.change(merged_machine(tiny, {"kind": "dask", "cluster": "slurm", "workers": 2}))
    simulate(tiny.open(), Recorder())
    slurm.empty(60)
    assert tiny.shards() == serial


def merged_machine(tiny: Tiny, executor: dict) -> dict:
    machine = _machine(tiny)["machine"]
    return {"machine": {**machine, "executor": executor}}
