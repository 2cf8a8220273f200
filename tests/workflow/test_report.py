"""The verb `report`: reads the files of a run as they are, says what is missing, and needs no
torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from ctypes.util import find_library

import h5py
import numpy as np
import pytest
import yaml
from scipy.stats import beta

from sbiwb.errors import ConfigError, CorruptFile, RunError
from sbiwb.files import put_json, put_text, sha256
from sbiwb.rundir import put_provenance
from sbiwb.workflow.report import figures, report
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
    ("text", "why"),
    [
        ("", r" \(the file is empty\)"),
        ("- 1", r" \(the top level is not a mapping\)"),
        ("a: [", r" \(not YAML"),
        ("[" * 10_000, r" \("),
        ("problem: 1", ""),
        ("problem: {parameters: 3}", ""),
        ("problem: {parameters: {mu: 1}}", ""),
    ],
)
def test_a_config_that_is_none_is_an_error(run, text, why):
    simulated(run)
    put_text(run / "config.yaml", text)
    with pytest.raises(RunError, match=f"is not the config of a run{why}") as caught:
        report(run)
    assert caught.value.where == str(run / "config.yaml")


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
    types = [source.partition(";")[0] for source in page.all("src")]
    assert types.count("data:image/svg+xml") == 3  # sbc, pairs, and the loss, from the metrics
    assert types.count("data:image/png") == 1


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


BROKEN = [b"{", b"[" * 100_000, b"7", b'"words"', b"\xff\xfe", b'{"n": ' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("data", BROKEN, ids=[f"{data[:8]!r}" for data in BROKEN])
@pytest.mark.parametrize(
    "name",
    [
        "diagnose/numbers.json",
        "sample/seen/summary.json",
        "data/manifest.json",
        "train/provenance.json",
    ],
)
def test_a_damaged_file_is_an_error_with_its_name(run, name, data):
    for step in STEPS:
        step(run)
    (run / name).write_bytes(data)
    with pytest.raises(CorruptFile) as found:
        report(run)
    assert found.value.where == str(run / name)


@pytest.mark.parametrize("data", BROKEN, ids=[f"{data[:8]!r}" for data in BROKEN])
def test_a_damaged_line_of_the_metrics_is_passed_over(run, data):
    trained(run)
    before = (run / "train/metrics.jsonl").read_bytes()
    words = "Training: validation loss from 2.5 to 1.5 nats"
    (run / "train/metrics.jsonl").write_bytes(data + b"\n" + before)
    assert words in read(run).all("alt")
    shutil.rmtree(run / "train")
    trained(run)
    assert words in read(run).all("alt")


def test_a_shard_without_a_readable_ledger_is_left_out(run):
    simulated(run)
    for shard, kind in enumerate((np.array([1.0]), None)):
        with h5py.File(run / f"data/train/shard-00000{shard}.h5", "w") as file:
            if kind is not None:
                file["failures/kind"] = kind
    assert "Simulations that failed" not in read(run).text


def test_the_share_of_valid_simulations_has_the_interval_of_all(run):
    """Clopper-Pearson, 120 of 125."""
    simulated(run)
    low, high = beta.ppf(0.025, 120, 6), beta.ppf(0.975, 121, 5)
    words = f"p(valid) = 0.9600 (95 %: {low:.4f} to {high:.4f}; 125 simulations)"
    assert words.replace(" %", "\N{NO-BREAK SPACE}%") in read(run).text or words in read(run).text


def test_it_needs_no_torch(run):
    for step in STEPS:
        step(run)
    code = "import sys; from pathlib import Path; from sbiwb.workflow.report import figures, report; report(Path(sys.argv[1]))"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(run)], check=True, timeout=60)


@pytest.mark.skipif(find_library("cairo") is None, reason="no Cairo on this machine")
def test_every_picture_goes_to_the_folder_named_after_its_step(run, tmp_path):
    for step in STEPS:
        step(run)
    files = {path.name: path.read_bytes() for path in figures(run, tmp_path / "paper", 90)}
    assert sorted(files) == [
        "diagnose-coverage.png",
        *(
            f"{stem}.{kind}"
            for stem in ("diagnose-sbc", "sample-seen-pairs", "train-loss")
            for kind in ("pdf", "png")
        ),
    ]
    assert files["diagnose-coverage.png"] == (run / "diagnose/coverage.png").read_bytes()
    assert all(files[name].startswith(b"%PDF") for name in files if name.endswith("pdf"))
    widths = {
        int.from_bytes(files[f"{stem}.png"][16:20]) for stem in ("train-loss", "diagnose-sbc")
    }
    assert widths == {round(90 / 25.4 * 600)}


def test_figures_of_a_run_without_pictures_or_a_machine_without_cairosvg(
    run, tmp_path, monkeypatch
):
    simulated(run)
    with pytest.raises(RunError, match=r"holds no picture yet.*sbiwb run"):
        figures(run, tmp_path)
    trained(run)
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(ConfigError, match=r'pip install "sbiwb\[figures\]"'):
        figures(run, tmp_path)
