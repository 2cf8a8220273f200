"""The posterior object: close to the exact one, a density, and the same from best.pt alone."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from sbiwb import chunks
from sbiwb.adapters._reading import ExpectedInput, read
from sbiwb.errors import CorruptFile, DataError, RunError
from sbiwb.posterior import Posterior, _posterior
from sbiwb.posterior._named_theta import stacked
from sbiwb.project.trained import load_posterior
from sbiwb.records import Ragged
from sbiwb.training.checkpoint import checkpoints, put_checkpoint, read_checkpoint
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import Recorder, Tiny

LEARN = {
    "problem": {"observations": {}},
    "simulate": {"train": 2048, "validation": 256},
    "train": {
        "steps": 500,
        "batch_size": 128,
        "learning_rate": 0.005,
        "ema": 0.98,
        "validate_every": 50,
    },
}


def trained(folder, changes) -> Tiny:
    tiny = Tiny.write(folder, changes)
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    return tiny


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("learned"), LEARN)


@pytest.fixture(scope="module")
def bounded(tmp_path_factory):
    """mu uniform on [0, 1]; hardly trained."""
    prior = {
        "problem": {
            "parameters": {"mu": {"kind": "uniform", "low": 0.0, "high": 1.0}},
            "observations": {},
        }
    }
    return trained(
        tmp_path_factory.mktemp("bounded"), prior | {"train": {"steps": 10, "validate_every": 10}}
    )


Y = np.array([[0.0, 0.5, -0.5, 1.0], [2.0, 1.0, 1.5, 0.5], [-1.0, -1.5, 0.0, -0.5]])


def test_it_is_close_to_the_exact_posterior(learned):
    draws = load_posterior(learned.run).sample({"y": Y}, 4000, 1)[..., 0]
    np.testing.assert_allclose(draws.mean(1), Y.sum(1) / 5, atol=0.15)
    np.testing.assert_allclose(draws.std(1), math.sqrt(1 / 5), rtol=0.2)


def test_its_density_is_close_to_the_exact_one(learned):
    theta = np.linspace(-1, 2, 7)
    ours = load_posterior(learned.run).log_prob(np.tile(theta[None, :, None], (3, 1, 1)), {"y": Y})
    exact = -0.5 * (theta - Y.sum(1, keepdims=True) / 5) ** 2 * 5 + 0.5 * math.log(
        5 / (2 * math.pi)
    )
    likely = exact > -4
    assert np.abs(ours - exact)[likely].mean() < 0.3


@pytest.mark.parametrize(("which", "low", "high"), [("learned", -8, 8), ("bounded", 0, 1)])
def test_its_density_integrates_to_one(which, low, high, request):
    posterior = load_posterior(request.getfixturevalue(which).run)
    width = (high - low) / 4000
    grid = low + width * (np.arange(4000) + 0.5)
    density = np.exp(posterior.log_prob(np.tile(grid[None, :, None], (3, 1, 1)), {"y": Y}))
    np.testing.assert_allclose(density.sum(1) * width, 1, atol=2e-3)


def test_outside_the_support_there_is_none(bounded):
    posterior = load_posterior(bounded.run)
    theta = np.array([-0.1, 0.5, 1.1, np.nan, np.inf])
    density = posterior.log_prob(theta[:, None], {"y": np.zeros((5, 4))})
    assert np.isfinite(density).tolist() == [False, True, False, False, False]
    assert (density[[0, 2, 3, 4]] == -np.inf).all()
    draws = posterior.sample({"y": Y}, 1000, 0)
    assert ((draws >= 0) & (draws <= 1)).all()


def test_draws_depend_on_the_seed_and_not_on_chunks(learned, monkeypatch):
    posterior = load_posterior(learned.run)
    draws, density = (
        posterior.sample({"y": Y}, 50, 7),
        posterior.log_prob(np.zeros((3, 1)), {"y": Y}),
    )
    np.testing.assert_array_equal(posterior.sample({"y": Y}, 50, 7), draws)
    assert not np.allclose(posterior.sample({"y": Y}, 50, 8), draws)
    monkeypatch.setattr(chunks, "CHUNK_DRAWS", 7)
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 2)
    np.testing.assert_allclose(posterior.sample({"y": Y}, 50, 7), draws, atol=1e-5)
    np.testing.assert_allclose(posterior.log_prob(np.zeros((3, 1)), {"y": Y}), density, atol=1e-5)


def test_density_of_a_data_set_does_not_depend_on_its_neighbours(learned):
    posterior = load_posterior(learned.run)
    theta = np.array([[0.1], [0.2], [0.3]])
    together = posterior.log_prob(theta, {"y": Y})
    alone = [posterior.log_prob(theta[i : i + 1], {"y": Y[i : i + 1]})[0] for i in range(3)]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(
        posterior.log_prob(theta[::-1], {"y": Y[::-1]})[::-1], together, atol=1e-5
    )


def test_best_alone_is_enough_anywhere(tmp_path):
    tiny = trained(tmp_path / "here", {"train": {"steps": 10}})
    before = load_posterior(tiny.run).sample({"y": Y}, 20, 0)
    best = tmp_path / "elsewhere.pt"
    shutil.copy(tiny.run / "train/best.pt", best)
    shutil.rmtree(tmp_path / "here")
    np.testing.assert_array_equal(load_posterior(best).sample({"y": Y}, 20, 0), before)


def test_weights_that_are_no_numbers_are_refused(learned, tmp_path):
    state = read_checkpoint(learned.run / "train/best.pt")
    next(iter(state["weights"].values())).view(-1)[0] = float("nan")
    put_checkpoint(tmp_path / "nan.pt", state)
    with pytest.raises(CorruptFile, match="weights that are not finite") as caught:
        load_posterior(tmp_path / "nan.pt")
    assert "train.learning_rate" in caught.value.todo


def test_what_is_no_posterior_is_refused(learned, tmp_path):
    with pytest.raises(RunError, match="no trained network") as caught:
        load_posterior(tmp_path)
    assert "sbiwb train" in caught.value.todo
    with pytest.raises(CorruptFile, match="is a checkpoint to go on from") as caught:
        load_posterior(checkpoints(learned.run / "train")[-1])
    assert caught.value.todo == "Load train/best.pt."
    put_checkpoint(tmp_path / "a.pt", {"x": 1})
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(data.replace(b"format", b"farmot"))
    with pytest.raises(CorruptFile, match="is not a whole checkpoint"):
        load_posterior(tmp_path / "a.pt")


BAD = [
    ({"z": Y}, DataError, "y"),
    ({"y": Y[:, :3]}, DataError, "y"),
    ({"y": np.where(Y == 1, np.nan, Y)}, DataError, "y"),
]


def test_more_draws_than_the_memory_holds_are_refused_with_both_sizes():
    _posterior._check_memory(1_000, 4_000, 10)
    with pytest.raises(DataError, match=r"1,000 data sets are 8,000\.0 GB, in 3 copies") as refused:
        _posterior._check_memory(1_000, 1_000_000_000, 1)
    assert "--draws" in refused.value.todo


@pytest.mark.parametrize(("x", "error", "named"), BAD)
def test_data_that_do_not_fit_are_told(learned, x, error, named):
    with pytest.raises(error) as caught:
        load_posterior(learned.run).sample(x, 10)
    assert named in str(caught.value)


@pytest.mark.parametrize("shape", [(3,), (2, 1), (3, 2), (3, 4, 2)])
def test_theta_of_another_shape_is_told(learned, shape):
    with pytest.raises(DataError, match=r"expected \(N, D\) or \(N, S, D\) with N = 3, D = 1"):
        load_posterior(learned.run).log_prob(np.zeros(shape), {"y": Y})


def test_values_no_simulation_had_are_told(learned):
    told = load_posterior(learned.run).ood_warnings({"y": np.full((1, 4), 100.0)})
    assert (
        len(told) == 4
        and told[0].startswith("y[0]: 1 of 1 values lie outside the simulated range [-")
        and "(largest 100)" in told[0]
    )
    assert load_posterior(learned.run).ood_warnings({"y": Y}) == []


# x in the forms that people have


FORMS = {
    "lists": {"y": Y.tolist()},
    "list of arrays": {"y": list(Y)},
    "a tensor": {"y": torch.tensor(Y)},
    "single precision": {"y": torch.tensor(Y, dtype=torch.float32)},
    "columns of a data frame": {"y": pd.DataFrame(Y, columns=list("abcd"))},
    "a Dataset": xr.Dataset({"y": (("trial", "position"), Y)}),
    "the variable itself": Y,
    "a list of the variable": Y.tolist(),
    "with others": {"y": Y, "z": "not read"},
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_the_same_data_give_the_same_draws(learned, form):
    posterior = load_posterior(learned.run)
    np.testing.assert_array_equal(
        posterior.sample(FORMS[form], 30, 3), posterior.sample({"y": Y}, 30, 3)
    )


@pytest.mark.parametrize(
    "y", [Y[1], Y[1].tolist(), torch.tensor(Y[1]), pd.Series(Y[1], index=list("abcd"))]
)
def test_one_data_set_needs_no_axis_in_front(learned, y):
    posterior = load_posterior(learned.run)
    expected = posterior.sample({"y": Y[1:2]}, 30, 3)
    assert expected.shape == (1, 30, 1)
    np.testing.assert_array_equal(posterior.sample({"y": y}, 30, 3), expected)
    np.testing.assert_array_equal(posterior.features({"y": y}), posterior.features({"y": Y[1:2]}))


NUMBER, NUMBERS = ExpectedInput("vector", 1), ExpectedInput("vector", 3)
SET, SERIES = ExpectedInput("set", 1, (2, 5)), ExpectedInput("series", 2, (4, 4))
READ = [
    (NUMBER, 0.5, (1,)),
    (NUMBER, [0.5, 0.6], (2,)),
    (NUMBER, np.zeros((4, 1)), (4, 1)),
    (NUMBERS, np.zeros(3), (1, 3)),
    (NUMBERS, np.zeros((2, 3)), (2, 3)),
    (SET, np.zeros(4), (1, 4)),
    (SET, np.zeros((3, 4)), (3, 4)),
    (SET, np.zeros((3, 4, 1)), (3, 4, 1)),
    (SERIES, np.zeros((4, 2)), (1, 4, 2)),
    (SERIES, np.zeros((3, 4, 2)), (3, 4, 2)),
    (SERIES, [np.zeros((4, 2)), np.zeros((4, 2))], (2, 4, 2)),
    (ExpectedInput("set", 1, (1, 5)), np.zeros((3, 1)), (3, 1)),
]


@pytest.mark.parametrize(("expected", "value", "shape"), READ)
def test_axes_alone_say_how_many_data_sets_there_are(expected, value, shape):
    assert read({"y": expected}, {"y": value})["y"].shape == shape


@pytest.mark.parametrize(
    "value",
    [
        [[1.0, 2.0], [3.0, 4.0, 5.0]],
        pd.Series([[1.0, 2.0], [3.0, 4.0, 5.0]]),
        [torch.ones(2), torch.ones(3)],
    ],
)
def test_lists_of_different_length_are_data_sets(value):
    found = read({"y": SET}, {"y": value})["y"]
    assert isinstance(found, Ragged) and found.lengths.tolist() == [2, 3]
    again = read({"y": SET}, {"y": found})["y"]
    assert again is found


def test_a_number_holds_for_all_data_sets():
    found = read({"y": SET, "n": NUMBER}, {"y": np.ones((3, 2)), "n": 7})
    assert found["n"].tolist() == [7, 7, 7]
    frame = pd.DataFrame({"rt": [0.5, 0.7, 0.4], "choice": [1, 0, 1]})
    found = read({"rt": SET, "choice": SET}, frame)
    assert found["rt"].tolist() == [[0.5, 0.7, 0.4]] and found["choice"].tolist() == [[1, 0, 1]]


ODD = [
    ({"y": NUMBERS}, {"y": np.zeros((2, 2, 3))}, "has the shape (2, 2, 3)", "y: 3 numbers"),
    ({"y": NUMBERS}, {"y": 1.0}, "has the shape ()", "y: 3 numbers"),
    ({"y": SERIES}, {"y": np.zeros(4)}, "has the shape (4,)", "a series of 4 steps of 2 numbers"),
    (
        {"y": SET},
        {"y": np.zeros((4, 1))},
        "4 data sets of one member, which training never had",
        "the shape (4,) or (1, 4, 1)",
    ),
    (
        {"y": SET, "n": NUMBER},
        {"y": np.zeros((3, 2)), "n": [1, 2]},
        "do not agree: y has 3, n has 2",
        "n: one number",
    ),
    (
        {"y": SET, "n": NUMBER},
        {"x": 1},
        "no variable y, n among x",
        "y: a set of 2 to 5 members of one number",
    ),
    (
        {"y": SET, "n": NUMBER},
        np.zeros(3),
        "is of type ndarray, where variables are read by name",
        "y: a set",
    ),
    ({"y": SET}, {"y": []}, "is empty", "at least one"),
    ({"y": NUMBERS}, {"y": np.zeros((0, 3))}, "holds no data sets", "y: 3 numbers"),
    ({"y": SET}, {"y": ["a", "b"]}, "instead of numbers", "a number"),
    (
        {"y": SET},
        {"y": [np.zeros(2), np.zeros((3, 2))]},
        "a list of arrays of shapes (2,), (3, 2)",
        "first axis",
    ),
    ({"y": SET}, {"y": [[1.0, [2.0, 3.0]]]}, "is no array", "a list of arrays"),
]


@pytest.mark.parametrize(("observables", "x", "what", "todo"), ODD)
def test_data_of_no_such_form_name_what_is_expected(observables, x, what, todo):
    with pytest.raises(DataError) as caught:
        read(observables, x)
    assert what in caught.value.what and todo in caught.value.todo


# numpy, torch, xarray


def test_all_three_hand_out_the_same_draws_and_densities(learned):
    posterior = load_posterior(learned.run)
    draws = posterior.sample({"y": Y}, 25, 4)
    tensor, table = (
        posterior.sample_torch({"y": Y}, 25, 4),
        posterior.sample_xarray({"y": Y}, 25, 4),
    )
    assert (
        tensor.dtype == torch.float64
        and posterior.sample_torch({"y": Y}, 2, 4, dtype=torch.float32).dtype == torch.float32
    )
    np.testing.assert_array_equal(tensor.numpy(), draws)
    assert table["mu"].dims == ("data_set", "draw") and table.sizes == {"data_set": 3, "draw": 25}
    np.testing.assert_array_equal(table["mu"].values, draws[..., 0])
    density = posterior.log_prob(draws, {"y": Y})
    for theta in (tensor, table, {"mu": draws[..., 0]}):
        np.testing.assert_array_equal(posterior.log_prob(theta, {"y": Y}), density)
    np.testing.assert_array_equal(posterior.log_prob_torch(tensor, {"y": Y}).numpy(), density)
    found = posterior.log_prob_xarray(table, {"y": Y})
    assert found.dims == ("data_set", "draw") and found.name == "log_prob"
    np.testing.assert_array_equal(found.values, density)
    assert posterior.log_prob_xarray(draws[:, 0], {"y": Y}).dims == ("data_set",)
    with pytest.raises(DataError, match="no parameter mu"):
        posterior.log_prob({"nu": draws}, {"y": Y})


def test_vector_valued_parameters_are_one_variable_with_units(learned, monkeypatch):
    posterior = replace(
        load_posterior(learned.run), columns=("a", "b[0]", "b[1]"), units={"a": "s"}
    )
    theta = np.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    monkeypatch.setattr(Posterior, "sample", lambda *_: theta)
    table = posterior.sample_xarray({"y": Y[:2]}, 5)
    assert (
        table["b"].dims == ("data_set", "draw", "b_dim_0")
        and table["a"].attrs == {"units": "s"}
        and table["b"].attrs == {}
    )
    np.testing.assert_array_equal(table["b"].values, theta[..., 1:])
    np.testing.assert_array_equal(stacked(posterior.columns, table), theta)
