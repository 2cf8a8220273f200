"""Grids, gaps and broadcasts, from the YAML and the user's files to draws."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sbiwb import priors
from sbiwb.adapters._reading import ExpectedInput, read
from sbiwb.config.model import Input, Model, Observation
from sbiwb.errors import ConfigError, DataError
from sbiwb.priors import Prior
from sbiwb.project.adapter import check_variables, fit_adapter
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.observe import NamedObservation, observe
from sbiwb.project.project import distributions
from sbiwb.project.trained import load_posterior
from sbiwb.records import Pairs
from sbiwb.simulation.layout import Observable
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.sample import sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import Recorder, Tiny, merged

# the YAML

ODD = [
    (
        {"as": "vector", "broadcast": ["n"]},
        "'broadcast' repeats variables to members, steps or cells, and a vector has none",
    ),
    (
        {"as": "set", "transforms": ["standardize", "difference"]},
        "difference goes along the steps of a series",
    ),
    (
        {"as": "set", "transforms": {"y": ["time_features"]}},
        "time_features goes along the steps of a series",
    ),
    ({"as": "grid", "axes": 3}, "axes"),
]


@pytest.mark.parametrize(("options", "message"), ODD)
def test_inputs_that_cannot_be_are_refused_before_anything_runs(tiny, options, message):
    with pytest.raises(ConfigError) as caught:
        tiny(model={"inputs": {"y": options}}).open()
    assert "model.inputs.y" in str(caught.value) and message in str(caught.value)


def checked(inputs, drop=()):
    check_variables(Model.model_validate({"inputs": inputs, "drop": list(drop)}), {"y"}, {"n", "m"})


def test_a_broadcast_variable_is_used_and_may_be_used_again():
    checked({"y": {"as": "set", "broadcast": ["n"], "transforms": {"n": ["standardize"]}}}, ["m"])
    checked({"y": {"as": "set", "broadcast": ["n", "m"]}, "n": {"as": "vector"}})


def test_inputs_that_are_complete_forget_no_variable():
    model = Model.model_validate({"inputs": {"y": {"as": "vector"}}, "drop": ["m"]})
    known = {name: np.arange(4.0) for name in ("y", "n", "m")}
    pairs = Pairs({"mu": np.zeros(4)}, {"n": known["n"], "m": known["m"]}, {"y": known["y"]})
    prior = Prior(distributions({"mu": priors.family.parse("normal")}))
    with pytest.raises(ConfigError, match=r"model.inputs  n is neither used nor dropped"):
        fit_adapter(model, prior, pairs)


@pytest.mark.parametrize(
    ("one", "message"),
    [
        ({"broadcast": ["k"]}, r"model\.inputs\.y  uses k, which the simulator does not return"),
        ({"broadcast": ["y"]}, r"model\.inputs\.y  uses y twice"),
        (
            {"broadcast": ["n"], "transforms": {"m": ["log"]}},
            r"model\.inputs\.y\.transforms  names m, which is not joined here",
        ),
    ],
)
def test_broadcasts_that_name_nothing(one, message):
    with pytest.raises(ConfigError, match=message):
        checked({"y": {"as": "set", **one}}, ["n", "m"])


def test_the_plan_has_all_that_the_yaml_says():
    one = Input.model_validate(
        {
            "as": "grid",
            "axes": 1,
            "from": ["a", "b"],
            "broadcast": ["n"],
            "transforms": {"n": ["log"]},
        }
    )
    plan = one.plan("pair")
    assert (plan.kind, plan.sources, plan.broadcast, plan.axes) == ("grid", ("a", "b"), ("n",), 1)
    assert (
        plan.tail == []
        and [part.kind for part in plan.chains["n"]] == ["log"]
        and one.plan("n").variables == ("a", "b", "n")
    )
    assert [
        part.kind
        for part in Input.model_validate({"as": "set", "transforms": ["log1p"]}).plan("y").tail
    ] == ["log1p"]


# files of real data


@pytest.fixture
def seen(tmp_path):
    """Writes a file and reads it as an observation."""

    def make(name, content, layout, **what):
        if isinstance(content, str):
            (tmp_path / name).write_text(content)
        else:
            np.savez(tmp_path / name, **content)
        options = Observation.model_validate({"file": name, **what})
        return observe(NamedObservation("seen", options, tmp_path), layout, {})

    return make


def observable(*shape, missing=True, ragged=False):
    return {"y": Observable("float64", shape, ragged, missing)}


@pytest.mark.parametrize("gap", ["", "NA", " nan ", "NaN", "null", "n/a"])
def test_empty_cells_are_missing_values(seen, gap):
    found = seen("a.csv", f"day,y\n1,5\n2,{gap}\n3,7\n", observable(3))
    np.testing.assert_array_equal(found.x["y"], [[5, np.nan, 7]])


def test_gaps_in_groups_arrays_channels_and_single_numbers(seen):
    ragged = seen(
        "a.csv", "who,y\n1,5\n2,\n1,\n2,8\n1,6\n", observable(0, ragged=True), group_by=["who"]
    ).x["y"]
    np.testing.assert_array_equal(ragged[0], [5, np.nan, 6])
    np.testing.assert_array_equal(ragged[1], [np.nan, 8])
    array = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(seen("a.npz", {"y": array}, observable(3)).x["y"], array)
    channels = seen("a.csv", "a,b\n1,\nNA,4\n", observable(2, 2), columns={"y": ["a", "b"]}).x["y"]
    np.testing.assert_array_equal(channels, [[[1, np.nan], [np.nan, 4]]])
    one = seen("a.csv", "who,y\n1,\n1,\n2,3\n", observable(), group_by=["who"]).x["y"]
    np.testing.assert_array_equal(one, [np.nan, 3])


def test_what_is_no_gap_is_refused_where_it_stands(seen):
    with pytest.raises(DataError, match="column 'y' holds 'oops' at line 4"):
        seen("a.csv", "day,y\n1,5\n2,\n3,oops\n", observable(3))
    with pytest.raises(DataError, match="column 'y' holds 'inf' at line 3"):
        seen("a.csv", "day,y\n1,\n2,inf\n3,7\n", observable(3))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "day,y\n1,5\n2,\n3,7\n"), ("a.npz", {"y": np.array([5, np.nan, 7])})],
)
def test_gaps_that_the_simulator_never_leaves_are_refused_with_a_way_out(seen, name, content):
    with pytest.raises(DataError, match="column 'y' holds") as caught:
        seen(name, content, observable(3, missing=False))
    assert "problem.missing: [y]" in caught.value.todo and "nan_to_mask" in caught.value.todo


def test_a_grid_comes_as_an_array_or_as_columns(seen):
    picture = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(
        seen("a.npz", {"y": picture}, observable(2, 3)).x["y"], picture[None]
    )
    np.testing.assert_array_equal(
        seen("a.npz", {"y": np.stack([picture] * 4)}, observable(2, 3)).x["y"], [picture] * 4
    )
    columns = seen(
        "a.csv", "a,b,c\n0,1,2\n3,4,5\n", observable(2, 3), columns={"y": ["a", "b", "c"]}
    )
    np.testing.assert_array_equal(columns.x["y"], picture[None])
    for content in ("z\n1\n2\n", "y\n0\n1\n2\n3\n4\n5\n"):
        with pytest.raises(DataError) as caught:
            seen("a.csv", content, observable(2, 3))
        assert "shape (2, 3)" in str(caught.value) and "NPZ or HDF5" in caught.value.todo


# what a trained network reads

GRID, COLOURS = ExpectedInput("grid", 1, grid=(3, 4)), ExpectedInput("grid", 2, grid=(3, 4))


@pytest.mark.parametrize(
    ("expected", "given", "read_as"),
    [
        (GRID, (3, 4), (1, 3, 4)),
        (GRID, (5, 3, 4), (5, 3, 4)),
        (GRID, (5, 3, 4, 1), (5, 3, 4, 1)),
        (GRID, (3, 4, 1), (1, 3, 4, 1)),
        (COLOURS, (3, 4, 2), (1, 3, 4, 2)),
        (COLOURS, (5, 3, 4, 2), (5, 3, 4, 2)),
        (ExpectedInput("grid", 1, grid=(4,)), (4, 1), (1, 4, 1)),
        (ExpectedInput("grid", 1, grid=(1,)), (4, 1), (4, 1)),
    ],
)
def test_grids_by_their_axes(expected, given, read_as):
    assert read({"y": expected}, {"y": np.zeros(given)})["y"].shape == read_as


def test_what_is_expected_in_words():
    with pytest.raises(DataError) as caught:
        read({"y": ExpectedInput("grid", 2, grid=(3, 4), missing=True)}, {"y": np.zeros(4)})
    assert "y: a grid of 3 x 4 cells of 2 numbers (NaN where one is missing)" in caught.value.todo


@pytest.mark.parametrize(
    "y",
    [
        [1.0, None, 3.0],
        np.array([1.0, None, 3.0], dtype=object),
        np.ma.masked_array([1, 2, 3], mask=[False, True, False]),
        torch.tensor([1.0, float("nan"), 3.0]),
    ],
)
def test_all_ways_to_say_that_a_value_is_missing(y):
    expected = ExpectedInput("series", 1, (3, 3), missing=True)
    np.testing.assert_array_equal(read({"y": expected}, {"y": y})["y"], [[1, np.nan, 3]])
    np.testing.assert_array_equal(
        read({"y": expected}, {"y": [y, [4.0, 5.0, 6.0]]})["y"], [[1, np.nan, 3], [4, 5, 6]]
    )


# whole runs

PICTURES = '''"""Noisy pictures: mu is the brightness; the noise of each data set is known."""


def simulate(mu, sd, *, rng):
    return {"y": mu[:, None, None] + sd[:, None, None] * rng.standard_normal((len(mu), 4, 3))}
'''
GAPS = '''"""Four normal numbers, of which each is missing with probability 0.3."""
import numpy as np


def simulate(mu, *, rng, n):
    y = mu[:, None] + rng.standard_normal((len(mu), n))
    return {"y": np.where(rng.random(y.shape) < 0.3, np.nan, y)}
'''
STEPS = {
    "train": {"steps": 20, "validate_every": 10},
    "diagnose": {"checks": ["sbc", "prior_predictive", "misspecification"]},
}


def run(tiny: Tiny) -> list[str]:
    """Simulates, trains and infers; what `sample` warns of."""
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    recorder = Recorder()
    sample(tiny.open(), named_observations(tiny.open(), None), recorder, draws=50, seed=0)
    return recorder.warned


def test_a_grid_from_simulations_to_draws(tmp_path):
    changes = {
        "problem": {
            "constants": {},
            "context": {"sd": {"kind": "uniform", "low": 0.5, "high": 2.0}},
            "observations": {
                key: {"file": f"{key}.npz", "context": {"sd": 1.0}} for key in ("seen", "one")
            },
        },
        "model": {
            "inputs": {
                "y": {
                    "as": "grid",
                    "broadcast": ["sd"],
                    "transforms": {"y": ["standardize"]},
                    "summary": {"kind": "conv2d", "filters": [4]},
                }
            }
        },
        **STEPS,
    }
    tiny = Tiny.write(tmp_path, changes, PICTURES)
    tiny.yaml.write_text(
        tiny.yaml.read_text()
        .replace("    n: 4\n", "")
        .replace("  constants:\n", "  constants: {}\n")
    )
    pictures = np.random.default_rng(0).standard_normal((2, 4, 3))
    np.savez(tmp_path / "seen.npz", y=pictures)
    np.savez(tmp_path / "one.npz", y=pictures[0])
    run(tiny)
    assert (tiny.run / "sample/one/predictive.png").is_file()
    assert len(json.loads((tiny.run / "sample/seen/summary.json").read_text())["rows"]) == 2
    posterior = load_posterior(tiny.run)
    x = {"y": pictures, "sd": [1.0, 1.0]}
    np.testing.assert_array_equal(
        posterior.sample({"y": pictures, "sd": 1.0}, 5, 0), posterior.sample(x, 5, 0)
    )
    assert not np.allclose(posterior.features({**x, "sd": [2.0, 1.0]})[0], posterior.features(x)[0])
    with pytest.raises(DataError, match="y  has 3 x 4 cells, but all training data had 4 x 3"):
        posterior.sample({"y": pictures.swapaxes(1, 2), "sd": 1.0}, 5, 0)


def test_a_series_with_gaps_from_a_csv_to_draws(tmp_path):
    changes = {
        "problem": {"missing": ["y"]},
        "model": {
            "inputs": {
                "y": {
                    "as": "series",
                    "transforms": ["standardize", "nan_to_mask", "time_features"],
                    "summary": {"kind": "lstm"},
                }
            }
        },
        **STEPS,
    }
    tiny = Tiny.write(tmp_path, changes, GAPS)
    (tmp_path / "seen.csv").write_text("day,y\n1,1.0\n2,\n3,1.5\n4,NA\n")
    warned = run(tiny)
    assert not any("missing" in one for one in warned)
    told = {one.name: one for one in diagnose(tiny.open(), Recorder()).judgments}
    assert (
        told["statistics_p"].value is not None and told["prior_predictive_p"].value is not None
    )  # gaps are no obstacle
    posterior = load_posterior(tiny.run)
    y = np.array([[1.0, np.nan, 1.5, np.nan]])
    assert np.isfinite(posterior.sample({"y": y}, 50, 0)).all()
    assert not np.allclose(
        posterior.features({"y": np.nan_to_num(y)}), posterior.features({"y": y})
    )


def test_a_simulator_that_leaves_gaps_needs_a_mask_before_anything_is_spent(tmp_path):
    without = {"model": {"inputs": {"y": {"transforms": ["standardize"]}}}}
    problem = {"problem": {"missing": ["y"], "observations": {}}}
    tiny = Tiny.write(tmp_path, merged({**problem, **STEPS}, without), GAPS)
    with pytest.raises(
        DataError, match=r"y, data set .* values are not finite, the first one nan.*nan_to_mask"
    ):
        simulate(tiny.open(), Recorder())
    assert not list(tiny.run.glob("data/*/*.h5"))


@pytest.mark.slow
def test_with_gaps_the_posterior_is_still_the_exact_one(tmp_path):
    """mu ~ N(0, 1) and k observed y_i ~ N(mu, 1): the posterior is N(sum(y) / (k + 1), 1 / (k +
    1))."""
    changes = {
        "problem": {"missing": ["y"], "observations": {}},
        "simulate": {"train": 8192, "validation": 512, "block_size": 256, "shard_size": 1024},
        "model": {
            "inputs": {
                "y": {
                    "as": "series",
                    "transforms": ["standardize", "nan_to_mask"],
                    "summary": {"kind": "lstm", "hidden": 16},
                }
            }
        },
        "train": {
            "steps": 2000,
            "batch_size": 128,
            "learning_rate": 0.005,
            "ema": 0.98,
            "validate_every": 100,
        },
    }
    tiny = Tiny.write(tmp_path, changes, GAPS)
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    rng = np.random.default_rng(0)
    y = rng.standard_normal((200, 1)) + rng.standard_normal((200, 4))
    y[rng.random(y.shape) < 0.3] = np.nan
    k = np.isfinite(y).sum(1)
    draws = load_posterior(tiny.run).sample({"y": y}, 2000, 1)[..., 0]
    error = draws.mean(1) - np.nansum(y, axis=1) / (k + 1)
    assert np.abs(error).mean() < 0.1
    np.testing.assert_allclose(
        [draws[k == one].std(1).mean() for one in range(1, 5)],
        1 / np.sqrt(np.arange(2, 6)),
        rtol=0.1,
    )
