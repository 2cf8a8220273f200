"""What `sample` says of one data set: verdict, intervals that hold, and the gate."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import xarray as xr

from sbiwb.errors import DataError, GateFailed, RunError, SimulatorError
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.simulations import ForwardSimulator
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.report import report
from sbiwb.workflow.sample import check_gate, from_file, sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import Recorder, Tiny, copy

LIKELIHOOD = '''"""Normal data."""


def simulate(mu, *, rng, n):
    return {"y": mu[:, None] + rng.standard_normal((len(mu), n))}


def log_likelihood(x, *, mu, n):
    return -0.5 * ((x["y"] - mu[:, None]) ** 2).sum(1)
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An ensemble of three that has learned the posterior N(sum(y) / 5, 1 / 5)."""
    changes = {
        "simulate": {"train": 2_000, "validation": 200, "test": 400},
        "model": {"uncertainty": {"kind": "ensemble", "members": 3}},
        "train": {"steps": 900, "learning_rate": 5e-3},
        "diagnose": {"draws": 99, "checks": [{"kind": "sbc", "tolerance": 0.1}]},
    }
    tiny = Tiny.write(tmp_path_factory.mktemp("trust"), changes, LIKELIHOOD)
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    diagnose(tiny.open(), Recorder())
    return tiny


def infer(tiny: Tiny, rows=None, **options):
    project = tiny.open()
    if rows is not None:
        (tiny.folder / "other.csv").write_text("y\n" + "\n".join(map(str, rows)) + "\n")
        path = tiny.folder / "other.csv"
        observations = [from_file(path, group_by="", columns=[], context=[])]
    else:
        observations = named_observations(project, None)
    return sample(project, observations, Recorder(), draws=1_000, seed=1, **options)


def summary_of(result):
    return json.loads((result.folder / "summary.json").read_text())


def test_a_good_run_passes_and_every_file_says_so(run):
    [result] = infer(run, verify=True)
    [trust] = result.trust
    assert trust.verdict == "pass", trust.reason
    assert [part.name for part in trust.parts] == [
        "statistics of the data",
        "features of the data",
        "networks",
        "posterior SBC",
        "L-C2ST",
    ]
    assert all(0 < part.p <= 1 for part in trust.parts)
    [told] = summary_of(result)["trust"]
    assert (told["verdict"], told["p"]) == ("pass", trust.p)
    with xr.open_datatree(result.folder / "posterior.nc") as tree:
        assert tree.attrs["trust"] == "pass"
    [row] = csv.DictReader((result.folder / "summary.csv").read_text().splitlines())
    low, high = float(row["conformal_5%"]), float(row["conformal_95%"])
    exact = 0.8 + np.array([-1.645, 1.645]) * np.sqrt(0.2)
    assert [low, high] == pytest.approx(exact, abs=0.25)
    assert 0.75 < summary_of(result)["conformal_region"]["seen"] < 1
    assert "Trust: pass" in report(run.open().run.path).read_text()
    check_gate([result])


def test_a_truth_is_marked_and_one_of_another_form_is_told(run):
    (run.folder / "truth.csv").write_text("mu\n0.75\n")
    (run.folder / "wrong.csv").write_text("mu\n0.75\n0.5\n")
    [plain] = infer(run)
    picture = (plain.folder / "pairs.svg").read_text()
    [marked] = infer(run, truth=run.folder / "truth.csv")
    assert "#D55E00".lower() in (marked.folder / "pairs.svg").read_text().lower()
    assert "#D55E00".lower() not in picture.lower()
    with pytest.raises(DataError, match=r"mu has shape \(2,\), and there are 1 data sets"):
        infer(run, truth=run.folder / "wrong.csv")


def test_draws_of_another_method_are_drawn_over_those_of_the_same_data(run):
    [plain] = infer(run)
    assert "#222222" not in (plain.folder / "pairs.svg").read_text()
    [over] = infer(run, reference=plain.folder)
    picture = (over.folder / "pairs.svg").read_text()
    assert "#222222" in picture and "(black)" in picture
    (run.folder / "empty").mkdir()
    with pytest.raises(RunError, match=r"holds no draws.*sbiwb reference"):
        infer(run, reference=run.folder / "empty")
    with pytest.raises(RunError, match=r"has other data sets: seen, not other"):
        infer(run, [0.0, 1.0, 0.0, 1.0], reference=plain.folder)


def test_strange_data_fail_with_a_reason_and_the_gate_shuts(run):
    [result] = infer(run, [40.0, -40.0, 40.0, -40.0])
    [trust] = result.trust
    assert trust.verdict == "fail"
    assert "unlike the simulations" in trust.reason
    with pytest.raises(GateFailed, match=r"not to be trusted at 1 data set.*unlike"):
        check_gate([result])
    assert run.command("sample", str(run.folder / "other.csv"), "--gate").returncode == 3


def test_what_is_usual_is_measured_once_for_the_weights(run, tmp_path):
    tiny = copy(run, tmp_path / "copy")
    infer(tiny)
    path = tiny.open().run.baseline
    first = path.read_bytes()
    recorder = Recorder()
    project = tiny.open()
    sample(project, named_observations(project, None), recorder, draws=50, seed=1)
    assert path.read_bytes() == first
    middle = len(first) // 2
    flipped = first[:middle] + bytes([first[middle] ^ 255]) + first[middle + 1 :]
    for damaged in (b"damaged", first[:middle], flipped):
        path.write_bytes(damaged)
        [result] = infer(tiny)
        assert path.read_bytes() == first
        assert result.trust[0].verdict == "pass"


def test_repaired_draws_are_not_judged_by_the_network(run):
    [result] = infer(run, how="importance")
    [trust] = result.trust
    assert {part.name for part in trust.parts} == {"statistics of the data", "features of the data"}
    assert "conformal_5%" not in summary_of(result)["rows"][0]


def test_a_simulator_that_fails_costs_posterior_sbc_and_no_draws(run, monkeypatch):
    def fail(*_, **__):
        raise SimulatorError("fails everywhere", where="tiny.py")

    monkeypatch.setattr(ForwardSimulator, "simulate", fail)
    [result] = infer(run, verify=True)
    names = [part.name for part in result.trust[0].parts]
    assert "posterior SBC" not in names
    assert "L-C2ST" in names
    assert (result.folder / "posterior.nc").stat().st_size > 0


def test_without_simulated_pairs_trust_warns(run, tmp_path):
    tiny = copy(run, tmp_path / "copy")
    project = tiny.open()
    project.run.baseline.unlink(missing_ok=True)
    for shard in project.run.path.glob("data/*/*.h5"):
        shard.unlink()
    [result] = infer(tiny)
    assert result.trust[0].verdict == "warn"
    assert "conformal_5%" not in summary_of(result)["rows"][0]


def test_a_run_that_fails_its_checks_passes_at_no_data_set(run, tmp_path):
    tiny = copy(run, tmp_path / "copy")
    numbers = tiny.open().run.numbers
    facts = json.loads(numbers.read_text())
    numbers.write_text(json.dumps({**facts, "verdict": "fail", "summary": "mu is biased."}))
    [result] = infer(tiny)
    assert result.trust[0].verdict == "warn"
    assert "mu is biased" in result.trust[0].reason
    numbers.unlink()
    [result] = infer(tiny)
    assert "not judged yet" in result.trust[0].reason
