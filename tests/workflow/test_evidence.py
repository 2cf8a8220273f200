"""Evidence of a real run: what the checks are given is what the definitions say; a whole diagnosis
with every check."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from sbiwb.diagnostics import family
from sbiwb.errors import ConfigError, SimulatorError
from sbiwb.project.splits import load_split
from sbiwb.project.trained import load_posterior
from sbiwb.steps.judge import draw_blocks as drawn
from sbiwb.steps.judge import gather as evidence
from sbiwb.workflow.diagnose import diagnose, training_of
from sbiwb.workflow.diagnose_evidence import evidence_of
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import SIMULATOR, Recorder, Tiny, copy

SETS = '''"""Sets of n normal numbers."""


def simulate(mu, n, *, rng):
    return {"y": [m + rng.standard_normal(k) for m, k in zip(mu, n, strict=True)]}


def test_quantities(theta, x):
    return {"mu times mean": theta["mu"] * x["y"].mean(), "far": abs(theta["mu"] - x["y"].mean())}
'''
CHANGES = {
    "problem": {
        "context": {"n": {"kind": "uniform_integer", "low": 2, "high": 40}},
        "observations": {"seen": {"context": {"n": "rows"}}},
    },
    "simulate": {"train": 2048, "validation": 256, "test": 400},
    "model": {
        "inputs": {"y": {"as": "set", "summary": {"kind": "deepset", "hidden": 16}}},
        "drop": ["n"],
    },
    "train": {"steps": 400, "batch_size": 128, "learning_rate": 0.005, "validate_every": 100},
    "diagnose": {"draws": 99},
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("sets") / "p", CHANGES, SETS)
    tiny.yaml.write_text(
        tiny.yaml.read_text().replace("  constants:\n    n: 4\n", "  constants: {}\n")
    )
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    return tiny


@pytest.fixture(scope="module")
def gathered(sets):
    return evidence_of(sets.open(), Recorder())


def numbers(tiny: Tiny) -> dict:
    return json.loads((tiny.run / "diagnose/numbers.json").read_text())


def test_draws_carry_what_the_checks_need(sets, gathered):
    draws, pairs = gathered.draws, load_split(sets.open(), "test")
    assert (
        draws.names == ("mu",)
        and draws.draws.shape == (400, 99, 1)
        and draws.prior_var.tolist() == [1.0]
    )
    np.testing.assert_array_equal(draws.context["n"], pairs.context["n"])
    np.testing.assert_array_equal(draws.sizes["y"], pairs.x["y"].lengths)
    np.testing.assert_allclose(
        draws.unconstrain(draws.theta), draws.theta
    )  # the prior is standard normal already
    assert not np.isin(draws.prior_draws, draws.theta).any()


def test_the_guess_follows_the_data(gathered):
    draws = gathered.draws
    mean = np.array([values.mean() for values in (gathered.run.test.x["y"][i] for i in range(400))])
    assert np.corrcoef(draws.ridge_prediction[:, 0], mean)[0, 1] > 0.9
    assert abs(draws.ridge_prediction.mean()) < 0.15


def test_quantities_of_the_simulator_file_are_called_at_truth_and_draws(gathered):
    draws, far = gathered.draws, gathered.draws.quantities["far"]
    mean = gathered.run.test.x["y"][7].mean()
    np.testing.assert_allclose(far.truth[7], abs(draws.theta[7, 0] - mean))
    np.testing.assert_allclose(far.draws[slice(7, 8)][0], abs(draws.draws[7, :, 0] - mean))


def test_a_quantity_that_fails_is_told_with_what_it_is_given(sets, tmp_path):
    tiny = copy(sets, tmp_path / "p")
    (tiny.folder / "tiny.py").write_text(
        SETS.replace('theta["mu"] * x["y"]', 'theta["mu"] * x["z"]')
    )
    with pytest.raises(
        SimulatorError, match=r"test_quantities\(\) failed: KeyError: 'z'"
    ) as caught:
        _ = evidence_of(tiny.open(), Recorder()).draws
    assert "x of one data set" in caught.value.todo


def test_summaries_are_features_and_statistics_of_simulated_and_real_data(sets, gathered):
    found, posterior = gathered.summaries, load_posterior(sets.run)
    assert found.labels == ("seen",) and found.groups == ("seen",)
    network, known = found.spaces["network"], found.spaces["statistics"]
    np.testing.assert_allclose(network.test, posterior.features(gathered.run.test.variables))
    assert len(network.train) == 2048 and known.observed.shape == (1, len(known.columns))
    assert (
        known.observed[0, known.columns.index("number of y")] == 4
        and known.observed[0, known.columns.index("mean y")] == 1.0
    )


def test_replicates_are_simulated_at_the_draws(sets, gathered, monkeypatch):
    monkeypatch.setattr(evidence, "REPLICATED_PAIRS", 30)
    monkeypatch.setattr(evidence, "REPLICATES", 40)
    found = evidence_of(sets.open(), Recorder()).replicates
    at = found.names.index("mean y")
    assert found.replicated.shape == (30, 40, len(found.names))
    n = gathered.draws.context["n"][:30]
    off = (found.replicated[..., at] - gathered.draws.draws[slice(0, 30)][:, :40, 0]) * np.sqrt(n)[
        :, None
    ]
    assert abs(off.std() - 1) < 0.1 and abs(off.mean()) < 0.1
    np.testing.assert_array_equal(
        found.replicated[..., found.names.index("number of y")], np.repeat(n[:, None], 40, axis=1)
    )


def test_local_pairs_a_truth_and_a_draw_for_the_same_data(gathered):
    found, draws = gathered.local, gathered.draws
    np.testing.assert_allclose(found.draws[:, 0], draws.draws[slice(None)][:, 0, 0])
    np.testing.assert_allclose(found.z, draws.theta)
    assert found.observed_draws.shape == (
        1,
        evidence.LOCAL_DRAWS,
        1,
    ) and found.observed_x.shape == (1, found.x.shape[1])


def test_local_looks_at_some_of_many_data_sets(sets, monkeypatch):
    monkeypatch.setattr(evidence, "MAX_LOCAL_DATA_SETS", 3)
    recorder = Recorder()
    many = evidence_of(sets.open(), recorder)
    (one,) = many.observations
    many.__dict__["observations"] = [
        replace(one, name=str(i), labels=(f"set {i}",)) for i in range(9)
    ]
    found = many.local
    assert (
        found.labels == ("set 0", "set 4", "set 8")
        and len(found.observed_draws) == len(found.observed_x) == 3
    )
    assert "3 of 9 data sets" in recorder.said[-1]


def test_the_budget_trains_on_parts_of_the_same_shards_and_goes_on_where_it_was(sets, tmp_path):
    tiny = copy(sets, tmp_path / "p")
    shards = tiny.shards()
    found = evidence_of(tiny.open(), Recorder()).budget
    assert found.pairs.tolist() == [512, 1024, 2048] and found.losses.shape == (3, 400)
    assert found.losses[0].mean() > found.losses[2].mean() - 0.02
    assert tiny.shards() == shards and not list((tiny.run / "diagnose/budget").rglob("shard-*"))
    again = Recorder()
    np.testing.assert_array_equal(evidence_of(tiny.open(), again).budget.losses, found.losses)
    assert again.advanced == {}  # neither drawn nor trained again


def test_every_check_in_one_diagnosis(sets, tmp_path):
    tiny = copy(sets, tmp_path / "p")
    left_out = {"data_budget", "self_consistency"}  # slow; of a learned likelihood
    checks = ",".join(name for name in family.names() if name not in left_out)
    found = diagnose(tiny.open(f"diagnose.checks=[{checks}]"), Recorder())
    told = numbers(tiny)
    kinds = {value["check"].partition(" | ")[0] for value in told["values"]}
    assert kinds == set(family.names()) - left_out
    assert [part["by"] for part in told["strata"]] == [
        "n"
    ] * 4  # the size of y is the same variable
    assert sum(part["n"] for part in told["strata"]) == 400
    assert {value["check"].partition(" | ")[2] for value in told["values"]} == {
        "",
        *(part["label"] for part in told["strata"]),
    }
    assert told["verdict"] == found.verdict and told["advice"] == json.loads(
        json.dumps([one.__dict__ for one in found.advice])
    )
    pictures = {path.stem for path in (tiny.run / "diagnose").glob("*.png")}
    assert (
        pictures == {path.stem for path in (tiny.run / "diagnose").glob("*.svg")}
        and {*kinds, "strata"} <= pictures
    )


def test_draws_on_disk_give_the_same_numbers(sets, tmp_path, monkeypatch):
    tiny = copy(sets, tmp_path / "p")
    diagnose(tiny.open(), Recorder())
    before = numbers(tiny)
    monkeypatch.setattr(drawn, "HELD_BYTES", 0)
    diagnose(tiny.open(), Recorder())
    assert numbers(tiny) == before


def test_a_budget_of_another_model_is_not_in_the_way(sets, tmp_path):
    tiny = copy(sets, tmp_path / "p")
    few = ("diagnose.checks=[data_budget]", "train.steps=20")
    for steps in (20, 30):
        changed = (*few[:1], f"train.steps={steps}")
        shutil.rmtree(tiny.run / "train", ignore_errors=True)
        train(tiny.open(*changed), Recorder())
        diagnose(tiny.open(*changed), Recorder())
    assert any(
        value["value"] is not None
        for value in numbers(tiny)["values"]
        if value["check"] == "data_budget"
    )


def test_where_no_check_has_a_p_value_strata_have_no_picture(sets, tmp_path):
    tiny = copy(sets, tmp_path / "p")
    diagnose(tiny.open("diagnose.checks=[nlpd]"), Recorder())
    assert len(numbers(tiny)["values"]) == 5 and not (tiny.run / "diagnose/strata.png").exists()


def test_where_no_calibration_check_is_repeated_strata_have_no_picture(sets, tmp_path):
    """lc2st has p-values, and judges real data: no stratum of test pairs is one of its own."""
    tiny = copy(sets, tmp_path / "p")
    lc2st = "diagnose.checks=[{kind: lc2st, nulls: 20, steps: 10}]"
    found = diagnose(tiny.open(lc2st), Recorder())
    assert [one.check for one in found.judgments] == ["lc2st"]
    assert found.judgments[0].p is not None and len(numbers(tiny)["strata"]) == 4
    pictures = {path.name for path in (tiny.run / "diagnose").glob("*.png")}
    assert pictures == {"lc2st.png"}


def test_how_training_ended_is_read_from_its_provenance(sets, tmp_path):
    tiny = copy(sets, tmp_path / "p")
    path = tiny.run / "train/provenance.json"
    facts = json.loads(path.read_text())
    end = {"overfits": True, "best_step": 300, "best_loss": 0.63, "last_loss": 1.37}
    path.write_text(json.dumps({**facts, **end, "last_train_loss": -0.2}))
    training = training_of(tiny.open().run)
    assert training.rise() == (
        "the validation loss rose from 0.63 at step 300 to 1.37, while the training loss fell to "
        "-0.20"
    )
    for name in ("overfits", "last_loss", "last_train_loss"):  # as an earlier version wrote it
        facts.pop(name, None)
    path.write_text(json.dumps(facts))
    assert not training_of(tiny.open().run).overfits


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ('{"mu": theta["mu"]}', "gives a quantity the name mu"),
        ('{"far": theta["mu"]} if len(x["y"]) > 20 else {}', "returns far for some data sets only"),
    ],
)
def test_names_of_quantities_are_checked(sets, tmp_path, returned, told):
    tiny = copy(sets, tmp_path / "p")
    head, _, _ = SETS.partition('    return {"mu times')
    (tiny.folder / "tiny.py").write_text(f"{head}    return {returned}\n")
    with pytest.raises(SimulatorError, match=told):
        _ = evidence_of(tiny.open(), Recorder()).draws


def test_pictures_of_an_earlier_diagnosis_are_removed(sets, tmp_path):
    tiny = copy(sets, tmp_path / "p")
    diagnose(tiny.open("diagnose.checks=[recovery]", "diagnose.by=[]"), Recorder())
    assert {path.name for path in (tiny.run / "diagnose").glob("*.png")} == {"recovery.png"}
    shutil.rmtree(tiny.run / "diagnose/draws")
    diagnose(tiny.open("diagnose.checks=[nlpd]", "diagnose.by=[]"), Recorder())
    assert {path.name for path in (tiny.run / "diagnose").glob("*.png")} == {"nlpd.png"}


def test_a_prior_without_a_variance_is_compared_with_the_test_set_and_that_is_said(
    tmp_path, recorder
):
    joint = SIMULATOR + "\n\ndef prior(n, rng):\n    return {'mu': rng.standard_normal(n)}\n"
    tiny = Tiny.write(
        tmp_path / "p",
        {"problem": {"parameters": {"mu": {"kind": "joint"}}}, "train": {"steps": 20}},
        joint,
    )
    simulate(tiny.open(), recorder)
    train(tiny.open(), recorder)
    diagnose(tiny.open("diagnose.checks=[zscore_contraction]"), recorder)
    assert numbers(tiny)["prior_var_source"] == "test set"


def test_a_stratum_of_something_unknown_is_refused_before_anything_is_judged(sets, tmp_path):
    tiny = copy(sets, tmp_path / "p")
    with pytest.raises(ConfigError, match="'trials' parts no test pairs"):
        diagnose(tiny.open("diagnose.by=[trials]"), Recorder())


def test_an_observation_that_cannot_be_read_is_told_and_left_out(tmp_path, recorder):
    tiny = Tiny.write(tmp_path / "p", {}, SIMULATOR)
    simulate(tiny.open(), recorder)
    train(tiny.open(), recorder)
    (tiny.folder / "seen.csv").write_text("y\n1.0\n")
    diagnose(tiny.open("diagnose.checks=[misspecification]"), recorder)
    assert any("observation seen is left out" in warning for warning in recorder.warned)
    assert all(value["value"] is None for value in numbers(tiny)["values"])
