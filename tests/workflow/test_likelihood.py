"""A run with a learned likelihood, verb by verb: it is emulated, judged, counted, verified, shown."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from sbiwb.cli.app import app
from sbiwb.errors import RunError
from sbiwb.project.observation_choice import named_observations
from sbiwb.workflow import predict as predict_module
from sbiwb.workflow.predict import Predicted, predict
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train_likelihoods import train_all
from tests.tiny import Recorder, Tiny, copy

SETS = '''"""Sets of n normal numbers, and one number more."""


def simulate(mu, n, *, rng):
    sets = [m + rng.standard_normal(k) for m, k in zip(mu, n, strict=True)]
    return {"y": sets, "z": 3 * mu + rng.standard_normal(len(mu))}
'''
LIKELIHOOD = {
    "inference": {"kind": "nsf", "transforms": 1, "hidden": [16], "bins": 4, "linear": True},
    "uncertainty": {"kind": "none"},
    "train": {"steps": 300, "batch_size": 128, "learning_rate": 3e-3, "patience": None},
}
CHANGES = {
    "problem": {
        "constants": {},
        "context": {"n": {"kind": "uniform_integer", "low": 2, "high": 4}},
        "observations": {
            "people": {"file": "people.csv", "group_by": ["who"], "context": {"n": "rows"}}
        },
        "structure": {"y": "iid", "z": "joint"},
    },
    "model": {
        "inputs": {"y": {"as": "set", "summary": {"kind": "deepset", "hidden": 8}}},
        "drop": ["n", "z"],
        "likelihood": LIKELIHOOD,
    },
    "train": {"steps": 100},
    "diagnose": {"draws": 19, "checks": ["sbc", "nlpd"]},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("learned") / "it", CHANGES, SETS)
    text = tiny.yaml.read_text().replace("  constants:\n    n: 4\n", "")
    tiny.yaml.write_text(text.replace("    seen:\n      file: seen.csv\n", ""))
    people = "who,z,y\na,3,1.0\nb,2,0.5\na,3,0.0\nc,5,2\nb,2,1\nc,5,3\nb,2,1\n"
    (tiny.folder / "people.csv").write_text(people)
    simulate(tiny.open(), Recorder())
    list(train_all(tiny.open(), Recorder()))
    return tiny


# predict --emulate


def predicted(tiny: Tiny, name: str | None, **options) -> Predicted:
    project = tiny.open()
    observation = named_observations(project, name)[0] if name else None
    options = {"draws": 400, "seed": 5, **options}
    return predict(project, Recorder(), observation=observation, **options)


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(predict_module, "MAX_PICTURES", 0)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", ["people", None])
def test_emulated_data_are_like_simulated_ones(made, name):
    simulated = predicted(made, name, draws=2000)
    emulated = predicted(made, name, draws=2000, emulate=True)
    one, other = simulated.simulations.pairs, emulated.simulations.pairs
    np.testing.assert_array_equal(one.theta["mu"], other.theta["mu"])
    for observable in ("y", "z"):
        assert type(one.x[observable]) is type(other.x[observable])
        values = [
            np.asarray(getattr(x, "values", x)) for x in (one.x[observable], other.x[observable])
        ]
        assert values[0].dtype == values[1].dtype
        sd = values[0].std()
        assert values[1].mean() == pytest.approx(values[0].mean(), abs=0.15 * sd)
        assert values[1].std() == pytest.approx(sd, rel=0.15)
    with h5py.File(emulated.file) as file:
        assert file.attrs["made_by"] == "learned likelihood" and file["x/z"].shape[0] == len(one)
        assert set(json.loads(file.attrs["likelihood_weights"])) == {"y", "z"}
    with h5py.File(simulated.file) as file:
        assert file.attrs["made_by"] == "simulator"
    assert emulated.file.name == "predictive-emulated.h5" and simulated.file.is_file()


@pytest.mark.usefixtures("no_pictures")
def test_emulated_data_sets_are_as_large_as_the_observed_or_as_the_context_says(made):
    pairs = predicted(made, "people", draws=10, emulate=True).simulations.pairs
    assert pairs.x["y"].lengths.tolist() == [2] * 10 + [3] * 10 + [2] * 10
    longer = predicted(made, "people", draws=10, emulate=True, context={"n": 9})
    assert longer.file.name == "predictive-emulated-n=9.h5"
    assert set(longer.simulations.pairs.x["y"].lengths.tolist()) == {9}
    prior = predicted(made, None, draws=50, emulate=True).simulations.pairs
    np.testing.assert_array_equal(prior.x["y"].lengths, prior.context["n"])


@pytest.mark.usefixtures("no_pictures")
def test_the_same_seed_emulates_the_same_data(made):
    first, again, other = (
        predicted(made, "people", draws=10, emulate=True, seed=seed).simulations.pairs.x["z"]
        for seed in (5, 5, 6)
    )
    assert first.tolist() == again.tolist() != other.tolist()


def test_where_no_likelihood_is_learned_the_command_says_how(tmp_path, made):
    tiny = copy(made, tmp_path / "p")
    (tiny.run / "likelihood" / "z" / "train" / "best.pt").unlink()
    with pytest.raises(RunError, match="no learned likelihood") as error:
        predicted(tiny, "people", emulate=True)
    assert "problem: {structure:" in error.value.todo and "sbiwb train" in error.value.todo


def test_the_command_emulates(made):
    arguments = made.arguments("predict", "people", "--emulate", "--draws", "5")
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert "predictive-emulated.h5" in told.output.replace("\n", "")
