"""`compare`: equal runs are equal, a worse one is told, and what cannot be compared is refused."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from sbiwb.diagnostics import STRATUM
from sbiwb.errors import RunError
from sbiwb.files import read_json
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.splits import load_split
from sbiwb.project.trained import load_posterior
from sbiwb.seeds import generator
from sbiwb.steps.compare.ranked_facts import RankedFacts
from sbiwb.steps.compare.ranked_runs import quantile, rank_losses
from sbiwb.workflow.compare import compare
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import SIMULATOR, Recorder, Tiny

LEARN = {"steps": 200, "batch_size": 128, "learning_rate": 0.005, "ema": 0.9, "validate_every": 100}


def ready(folder, changes, simulator=SIMULATOR) -> Tiny:
    tiny = Tiny.write(folder, changes, simulator)
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    return tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """runs/tiny, learned; runs/twin, a copy of it."""
    tiny = ready(tmp_path_factory.mktemp("base"), {"train": LEARN})
    shutil.copytree(tiny.run, tiny.folder / "runs/twin")
    return tiny


@pytest.fixture(scope="module")
def young(base):
    """Trained for one step on the simulations of runs/tiny."""
    project = base.open("name=young", "simulate.from=runs/tiny", "train.steps=1")
    train(project, Recorder())
    return project.run.path


@pytest.fixture(scope="module")
def reseeded(tmp_path_factory):
    changes = {"name": "reseeded", "simulate": {"seed": 4}, "train": {"steps": 5}}
    return ready(tmp_path_factory.mktemp("reseeded"), changes).open().run.path


def test_the_same_weights_are_equal(base, tmp_path):
    found = compare([base.run, base.folder / "runs/twin"], Recorder(), output=tmp_path)
    first, second = found.rows
    assert (first.run, second.run) == ("tiny", "twin") and found.pairs == 64 and found.notes == ()
    assert (first.verdict, second.verdict) == ("best", "not told apart")
    assert (second.difference, second.difference_se) == (0.0, 0.0) and first.nlpd == second.nlpd
    assert (first.training_pairs, first.steps, first.weights) == (256, 200, second.weights)
    assert first.draws_per_s > 0 and first.train_seconds > 0 and first.calibration is None


def test_one_step_is_clearly_worse(base, young, tmp_path):
    found = compare([young, base.run], Recorder(), output=tmp_path)
    best, worse = found.rows
    assert (best.run, worse.run, worse.verdict) == ("tiny", "young", "clearly worse")
    assert worse.difference > 1.96 * worse.difference_se > 0
    pairs = load_split(base.open(), "test")
    theta = pairs.theta["mu"][:, None]
    losses = [-load_posterior(path).log_prob(theta, pairs.variables) for path in (base.run, young)]
    assert best.nlpd == pytest.approx(losses[0].mean()) and worse.nlpd == pytest.approx(
        losses[1].mean()
    )
    paired = losses[1] - losses[0]
    assert worse.difference == pytest.approx(
        paired.mean()
    ) and worse.difference_se == pytest.approx(paired.std(ddof=1) / 8)


def test_it_is_written_for_programs_and_people(base, young, tmp_path):
    found = compare([base.run, young, base.folder / "runs/twin"], Recorder(), output=tmp_path)
    written = read_json(tmp_path / "compare.json")
    assert (
        written == {"format": 1, **found.to_json()}
        and written["pairs"] == 64
        and written["test"] == "tiny"
    )
    assert [run["verdict"] for run in written["runs"]] == [
        "best",
        "not told apart",
        "clearly worse",
    ]
    with open(tmp_path / "compare.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["tiny", "twin", "young"] and float(
        rows[0]["difference"]
    ) == 0
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"
    assert set(read_json(tmp_path / "provenance.json")["weights"]) == {"tiny", "young", "twin"}


def diagnosed(run, weights: str) -> None:
    values = [
        {"check": "sbc", "parameter": "mu", "effect": 0.02, "verdict": "pass"},
        {"check": "coverage", "parameter": "mu", "effect": 0.08, "verdict": "fail"},
        {"check": f"sbc{STRATUM}n 2 to 3", "parameter": "mu", "effect": 0.3, "verdict": "pass"},
        {"check": "recovery", "parameter": "mu", "effect": None, "verdict": "info"},
    ]
    (run / "diagnose").mkdir()
    (run / "diagnose/numbers.json").write_text(
        json.dumps({"format": 1, "verdict": "fail", "values": values})
    )
    (run / "diagnose/provenance.json").write_text(json.dumps({"format": 1, "weights": weights}))


def test_a_likelihood_beside_the_posterior_is_not_ranked(tmp_path):
    from sbiwb.report import Fields
    from sbiwb.steps.compare.ranked_facts import _verdict, _worst

    values = [
        {"check": "sbc", "parameter": "mu", "effect": 0.02, "verdict": "warn"},
        {"check": f"sbc{STRATUM}size of y: 2", "parameter": "mu", "effect": 0.3, "verdict": "pass"},
        {"check": "likelihood y: sbc", "parameter": "y", "effect": 0.4, "verdict": "fail"},
    ]
    beside = [{"name": "likelihood y"}]
    diagnosis = Fields({"verdict": "fail", "values": values, "likelihoods": beside})
    assert _verdict(diagnosis) == "warn" and _worst(diagnosis).text("parameter") == "mu"


def test_calibration_is_read_where_it_is_that_of_these_weights(base, tmp_path):
    runs = [tmp_path / name for name in ("judged", "stale")]
    for run in runs:
        shutil.copytree(base.run, run)
    for run in runs:
        text = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(
            text.replace("../../tiny.py", str(base.folder / "tiny.py"))
        )
    diagnosed(runs[0], weights_hash(base.open().run))
    diagnosed(runs[1], "of other weights")
    judged, stale = compare(runs, Recorder(), output=tmp_path / "out").rows
    assert (judged.calibration, judged.worst_effect, judged.worst) == (
        "fail",
        0.08,
        "coverage of mu",
    )
    assert (stale.calibration, stale.worst_effect, stale.worst) == (None, None, "")


def test_other_simulations_of_the_same_question_are_compared_and_told(base, reseeded, tmp_path):
    recorder = Recorder()
    found = compare([base.run, reseeded], recorder, output=tmp_path / "first")
    assert found.test == "tiny" and {row.run for row in found.rows} == {"tiny", "reseeded"}
    told = "reseeded learned from other simulations than tiny, on whose test pairs it is judged: simulate.seed: 3 -> 4"
    assert found.notes == (told,) and recorder.warned == [told]
    other = compare([base.run, reseeded], Recorder(), test=reseeded, output=tmp_path / "second")
    assert other.test == "reseeded" and other.notes[0].startswith(
        "tiny learned from other simulations than reseeded"
    )
    assert {row.nlpd for row in other.rows}.isdisjoint({row.nlpd for row in found.rows})


WIDER = {"problem": {"parameters": {"mu": {"kind": "normal", "scale": 2.0}}, "observations": {}}}
LONGER = {"problem": {"constants": {"n": 5}, "observations": {}}}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (WIDER, r"parameters\.mu\.scale: 1\.0 -> 2\.0"),
        (LONGER, r"observables\.y\.shape: \[4\] -> \[5\]"),
    ],
)
def test_another_question_is_refused_with_the_keys(base, tmp_path, changes, named):
    other = ready(tmp_path, {"train": {"steps": 1}, **changes})
    with pytest.raises(RunError, match=f"answers another question than tiny: {named}"):
        compare([base.run, other.run], Recorder(), output=tmp_path / "out")


def test_one_run_is_nothing_to_compare(base):
    with pytest.raises(RunError, match="two runs or more"):
        compare([base.run], Recorder())


def test_runs_of_one_name_are_told_by_their_paths(base, tmp_path):
    found = compare([base.run, base.run], Recorder(), output=tmp_path)
    assert [row.run for row in found.rows] == [str(base.run), f"{base.run} (2)"]


# the ranking itself


FACTS = RankedFacts(
    calibration=None,
    worst_effect=None,
    worst="",
    training_pairs=1,
    steps=1,
    train_seconds=1.0,
    draws_per_s=1.0,
    weights=1,
)


def ranked(*losses):
    return rank_losses(
        [f"run {i}" for i in range(len(losses))], np.stack(losses), [FACTS] * len(losses)
    )


def test_paired_differences_see_what_single_errors_do_not():
    shared = generator(0, "bands").normal(0, 5, 400)
    best, worse = ranked(shared, shared + generator(1, "bands").normal(0.1, 0.3, 400))
    assert worse.verdict == "clearly worse" and worse.difference < worse.nlpd_se
    assert best.difference == best.difference_se == 0


@pytest.mark.parametrize("runs", [2, 5])
def test_equal_runs_are_told_apart_five_times_in_a_hundred_at_most(runs):
    rng, found = generator(2, "bands"), 0
    for _ in range(600):
        found += any(
            row.verdict == "clearly worse" for row in ranked(*rng.normal(size=(runs, 100)))
        )
    assert found / 600 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)
    assert found > 0


def test_the_limit_widens_with_the_number_of_runs():
    assert quantile(2) == pytest.approx(1.96, abs=0.001) and quantile(5) == pytest.approx(
        2.807, abs=0.001
    )


def test_a_density_of_zero_is_clearly_worse_and_null_in_json(base, tmp_path):
    losses = np.zeros(10)
    best, worse = ranked(np.where(np.arange(10) == 3, np.inf, losses), losses)
    assert (best.run, worse.run, worse.verdict) == ("run 1", "run 0", "clearly worse")
    found = compare([base.run, base.folder / "runs/twin"], Recorder(), output=tmp_path)
    entry = replace(found, rows=(best, worse)).to_json()["runs"][1]
    assert entry["nlpd"] is None and entry["difference"] is None and entry["difference_se"] is None
