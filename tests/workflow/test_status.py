"""`status` and the failure ledger: from the records alone, and a picture that points to the corner
in which simulations fail."""

from __future__ import annotations

import json
import os
import shutil
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from sbiwb.cli.app import app
from sbiwb.report.failure_map import profiles
from sbiwb.submitted_jobs import SubmittedJob
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.status import RECENT_S, status
from sbiwb.workflow.status_failures import failures, gather
from tests.tiny import Recorder, Tiny, copy

CORNER = '''"""Two parameters, of which one corner raises, and a third that does not matter."""

import numpy as np


def simulate(a, b, c, *, rng, n):
    y = a[:, None] + rng.standard_normal((len(a), n))
    y[(a > 1) & (b > 1)] = np.nan
    return {"y": y}
'''
THREE = {name: {"kind": "uniform", "low": -2, "high": 2} for name in "abc"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    changes = {
        "simulate": {
            "train": 2048,
            "block_size": 128,
            "shard_size": 512,
            "failures": {"max_rate": 0.2},
        }
    }
    tiny = Tiny.write(tmp_path_factory.mktemp("corner") / "it", changes, CORNER)
    text = tiny.yaml.read_text().replace(
        "    mu:\n      kind: normal\n",
        "".join(f"    {name}: {one}\n" for name, one in THREE.items()),
    )
    tiny.yaml.write_text(text)
    simulate(tiny.open(), Recorder())
    return tiny


@pytest.fixture
def project(made, tmp_path):
    return copy(made, tmp_path / "copy")


def test_p_valid_with_its_interval_and_reasons(project):
    found = status(project.run).valid
    assert (
        found.failed == found.reasons["not finite"] > 0
        and found.simulated == 2048 + 128 + 128 + found.failed
    )
    low, high = found.interval
    assert low < 15 / 16 < high and low < found.p < high and high - low < 0.03


def test_one_interval_of_p_valid_everywhere(project, recorder):
    """In `status`, in the title of the picture of failures, and in the report."""
    from sbiwb.intervals import binomial_interval
    from sbiwb.rundir import RunDir

    valid = status(project.run).valid
    exact = binomial_interval(valid.simulated - valid.failed, valid.simulated)
    assert valid.interval == exact == gather(RunDir(project.run), recorder).interval


def test_the_ledger_knows_where(project, recorder):
    from sbiwb.rundir import RunDir

    ledger = gather(RunDir(project.run), recorder)
    assert ledger.names == ("a", "b", "c") and (ledger.failed[:, :2] > 1).all()
    assert len(ledger.failed) == status(
        project.run
    ).valid.failed and ledger.weight == pytest.approx(1)


def test_the_picture_points_to_the_corner(project, recorder):
    found = failures(project.run, recorder)
    assert {one.name for one in found.profiles[:2]} == {"a", "b"} and found.profiles[2].name == "c"
    for one in found.profiles[:2]:
        assert one.share[one.edges[1:] < 1].max() == 0 and one.share[-1] > 0.15
    assert found.profiles[2].range < 0.05
    assert (
        found.picture.read_bytes()[:4] == b"\x89PNG" and found.picture.with_suffix(".svg").exists()
    )


def test_shares_are_those_of_all_simulations():
    """Every tenth of the valid ones stands for ten."""
    rng = np.random.default_rng(0)
    x = rng.random(200_000)
    fails = rng.random(len(x)) < 0.1 * x
    (one,) = profiles(x[~fails][::10, None], x[fails][:, None], ["x"], 10.0)
    middles = (one.edges[1:] + one.edges[:-1]) / 2
    np.testing.assert_allclose(one.share, 0.1 * middles, atol=0.006)


def test_a_constant_parameter_and_one_failure_can_be_drawn():
    (one,) = profiles(np.ones((50, 1)), np.ones((1, 1)), ["x"], 1.0)
    assert one.share.tolist() == [1 / 51]


def test_no_failures_no_picture(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    assert failures(project.run, recorder).picture is None and status(project.run).valid.p == 1


def test_pace_and_time_left(project):
    records = sorted((project.run / "data/train").glob("*.json"))
    now = time.time()
    for path in project.run.glob("data/*/*.json"):
        os.utime(path, (now - 2 * RECENT_S,) * 2)
    for age, path in zip((100, 60, 20), records, strict=False):
        os.utime(path, (now - age,) * 2)
    assert status(project.run).pace is None, "nothing is missing"
    records[-1].unlink()
    found = status(project.run).pace
    assert found.rows_per_s == pytest.approx(1024 / 100, rel=0.1) and found.left_s == pytest.approx(
        512 / found.rows_per_s
    )
    assert found.age_s == pytest.approx(20, abs=5)


def test_a_record_that_cannot_be_read_is_told_and_the_rest_counts(project):
    path = project.run / "data/train/shard-000004.json"
    path.write_bytes(b"\0" * 40)
    found = status(project.run)
    assert found.broken == (path,) and found.simulated["train"][0] == 1536
    told = CliRunner().invoke(app, ["status", str(project.run)]).stdout
    assert "1 records cannot be read" in told and f"sbiwb verify {project.run}" in told


def test_jobs_that_submit_noted(project):
    (project.run / "jobs").mkdir()
    job = {"id": "17", "after": "", "elements": 5, "submitted": "2026-01-02T03:04:05+0000"}
    (project.run / "jobs/jobs.json").write_text(
        json.dumps({"format": 1, "jobs": {"simulate": job}})
    )
    known = SubmittedJob("17", "", 5, "2026-01-02T03:04:05+0000")
    assert status(project.run).jobs == {"simulate": known}
    assert (
        "simulate 17, 5 elements, submitted 2026-01-02T03:04"
        in CliRunner().invoke(app, ["status", str(project.run)]).stdout
    )


def test_the_command_tells_failures_and_draws_them(project):
    told = CliRunner().invoke(app, ["status", str(project.run), "--failures"])
    assert (
        told.exit_code == 0
        and "p(valid)" in told.stdout
        and "not finite" in told.stdout
        and "failures.png" in told.stdout
    )


def test_no_array_is_read(project):
    for path in project.run.glob("data/*/*.h5"):
        path.write_bytes(b"")
    assert status(project.run).simulated["train"] == (
        2048,
        2048,
        4,
        status(project.run).simulated["train"][3],
    )


def test_an_empty_run(project):
    shutil.rmtree(project.run / "data")
    found = status(project.run)
    assert (
        found.simulated["train"] == (0, 2048, 0, 0)
        and found.valid is None
        and found.todo == f"sbiwb simulate {project.run}"
    )


def test_the_report_says_how_often_simulations_come_out(project):
    from sbiwb.workflow.report import report

    valid = status(project.run).valid
    assert (
        f"p(valid) = {valid.p:.4f} (95 %: {valid.interval[0]:.4f} to {valid.interval[1]:.4f}"
        in report(project.run).read_text()
    )
