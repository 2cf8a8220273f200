"""`predict`: simulations at the posterior's own draws, under the same or another context, and from
the prior; failures are told."""

from __future__ import annotations

import json
import math

import h5py
import numpy as np
import pytest

from sbiwb.errors import DataError, RunError, SimulatorError
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.trained import load_posterior
from sbiwb.records import Ragged
from sbiwb.seeds import generator, place
from sbiwb.workflow import predict as module
from sbiwb.workflow.predict import Predicted, predict
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import Recorder, Tiny, copy, digest

SETS = '''"""Sets of n normal numbers; none comes out where mu is above 1.5."""
import numpy as np


def simulate(mu, n, *, rng):
    return {"y": [np.where(m > 1.5, np.nan, m + rng.standard_normal(k)) for m, k in zip(mu, n, strict=True)], "k": 1.0 * n}


def show(x, ax):
    ax.plot(np.sort(x["y"]))
'''
GROUPED = {
    "problem": {
        "constants": {},
        "parameters": {"mu": {"kind": "uniform", "low": -2.0, "high": 2.0}},
        "context": {"n": {"kind": "uniform_integer", "low": 2, "high": 4}},
        "observations": {
            "people": {"file": "people.csv", "group_by": ["who"], "context": {"n": "rows"}}
        },
    },
    "simulate": {"failures": {"max_rate": 0.2}},
    "model": {
        "inputs": {"y": {"as": "set", "summary": {"kind": "deepset", "hidden": 8}}},
        "drop": ["n", "k"],
    },
    "train": {"steps": 5},
}


def ready(tiny: Tiny) -> Tiny:
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    return tiny


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return ready(Tiny.write(tmp_path_factory.mktemp("plain"), {"train": {"steps": 20}}))


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("grouped"), GROUPED, SETS)
    text = (
        tiny.yaml.read_text()
        .replace("    n: 4\n", "")
        .replace("  constants:\n", "  constants: {}\n")
    )
    tiny.yaml.write_text(text.replace("    seen:\n      file: seen.csv\n", ""))
    (tiny.folder / "people.csv").write_text(
        "who,k,y\na,2,1.0\nb,3,0.5\na,2,0.0\nc,2,2\nb,3,1\nc,2,3\nb,3,1\n"
    )
    return ready(tiny)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(module, "MAX_PICTURES", 0)


def predicted(
    tiny: Tiny, name: str | None, recorder: Recorder | None = None, **options
) -> Predicted:
    project = tiny.open()
    observation = named_observations(project, name)[0] if name else None
    return predict(
        project,
        recorder or Recorder(),
        observation=observation,
        **{"draws": 40, "seed": 5, **options},
    )


def test_theta_are_the_first_draws_of_the_posterior(tmp_path, plain, monkeypatch):
    tiny = copy(plain, tmp_path / "p")
    monkeypatch.setattr(module, "MAX_PICTURES", 1)
    found = predicted(tiny, "seen")
    draws = load_posterior(tiny.run).sample(
        {"y": [1.0, 0.5, 1.5, 1.0]}, 4000, generator(5, "sample", place("seen"))
    )
    assert found.file == tiny.run / "sample/seen/predictive.h5"
    with h5py.File(found.file) as file:
        np.testing.assert_array_equal(file["theta/mu"][:], draws[0, :40, 0])
        assert (
            file["x/y"].shape == (40, 4)
            and file["draw"][:].tolist() == list(range(40))
            and not file["data_set"][:].any()
        )
        assert (
            file["labels"][:].tolist() == [b"seen"]
            and file.attrs["seed"] == 5
            and len(file.attrs["weights"]) == 64
        )
    assert [path.name for path in found.pictures] == ["predictive.png"] and found.pictures[
        0
    ].read_bytes()[:4] == b"\x89PNG"
    assert found.warnings == ()


def test_data_are_simulated_at_their_theta(tmp_path, plain):
    """y given mu is N(mu, 1): residuals are standard normal, whatever the posterior."""
    found = predicted(copy(plain, tmp_path / "p"), "seen", draws=2000).simulations.pairs
    residual = found.x["y"] - found.theta["mu"][:, None]
    assert abs(residual.mean()) < 5 / np.sqrt(8000) and abs(residual.std() - 1) < 5 / np.sqrt(
        2 * 8000
    )
    assert residual[:32].tolist() != residual[32:64].tolist()  # chunks have streams of their own


def test_the_same_seed_gives_the_same_file_and_another_one_another(tmp_path, plain):
    tiny = copy(plain, tmp_path / "p")
    first = digest(predicted(tiny, "seen").file)
    assert (
        digest(predicted(tiny, "seen").file)
        == first
        != digest(predicted(tiny, "seen", seed=6).file)
    )


def test_many_data_sets_are_told_apart_and_none_leaks(tmp_path, grouped):
    tiny = copy(grouped, tmp_path / "p")
    recorder = Recorder()
    found = predicted(tiny, "people", recorder)
    pairs, project = found.simulations.pairs, tiny.open()
    assert recorder.advanced == {"predict": 120}
    assert project.prior.inside(project.prior.stack(pairs.theta)).all()
    assert (pairs.theta["mu"] <= 1.5).all()  # the others failed
    sizes = np.array([2, 3, 2])[found.simulations.rows // 40]
    np.testing.assert_array_equal(pairs.x["y"].lengths, sizes)
    np.testing.assert_array_equal(pairs.context["n"], sizes)
    assert [set(found.simulations.of(i)["y"].lengths.tolist()) for i in range(3)] == [{2}, {3}, {2}]
    with h5py.File(found.file) as file:
        np.testing.assert_array_equal(np.diff(file["x/y/offsets"][:]), sizes)
        np.testing.assert_array_equal(
            file["data_set"][:] * 40 + file["draw"][:], found.simulations.rows
        )


def test_the_first_data_sets_get_a_picture_each_and_old_ones_go(tmp_path, grouped, monkeypatch):
    tiny = copy(grouped, tmp_path / "p")
    monkeypatch.setattr(module, "MAX_PICTURES", 2)
    first = predicted(tiny, "people").pictures
    assert [path.name for path in first] == ["predictive-1.png", "predictive-2.png"] and all(
        path.is_file() for path in first
    )
    monkeypatch.setattr(module, "MAX_PICTURES", 1)
    predicted(tiny, "people")
    assert [path.is_file() for path in first] == [True, False]


def test_failures_are_told_with_their_reason_and_left_out(tmp_path, grouped):
    recorder = Recorder()
    found = predicted(copy(grouped, tmp_path / "p"), "people", recorder).simulations
    assert 0 < len(found.failed) < 120 and len(found.pairs) == 120 - len(found.failed)
    told = f"{len(found.failed)} of 120 simulations failed and are left out, the first by not finite: 'y' is not finite"
    assert f"people: {told}" in recorder.warned
    filled = found.filled()
    assert isinstance(filled["y"], Ragged) and len(filled["y"]) == 120 == len(filled["k"])
    np.testing.assert_array_equal(
        filled["y"].lengths == 0, np.isin(np.arange(120), list(found.failed))
    )
    np.testing.assert_array_equal(
        np.isnan(filled["k"]), np.isin(np.arange(120), list(found.failed))
    )
    np.testing.assert_array_equal(filled["y"].values, found.pairs.x["y"].values)
    for i, row in enumerate(found.rows):
        np.testing.assert_array_equal(filled["y"][row], found.pairs.x["y"][i])


def test_another_context_changes_the_simulations_alone(tmp_path, grouped):
    tiny = copy(grouped, tmp_path / "p")
    plainly, changed = predicted(tiny, "people"), predicted(tiny, "people", context={"n": 9})
    assert changed.file.name == "predictive-n=9.h5" and plainly.file.is_file()
    np.testing.assert_array_equal(
        changed.simulations.pairs.theta["mu"], plainly.simulations.pairs.theta["mu"]
    )
    assert set(changed.simulations.pairs.x["y"].lengths.tolist()) == {9}
    with h5py.File(changed.file) as file:
        assert json.loads(file.attrs["context"]) == {"n": 9} and file["context/n"].dtype == np.int64


@pytest.mark.parametrize(
    ("fixture", "context"), [("plain", {}), ("grouped", {}), ("grouped", {"n": 3})]
)
def test_the_prior_predicts_without_data(tmp_path, fixture, context, request):
    tiny = copy(request.getfixturevalue(fixture), tmp_path / "p")
    found = predicted(tiny, None, draws=500, context=context)
    mu = found.simulations.pairs.theta["mu"]
    assert found.file.parent == tiny.run / "predict/prior" and [
        path.suffix for path in found.pictures
    ] == [".png"]
    if fixture == "plain":
        assert abs(mu.mean()) < 5 / np.sqrt(500) and abs(mu.std() - 1) < 5 / np.sqrt(1000)
        assert len(mu) == 500
    else:
        sizes = {3} if context else {2, 3, 4}
        assert (
            set(found.simulations.pairs.x["y"].lengths.tolist())
            == sizes
            == set(found.simulations.pairs.context["n"].tolist())
        )


def test_the_prior_predicts_before_anything_is_simulated(tmp_path):
    tiny = Tiny.write(tmp_path, {})
    assert len(predicted(tiny, None).simulations.pairs) == 40
    with pytest.raises(RunError, match="no trained network"):
        predicted(tiny, "seen")


def test_a_folder_may_be_named(tmp_path, plain, monkeypatch):
    monkeypatch.setattr(module, "MAX_PICTURES", 1)
    found = predicted(copy(plain, tmp_path / "p"), "seen", output=tmp_path / "elsewhere")
    assert (
        found.file == tmp_path / "elsewhere/predictive.h5"
        and found.pictures[0].parent == tmp_path / "elsewhere"
    )


def test_a_context_that_is_none_is_refused(grouped):
    with pytest.raises(DataError, match="no context variable 'm'") as caught:
        predicted(grouped, "people", context={"m": 3})
    assert caught.value.todo == "There are: n."
    with pytest.raises(DataError, match=r"2\.5 is no integer"):
        predicted(grouped, "people", context={"n": 2.5})


def test_where_nothing_comes_out_the_reason_is_an_error(tmp_path, grouped):
    project = copy(grouped, tmp_path / "p").open()
    with pytest.raises(
        SimulatorError,
        match="not one of 6 simulations came out, the first failed by not finite: 'y' is not finite",
    ):
        project.forward.simulate(np.full((2, 3, 1), 2.0), {"n": np.array([2, 3])}, 0, Recorder())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_context_that_is_no_number_is_refused(grouped, value):
    with pytest.raises(DataError, match="is no number to simulate with"):
        predict(grouped.open(), Recorder(), observation=None, draws=5, seed=0, context={"n": value})


def test_what_was_assumed_to_read_the_data_is_said(tmp_path, plain):
    tiny, recorder = copy(plain, tmp_path / "p"), Recorder()
    (tiny.folder / "seen.csv").write_text("day;y\n1;1,5\n2;0,5\n3;1,0\n4;2,5\n")
    predicted(tiny, "seen", recorder, draws=3)
    assert [text for text in recorder.said if text.startswith("seen: ")] == [
        "seen: columns are parted by semicolons.",
        "seen: a comma is a decimal point.",
        "seen: columns day are not used.",
    ]
