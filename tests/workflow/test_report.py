"""The verb `report`: reads the files of a run as they are, says what is missing, and needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import yaml

from sbiwb.errors import CorruptFile, RunError
from sbiwb.files import put_json, put_text, sha256
from sbiwb.rundir import put_provenance
from sbiwb.workflow.report import report
from tests.report.reading import SVG, Read, numbers

CONFIG = {
    "name": "trial",
    "problem": {
        "parameters": {
            "mu": {"kind": "normal", "unit": "mV"},
            "sigma": {"kind": "gamma", "shape": [2]},
        }
    },
    "simulate": {"train": 100, "from": None},
}
NAMES = ["mu", "sigma[0]", "sigma[1]"]


@pytest.fixture
def run(tmp_path):
    """A run folder where nothing is done."""
    folder = tmp_path / "trial"
    put_text(folder / "config.yaml", yaml.safe_dump(CONFIG))
    return folder


def simulated(run):
    split = {
        "rows": 120,
        "simulated": 125,
        "failed": 5,
        "p_valid": 0.96,
        "shards": 2,
        "bytes": 1000,
        "seconds": 3.0,
    }
    put_json(run / "data/manifest.json", {"splits": {"train": split}})
    put_provenance(run / "data", seconds=3.0, facts={"seed": 11, "data_hash": "of the data"})
    for shard, kinds in enumerate(
        [[b"timeout", b"timeout", b"not finite"], [b"timeout", b"exception"]]
    ):
        name = run / f"data/train/shard-00000{shard}"
        put_json(name.with_suffix(".json"), {"failed": len(kinds)})
        with h5py.File(name.with_suffix(".h5"), "w") as file:
            file["failures/kind"] = np.array(kinds)


def trained(run):
    put_text(run / "train/best.pt", "weights")
    line = {"step": 10, "train_loss": 2.0, "validation_loss": 2.5}
    put_text(
        run / "train/metrics.jsonl",
        f'{json.dumps(line)}\n{json.dumps(line | {"step": 20, "validation_loss": 1.5})}\n{{"step": 3',
    )
    put_provenance(
        run / "train",
        seconds=50.0,
        facts={"step": 20, "reason": "steps", "best_step": 20, "best_loss": 1.5, "gap": 0.0},
    )


def diagnosed(run, weights="weights"):
    put_json(run / "diagnose/numbers.json", numbers(NAMES))
    put_provenance(run / "diagnose", seconds=5.0, facts={"weights": sha256(weights.encode())})
    (run / "diagnose/sbc.svg").write_bytes(SVG)
    (run / "diagnose/sbc.png").write_bytes(b"\x89PNG")
    (run / "diagnose/coverage.png").write_bytes(b"\x89PNG")


def sampled(run, weights="weights"):
    row = {"data_set": "seen", "name": "mu", "mean": 1.25, "sd": 0.5}
    put_json(
        run / "sample/seen/summary.json",
        {"observation": "seen", "warnings": ["far away"], "rows": [row]},
    )
    put_provenance(
        run / "sample/seen", seconds=1.0, facts={"draws": 4000, "weights": sha256(weights.encode())}
    )
    (run / "sample/seen/pairs.svg").write_bytes(SVG)


STEPS = (simulated, trained, diagnosed, sampled)


def read(run) -> Read:
    return Read.of(report(run).read_text())


def test_nothing_to_report_is_an_error(run, tmp_path):
    with pytest.raises(RunError, match=r"nothing to report yet.*sbiwb run"):
        report(run)
    with pytest.raises(RunError, match=r"no run folder"):
        report(tmp_path)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    "text",
    ["", "- 1", "problem: {parameters: 3}", "problem: {parameters: {mu: 1}}", "a: [", "problem: 1"],
)
def test_a_config_that_is_none_is_an_error(run, text):
    simulated(run)
    put_text(run / "config.yaml", text)
    with pytest.raises(RunError, match="is not the config of a run"):
        report(run)


@pytest.mark.parametrize("done", range(1, 5))
def test_each_step_adds_its_part_and_the_rest_is_told(run, done):
    for step in STEPS[:done]:
        step(run)
    page = read(run)
    told, missing = page.text, page.inside("code")
    verbs = ("simulate", "train", "diagnose", "sample")
    assert [f"sbiwb {verb} {run}" in missing for verb in verbs] == [at >= done for at in range(4)]
    shown = ("timeout 3, not finite 1, exception 1", "at step 20", "All tests pass.", "far away")
    assert [words in told for words in shown] == [at < done for at in range(4)]


def test_the_svg_of_a_picture_is_taken_and_a_png_where_there_is_none(run):
    for step in STEPS:
        step(run)
    page = read(run)
    assert len(page.tags("svg")) == 3  # sbc, pairs, and the loss, drawn from the metrics
    assert len(page.tags("img")) == 1


def test_reporting_twice_changes_nothing_and_touches_nothing_else(run):
    for step in STEPS:
        step(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    first = report(run).read_bytes()
    assert report(run) == run / "report.html"
    assert report(run).read_bytes() == first
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before | {
        run / "report.html": first
    }


def test_what_is_of_other_weights_is_said(run):
    for step in STEPS:
        step(run)
    assert "other weights" not in read(run).text
    diagnosed(run, "older")
    assert "The verdict and its pictures are of other weights" in read(run).text
    diagnosed(run)
    sampled(run, "older")
    assert "What is said about seen is of other weights" in read(run).text


def test_the_simulations_of_another_run_are_read_where_they_are(run, tmp_path):
    simulated(tmp_path / "first")
    put_text(run / "config.yaml", yaml.safe_dump(CONFIG | {"simulate": {"from": "../first"}}))
    trained(run)
    assert "timeout 3" in read(run).text


def test_a_damaged_file_is_an_error_with_its_name(run):
    trained(run)
    put_text(run / "diagnose/numbers.json", "{")
    with pytest.raises(CorruptFile) as found:
        report(run)
    assert found.value.where == str(run / "diagnose/numbers.json")


def test_it_needs_no_torch(run):
    for step in STEPS:
        step(run)
    code = "import sys; from pathlib import Path; from sbiwb.workflow.report import report; report(Path(sys.argv[1]))"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(run)], check=True, timeout=60)
