"""The benchmark's harness without its peers: what the records say, how events are sorted, and our
side's quick jobs."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.bench import ours
from tests.bench.contenders import EVERYONE, OURS, PEERS, SBI, Load, command, requirements, run
from tests.bench.kernels import kind_of, shares
from tests.bench.peers.protocol import Job, epochs_of, peak_mb
from tests.bench.results import distinct, first_time, tables
from tests.bench.tasks import Sizes, prepare


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return prepare("two_moons", tmp_path_factory.mktemp("bench"), Sizes.quick())


@pytest.fixture
def job(task):
    settings = [*Sizes.quick().settings, f"simulate.from={task.shards}", "machine.threads=1"]
    return Job(
        "",
        "sbiwb",
        str(task.data),
        quick=True,
        draws=50,
        settings=settings,
        more={"config": str(task.config)},
    )


def test_first_time_at_or_below_the_target():
    history = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert first_time(history, 2.0) == 2.0
    assert first_time(history, 1.5) == 3.0
    assert first_time(history, 0.5) == math.inf


def test_epochs_leave_out_the_first():
    assert epochs_of(100, [9.0, 1.0, 2.0, 4.0])["pairs_per_s"] == 50


def fitted(contender, seed, seconds, nll, **more):
    return {
        "measure": "fit",
        "task": "slcp",
        "contender": contender,
        "seed": seed,
        "seconds": seconds,
        "test_nll": nll,
        "peak_mb": 1,
        **more,
    }


def test_fit_compares_the_time_to_the_median_of_the_peer():
    records = [
        *(
            fitted("sbi nsf", seed, 100.0, nll, seconds_to_best=80.0)
            for seed, nll in enumerate([4.0, 5.0, 6.0])
        ),
        *(
            fitted("sbiwb cold", seed, 20.0, 4.0, history=[(2.0, 7.0), (5.0 * (seed + 1), 5.0)])
            for seed in range(3)
        ),
        fitted("sbiwb warm", 0, 20.0, 6.0, history=[(2.0, 7.0), (5.0, 6.0)]),
        fitted("lampe nsf", 0, 50.0, 4.5),
        {**fitted("bayesflow jax", 0, 0, 0), "error": "killed"},
    ]
    (table,) = tables(records)
    rows = {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.cells}
    assert list(rows) == ["sbi nsf", "sbiwb cold", "sbiwb warm", "lampe nsf"]
    assert (
        rows["sbiwb cold"]["s to 5.000"] == "10.0"
        and rows["sbiwb cold"]["÷ of sbi"] == "10.0"
        and rows["sbiwb cold"]["÷ of its best"] == "8.0"
    )
    assert rows["sbiwb warm"]["s to 5.000"] == "never" and rows["sbiwb warm"]["÷ of sbi"] == "0.0"
    assert rows["lampe nsf"]["s to 5.000"] == ""


def test_step_and_draws_are_medians_and_ratios():
    steps = [
        {
            "measure": "step",
            "task": "slcp",
            "contender": name,
            "batch_size": 200,
            "pairs_per_s": value,
            "parameters": 10,
            "peak_mb": 5,
        }
        for name, values in {"sbiwb": [70, 90, 80], "sbi nsf": [10, 8, 50]}.items()
        for value in values
    ]
    draws = [
        {
            "measure": "draws",
            "task": "slcp",
            "contender": "sbi nsf",
            "draws_per_s": 5,
            "observations": 2,
            "draws": 3,
        }
    ]
    first, second = tables([*steps, *draws])
    assert first.cells == [("sbiwb", "10", "80", "1.0", "5"), ("sbi nsf", "10", "10", "8.0", "5")]
    assert "2 observations × 3 draws" in second.title and second.cells[0][3:5] == ("5", "1.0")


def test_events_are_sorted():
    kinds = {
        "aten::mm": "matrix",
        "sbiwb::forward": "own",
        "aten::add": "aten",
        "Optimizer.step#AdamW.step": "rest",
    }
    assert {name: kind_of(name) for name in kinds} == kinds
    found = shares(
        [("aten::addmm", 20.0, 1), ("sbiwb::forward", 30.0, 1), ("aten::add", 10.0, 1)],
        step_us=100.0,
        plain_us=62.5,
    )
    assert [
        found[name] for name in ("matrix", "own", "aten", "rest", "uncompiled")
    ] == pytest.approx([0.2, 0.3, 0.1, 0.4, 0.2])


def test_every_peer_has_pinned_requirements():
    wanted = requirements()
    assert {one.environment for one in PEERS} | {"TORCH"} == set(wanted)
    assert all("==" in one for line in wanted.values() for one in line)
    assert {one.fitted for one in EVERYONE} <= {one.name for one in EVERYONE}


def test_a_job_survives_the_command_line(job, tmp_path):
    words = command(SBI, job, tmp_path)
    assert words[0] == str(tmp_path / "sbi/bin/python") and Job(**json.loads(words[-1])) == job


def test_a_process_that_fails_is_a_record(job, tmp_path):
    broken = replace(job, measure="step", more={"config": "nowhere.yaml"})
    assert "nowhere" in run(OURS, broken, envs=tmp_path, variables={}, timeout_s=120)["error"]


def test_strangers_are_what_the_machine_did_besides_us():
    assert Load(100.0, 10.0, 0.0).strangers(Load(106.0, 14.0, 4.0)) == 0.5
    assert Load.now().strangers(Load.now()) >= 0


def test_the_data_are_ours_and_the_prior_is_told(task):
    with np.load(task.data) as data:
        assert (
            data["theta"].shape == (2_000, 2)
            and data["test_x"].shape == (500, 2)
            and data["observations"].shape == (20, 2)
        )
        assert (
            data["prior_kind"] == "uniform"
            and (data["prior_a"] == -1).all()
            and (data["prior_b"] == 1).all()
        )


def test_step_of_ours(job):
    found = ours.step(job)
    assert found["pairs_per_s"] > 100 and found["parameters"] > 1_000 and found["first_step_s"] > 0


def test_fit_and_draws_of_ours(job, tmp_path):
    kept = replace(job, save=str(tmp_path / "fit"))
    found = ours.fit(kept)
    times, nlls = zip(*found["history"], strict=True)
    assert list(times) == sorted(times) and times[-1] <= found["seconds"] and nlls[-1] < nlls[0]
    assert found["test_nll"] == pytest.approx(nlls[-1]) and found["test_nll"] < np.log(
        4
    )  # that of the prior
    drawn = ours.draws(kept)
    assert (
        drawn["test_nll"] == pytest.approx(found["test_nll"])
        and drawn["draws_per_s"] > 100
        and drawn["parameters"] == found["parameters"]
    )
    assert ours.many(kept)["draws"] == 2_500 and 50 < peak_mb() < 10_000


def test_profile_of_ours(job):
    found = ours.profile(job)
    assert sum(found[name] for name in ("matrix", "own", "aten", "rest")) == pytest.approx(
        1, abs=0.01
    )
    assert found["own"] > 0.05 and any(name.startswith("sbiwb::") for name, *_ in found["largest"])


def test_growth_of_ours(job):
    found = ours.growth(
        replace(
            job,
            settings=["machine.threads=1"],
            more={"features": 3, "context": 4, "pairs": 500, "observations": 20},
        )
    )
    assert found["pairs_per_s"] > 100 and found["draws_per_s"] > 100 and found["features"] == 3


def test_tables_of_records_as_they_are_kept(job):
    record = {
        "measure": "profile",
        "task": "two_moons",
        "contender": "sbiwb",
        "batch_size": 200,
        **ours.profile(job),
    }
    (table,) = tables(json.loads(json.dumps([record])))
    assert len(table.cells[0]) == len(table.heads) and distinct([record], "task") == ["two_moons"]
    assert asdict(table)["title"].startswith("Profile")
