"""InputAdapter: arrays and ragged variables to padded float32 values and masks."""

import json

import numpy as np
import pytest

from sbiwb.adapters import InputAdapter, family
from sbiwb.errors import DataError
from sbiwb.records import Ragged

RNG = np.random.default_rng(0)
LENGTHS = [3, 1, 5, 2]


def chain(*parts):
    return tuple(family.parse(part) for part in parts)


def trials(lengths=LENGTHS):
    """Reaction times and choices of data sets of different size."""
    rt = Ragged.of([RNG.uniform(0.2, 2.0, n) for n in lengths])
    choice = Ragged.of([np.arange(n) % 2 for n in lengths])
    return {"rt": rt, "choice": choice}


CHAINS = {"rt": chain("log", "standardize"), "choice": chain({"kind": "one_hot", "categories": 2})}
JOINED = ("set", ("rt", "choice"), CHAINS, ())


def test_vector_joins_channels_and_standardizes():
    variables = {"a": RNG.normal(3, 2, 100), "b": RNG.normal(size=(100, 2)), "other": np.array(["text"])}
    adapter = InputAdapter.fit("vector", ("a", "b"), {}, chain("standardize"), variables)
    values, mask = adapter.apply(variables)
    assert mask is None and values.dtype == np.float32 and values.shape == (100, 3)
    assert np.allclose(values.mean(0), 0, atol=1e-6) and np.allclose(values.std(0), 1, atol=1e-6)
    assert (adapter.shape.kind, adapter.shape.channels, adapter.shape.length, adapter.shape.varies) == ("vector", 3, None, False)


def test_joined_set_is_padded_with_zeros_after_the_transforms():
    variables = trials()
    adapter = InputAdapter.fit(*JOINED, variables)
    values, mask = adapter.apply(variables)
    assert values.shape == (4, 5, 3) and mask.sum(1).tolist() == LENGTHS
    assert (values[~mask] == 0).all()
    assert np.allclose(values[mask][:, 0].mean(), 0, atol=1e-6) and np.allclose(values[mask][:, 0].std(), 1, atol=1e-6)
    assert values[mask][:, 1:].sum(1).tolist() == [1] * sum(LENGTHS)
    assert (adapter.shape.channels, adapter.shape.length, adapter.shape.varies) == (3, 5, True)


def test_other_lengths_than_in_training_where_lengths_vary():
    adapter = InputAdapter.fit(*JOINED, trials())
    one = {"rt": np.full((1, 9), 0.5), "choice": np.zeros((1, 9))}
    values, mask = adapter.apply(one)
    assert values.shape == (1, 9, 3) and mask.all()
    values, mask = adapter.apply(trials([0]))
    assert values.shape == (1, 1, 3) and not mask.any()


def test_fixed_series_needs_no_mask_and_one_length():
    adapter = InputAdapter.fit("series", ("x",), {"x": chain("log1p", "standardize")}, (), {"x": RNG.poisson(3, (50, 14))})
    assert (adapter.shape.length, adapter.shape.varies) == (14, False)
    values, mask = adapter.apply({"x": Ragged.of([RNG.poisson(3, 14)])})
    assert values.shape == (1, 14, 1) and mask is None
    with pytest.raises(DataError, match=r"x  has 13 members in data set 0, but all training data had 14"):
        adapter.apply({"x": np.zeros((2, 13))})


def test_a_series_keeps_its_order():
    x = np.arange(24.0).reshape(2, 4, 3)
    values, _ = InputAdapter.fit("series", ("x",), {}, (), {"x": x}).apply({"x": x})
    assert np.array_equal(values, x)


def test_statistics_come_from_training_data_only():
    adapter = InputAdapter.fit("vector", ("x",), {"x": chain("standardize")}, (), {"x": np.array([0.0, 2.0])})
    assert adapter.apply({"x": np.array([101.0])})[0].tolist() == [[100.0]]


@pytest.mark.parametrize("variables", [trials()])
def test_state_survives_json(variables):
    adapter = InputAdapter.fit(*JOINED, variables)
    again = InputAdapter.restore(*JOINED, json.loads(json.dumps(adapter.state(), allow_nan=False)))
    assert again.shape == adapter.shape
    assert all(np.array_equal(a, b) for a, b in zip(adapter.apply(variables), again.apply(variables), strict=True))


def test_outside_names_values_and_lengths_never_simulated():
    adapter = InputAdapter.fit("set", ("rt",), {}, (), {"rt": Ragged.of([np.array([0.2, 9.8]), np.array([1.0])])})
    assert adapter.outside({"rt": np.array([[0.2, 9.8]])}) == []
    rt = np.array([[1.0] * 197 + [10.0, 14.2, 12.0]])
    assert adapter.outside({"rt": rt}) == [
        "rt: 3 of 200 values lie outside the simulated range [0.2, 9.8] (largest 14.2)",
        "rt: 1 of 1 data sets have a length outside the simulated range [1, 2] (largest 200)",
    ]


def test_outside_names_the_channel():
    adapter = InputAdapter.fit("vector", ("x",), {}, (), {"x": np.array([[0.0, 0.0], [1.0, 1.0]])})
    expected = ["x[1]: 1 of 1 values lie outside the simulated range [0, 1] (smallest -3)"]
    assert adapter.outside({"x": np.array([[0.5, -3.0]])}) == expected


@pytest.mark.parametrize(
    ("kind", "variables", "message"),
    [
        ("vector", {"y": np.zeros(3)}, "no variable x.*There are: y"),
        ("vector", {"x": np.zeros((3, 2, 2))}, r"x  has the shape \(3, 2, 2\).*\(N, C\)"),
        ("vector", {"x": Ragged.of([np.zeros(2), np.zeros(1)])}, "x  has a length of its own.*as: set"),
        ("set", {"x": np.zeros(3)}, r"x  has the shape \(3,\).*\(N, M, C\)"),
        ("set", {"x": Ragged.of([np.zeros((2, 2, 2))])}, r"members of shape \(2, 2\)"),
        ("vector", {"x": np.array(["left", "right"])}, "instead of numbers"),
        ("vector", {"x": np.array([1.0, np.nan])}, "x, data set 1  1 of 2 values are not finite, the first one nan"),
        ("set", {"x": Ragged.of([np.zeros(2), np.array([0.0, np.inf])])}, "x, data set 1, position 1  .* inf"),
        ("series", {"x": np.full((1, 2, 2), np.nan)}, "x, data set 0, position 0, channel 0"),
        ("vector", {"x": np.array([1e300])}, "x  1e.300 is too large for float32"),
    ],
)
def test_messages(kind, variables, message):
    with pytest.raises(DataError, match=message):
        InputAdapter.fit(kind, ("x",), {}, (), variables).apply(variables)


def test_a_refused_value_names_its_variable():
    with pytest.raises(DataError, match="rt  cannot take the log of 0"):
        InputAdapter.fit("vector", ("rt",), {"rt": chain("log")}, (), {"rt": np.zeros(2)})


def test_sources_of_one_input_must_have_the_same_lengths():
    variables = {**trials(), "choice": trials([3, 1, 4, 2])["choice"]}
    with pytest.raises(DataError, match="rt has 5 members and choice has 4 in data set 2"):
        InputAdapter.fit(*JOINED, variables)
    with pytest.raises(DataError, match="a has 2 data sets and b has 3"):
        InputAdapter.fit("vector", ("a", "b"), {}, (), {"a": np.zeros(2), "b": np.zeros(3)})


def test_other_channels_than_in_training():
    adapter = InputAdapter.fit("vector", ("x",), {}, (), {"x": np.zeros((3, 2))})
    with pytest.raises(DataError, match="x  has 3 channels, but the training data had 2"):
        adapter.apply({"x": np.zeros((3, 3))})
