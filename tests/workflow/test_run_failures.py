"""Faults of whole runs: failures count over all records, a finished run is not read again."""

from __future__ import annotations

import json
import time

import pytest

from sbiwb.errors import CorruptFile, FailureRateError, RunError
from sbiwb.rundir import RunDir
from sbiwb.steps.pairs.row_ticker import RowTicker
from sbiwb.store import shard_progress, shards
from sbiwb.store.shard_progress import ProgressNote, running_shards
from sbiwb.store.shard_record import read_record, shard_path
from sbiwb.workflow import worker as module
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.simulate_plan import Planner
from sbiwb.workflow.status import status
from sbiwb.workflow.worker import worker
from tests.tiny import SIMULATOR

UNLUCKY = """def simulate(mu, *, rng, n):
    if rng.random() < 0.5:
        raise ValueError("unlucky")
    return {"y": mu + rng.standard_normal(n)}
"""
FEW = {"train": 400, "validation": 50, "test": 50, "shard_size": 50}


@pytest.fixture
def unlucky(tiny, recorder, monkeypatch):
    from sbiwb.executors.serial import SerialExecutor

    monkeypatch.setattr(module, "PoolExecutor", lambda workers: SerialExecutor())
    project = tiny(
        problem={"batched": False},
        simulate={**FEW, "block_size": 1, "failures": {"max_rate": 0.05}},
    )
    project.simulator(UNLUCKY)
    Planner(project.open(), recorder).prepare()
    return project


def simulations(project) -> int:
    return status(project.run).valid.simulated


@pytest.mark.parametrize("count", [1, 3])
def test_shards_too_small_to_be_judged_stop_the_array_together(unlucky, recorder, count):
    for index in range(count):
        with pytest.raises(FailureRateError, match=r"more than simulate.failures.max_rate = 0\.05"):
            for _ in range(4):  # until enough is there to be judged
                worker(unlucky.run, recorder, index=index, count=count)
    assert 200 <= simulations(unlucky) < 400


def test_what_elements_recorded_stops_simulate_before_it_begins(unlucky, recorder):
    with pytest.raises(FailureRateError):
        worker(unlucky.run, recorder, index=0, count=1)
    before = unlucky.shards()
    with pytest.raises(FailureRateError, match="for example: ValueError: unlucky"):
        simulate(unlucky.open(), recorder)
    assert unlucky.shards() == before


def test_no_byte_of_a_finished_run_is_read_again(tiny, recorder, monkeypatch):
    project = tiny()
    simulate(project.open(), recorder)

    def refuse(shard, record):
        raise AssertionError(f"{shard} is read")

    monkeypatch.setattr(shards, "read_bytes", refuse)
    assert simulate(project.open(), recorder)["train"].rows == 256


def test_a_damaged_shard_of_the_right_size_is_found_when_it_is_read(tiny, recorder):
    import os

    project = tiny()
    simulate(project.open(), recorder)
    path = shard_path(project.run / "data/train", 2)
    whole, record = path.read_bytes(), read_record(path)
    stat = path.stat()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    simulate(project.open(), recorder)  # neither size nor time says it
    with pytest.raises(CorruptFile, match="its checksum differs"):
        shards.read_shard(path, record)
    simulate(project.open(), recorder)
    assert path.read_bytes() == whole and "kept as shard-000002.h5.damaged" in recorder.warned[-1]


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[" * 100_000, b"7", b'{"format": 1}'])
def test_a_damaged_plan_is_written_anew(tiny, recorder, damage):
    project = tiny()
    simulate(project.open(), recorder)
    before, plan = project.shards(), RunDir(project.run).plan
    plan.write_bytes(damage)
    with pytest.raises(CorruptFile, match=r"plan\.json .* it writes the plan anew"):
        _ = project.open().data_hash
    simulate(project.open(), recorder)
    assert project.shards() == before
    assert "kept as plan.json.damaged, and written anew" in recorder.warned[0]


def test_accepted_code_survives_a_damaged_plan(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    before, plan = project.shards(), RunDir(project.run).plan
    project.simulator(SIMULATOR.replace("mu[:, None] +", "1.0 * mu[:, None] +"))
    simulate(project.open(), recorder, accept_code_change=True)
    whole = json.loads(plan.read_text())
    plan.write_text(json.dumps({**whole, "layout": 7}))
    simulate(project.open(), recorder)
    healed = json.loads(plan.read_text())
    kept = ("data_hash", "identity", "accepted")
    assert [healed[name] for name in kept] == [whole[name] for name in kept]
    assert project.shards() == before and "is lost" not in recorder.warned[-1]
    plan.write_text(json.dumps({**whole, "accepted": 7}))
    with pytest.raises(RunError, match="another problem"):
        simulate(project.open(), recorder)
    assert "with the new code and --accept-code-change" in recorder.warned[-1]


class Line:
    """A progress line that only counts."""

    done = 0

    def advance(self, n: int = 1, **facts: object) -> None:
        self.done += n


def test_rows_of_a_running_shard_are_shown_and_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_progress, "TOLD_EVERY_S", 0.0)
    run, line = RunDir(tmp_path), Line()
    run.split("train").mkdir(parents=True)
    shard = shard_path(run.split("train"), 0)
    rows = RowTicker(line, run, {("train", shard.stem): 50})
    note = ProgressNote(shard, start=time.monotonic() - 10)
    for done, shown in ((20, 20), (30, 30), (5, 30)):  # it is begun again
        note.tell(done)
        rows.look()
        assert line.done == shown
    ((stem, progress),) = running_shards(run.split("train"))
    assert (stem, progress.rows) == (shard.stem, 5) and progress.seconds >= 10
    rows.finished("train", shard.stem, failed=0)
    note.clear()
    assert line.done == 50 and list(running_shards(run.split("train"))) == []
