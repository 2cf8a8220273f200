"""InputAdapter: arrays and ragged variables to padded float32 values and masks."""

import json

import numpy as np
import pytest

from sbiwb.adapters import InputAdapter, InputPlan, family
from sbiwb.errors import ConfigError, DataError
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
JOINED = InputPlan("set", ("rt", "choice"), CHAINS)


def test_vector_joins_channels_and_standardizes():
    variables = {
        "a": RNG.normal(3, 2, 100),
        "b": RNG.normal(size=(100, 2)),
        "other": np.array(["text"]),
    }
    adapter = InputAdapter.fit(
        InputPlan("vector", ("a", "b"), tail=chain("standardize")), variables
    )
    values, mask = adapter.apply(variables)
    assert mask is None and values.dtype == np.float32 and values.shape == (100, 3)
    assert np.allclose(values.mean(0), 0, atol=1e-6) and np.allclose(values.std(0), 1, atol=1e-6)
    assert (
        adapter.shape.kind,
        adapter.shape.channels,
        adapter.shape.length,
        adapter.shape.varies,
    ) == ("vector", 3, None, False)


def test_joined_set_is_padded_with_zeros_after_the_transforms():
    variables = trials()
    adapter = InputAdapter.fit(JOINED, variables)
    values, mask = adapter.apply(variables)
    assert values.shape == (4, 5, 3) and mask.sum(1).tolist() == LENGTHS
    assert (values[~mask] == 0).all()
    assert np.allclose(values[mask][:, 0].mean(), 0, atol=1e-6) and np.allclose(
        values[mask][:, 0].std(), 1, atol=1e-6
    )
    assert values[mask][:, 1:].sum(1).tolist() == [1] * sum(LENGTHS)
    assert (adapter.shape.channels, adapter.shape.length, adapter.shape.varies) == (3, 5, True)


def test_other_lengths_than_in_training_where_lengths_vary():
    adapter = InputAdapter.fit(JOINED, trials())
    one = {"rt": np.full((1, 9), 0.5), "choice": np.zeros((1, 9))}
    values, mask = adapter.apply(one)
    assert values.shape == (1, 9, 3) and mask.all()
    values, mask = adapter.apply(trials([0]))
    assert values.shape == (1, 1, 3) and not mask.any()


def test_fixed_series_needs_no_mask_and_one_length():
    adapter = InputAdapter.fit(
        InputPlan("series", ("x",), {"x": chain("log1p", "standardize")}),
        {"x": RNG.poisson(3, (50, 14))},
    )
    assert (adapter.shape.length, adapter.shape.varies) == (14, False)
    values, mask = adapter.apply({"x": Ragged.of([RNG.poisson(3, 14)])})
    assert values.shape == (1, 14, 1) and mask is None
    with pytest.raises(
        DataError, match=r"x  has 13 members in data set 0, but all training data had 14"
    ):
        adapter.apply({"x": np.zeros((2, 13))})


def test_a_series_keeps_its_order():
    x = np.arange(24.0).reshape(2, 4, 3)
    values, _ = InputAdapter.fit(InputPlan("series", ("x",)), {"x": x}).apply({"x": x})
    assert np.array_equal(values, x)


def test_statistics_come_from_training_data_only():
    adapter = InputAdapter.fit(
        InputPlan("vector", ("x",), {"x": chain("standardize")}), {"x": np.array([0.0, 2.0])}
    )
    assert adapter.apply({"x": np.array([101.0])})[0].tolist() == [[100.0]]


@pytest.mark.parametrize("variables", [trials()])
def test_state_survives_json(variables):
    adapter = InputAdapter.fit(JOINED, variables)
    again = InputAdapter.restore(JOINED, json.loads(json.dumps(adapter.state(), allow_nan=False)))
    assert again.shape == adapter.shape
    assert all(
        np.array_equal(a, b)
        for a, b in zip(adapter.apply(variables), again.apply(variables), strict=True)
    )


def test_outside_names_values_and_lengths_never_simulated():
    adapter = InputAdapter.fit(
        InputPlan("set", ("rt",)), {"rt": Ragged.of([np.array([0.2, 9.8]), np.array([1.0])])}
    )
    assert adapter.outside({"rt": np.array([[0.2, 9.8]])}) == []
    rt = np.array([[1.0] * 197 + [10.0, 14.2, 12.0]])
    assert adapter.outside({"rt": rt}) == [
        "rt: 3 of 200 values lie outside the simulated range [0.2, 9.8] (largest 14.2)",
        "rt: 1 of 1 data sets have a length outside the simulated range [1, 2] (largest 200)",
    ]


def test_outside_names_the_channel():
    adapter = InputAdapter.fit(
        InputPlan("vector", ("x",)), {"x": np.array([[0.0, 0.0], [1.0, 1.0]])}
    )
    expected = ["x[1]: 1 of 1 values lie outside the simulated range [0, 1] (smallest -3)"]
    assert adapter.outside({"x": np.array([[0.5, -3.0]])}) == expected


@pytest.mark.parametrize(
    ("kind", "variables", "message"),
    [
        ("vector", {"y": np.zeros(3)}, "no variable x.*There are: y"),
        ("vector", {"x": np.zeros((3, 2, 2))}, r"x  has the shape \(3, 2, 2\).*\(N, C\)"),
        (
            "vector",
            {"x": Ragged.of([np.zeros(2), np.zeros(1)])},
            "x  has a length of its own.*as: set",
        ),
        ("set", {"x": np.zeros(3)}, r"x  has the shape \(3,\).*\(N, M, C\)"),
        ("set", {"x": Ragged.of([np.zeros((2, 2, 2))])}, r"members of shape \(2, 2\)"),
        ("vector", {"x": np.array(["left", "right"])}, "instead of numbers"),
        (
            "vector",
            {"x": np.array([1.0, np.nan])},
            "x, data set 1  1 of 2 values are not finite, the first one nan",
        ),
        (
            "set",
            {"x": Ragged.of([np.zeros(2), np.array([0.0, np.inf])])},
            "x, data set 1, position 1  .* inf",
        ),
        ("series", {"x": np.full((1, 2, 2), np.nan)}, "x, data set 0, position 0, channel 0"),
        ("vector", {"x": np.array([1e300])}, "x  1e.300 is too large for float32"),
        ("vector", {"x": np.array([1.0, np.nan])}, "missing, add the transform nan_to_mask"),
        (
            "grid",
            {"x": np.zeros((3, 2))},
            r"x  has the shape \(3, 2\).*\(N, A, B\) or \(N, A, B, C\).*axes: 1",
        ),
        ("grid", {"x": Ragged.of([np.zeros(2), np.zeros(1)])}, "x  has a length of its own"),
        (
            "grid",
            {"x": np.full((2, 2, 3), [0, 0, np.inf])},
            r"x, data set 0, cell \(0, 2\)  4 of 12 values are not finite",
        ),
    ],
)
def test_messages(kind, variables, message):
    with pytest.raises(DataError, match=message):
        InputAdapter.fit(InputPlan(kind, ("x",)), variables).apply(variables)


def test_a_refused_value_names_its_variable():
    with pytest.raises(DataError, match="rt  cannot take the log of 0"):
        InputAdapter.fit(InputPlan("vector", ("rt",), {"rt": chain("log")}), {"rt": np.zeros(2)})


def test_sources_of_one_input_must_have_the_same_lengths():
    variables = {**trials(), "choice": trials([3, 1, 4, 2])["choice"]}
    with pytest.raises(DataError, match="rt has 5 members and choice has 4 in data set 2"):
        InputAdapter.fit(JOINED, variables)
    with pytest.raises(DataError, match="a has 2 data sets and b has 3"):
        InputAdapter.fit(InputPlan("vector", ("a", "b")), {"a": np.zeros(2), "b": np.zeros(3)})


def test_other_channels_than_in_training():
    adapter = InputAdapter.fit(InputPlan("vector", ("x",)), {"x": np.zeros((3, 2))})
    with pytest.raises(DataError, match="x  has 3 channels, but the training data had 2"):
        adapter.apply({"x": np.zeros((3, 3))})


# grids


@pytest.mark.parametrize(
    ("axes", "shape", "grid", "channels"), [(2, (6, 4, 5), (4, 5), 1), (2, (6, 4, 5, 3), (4, 5), 3)]
)
def test_a_grid_keeps_its_axes(axes, shape, grid, channels):
    x = RNG.normal(5, 3, shape)
    adapter = InputAdapter.fit(
        InputPlan("grid", ("x",), tail=chain("standardize"), axes=axes), {"x": x}
    )
    values, mask = adapter.apply({"x": x[:2]})
    assert mask is None and values.shape == (2, *grid, channels) and values.dtype == np.float32
    axis = tuple(range(1 + axes))
    expected = (x - x.mean(axis)) / x.std(axis)  # over all cells, by channel
    np.testing.assert_allclose(values, expected[:2].reshape(values.shape), atol=1e-6)
    assert adapter.shape.grid == grid and adapter.shape.length is None and not adapter.shape.varies
    again = InputAdapter.restore(adapter.plan, json.loads(json.dumps(adapter.state())))
    assert again.shape == adapter.shape and np.array_equal(again.apply({"x": x[:2]})[0], values)


def test_axes_tell_cells_from_channels():
    x = RNG.normal(size=(6, 4, 5))
    line = InputAdapter.fit(InputPlan("grid", ("x",), axes=1), {"x": x})
    assert line.shape.grid == (4,) and line.shape.channels == 5
    assert InputAdapter.fit(InputPlan("grid", ("x",), axes=1), {"x": x[..., 0]}).apply(
        {"x": x[..., 0]}
    )[0].shape == (6, 4, 1)
    with pytest.raises(DataError, match="x  has 3 cells, but all training data had 4"):
        line.apply({"x": x[:, :3]})
    with pytest.raises(DataError, match="a has 4 x 5 cells and b has 5 x 4"):
        InputAdapter.fit(InputPlan("grid", ("a", "b")), {"a": x, "b": x.swapaxes(1, 2)})


# transforms along a series


def test_series_do_not_run_into_each_other():
    x = Ragged.of([np.array([1.0, 4.0]), np.array([10.0]), np.array([5.0, 5.0, 8.0])])
    plan = InputPlan("series", ("x",), {"x": chain("difference", "time_features")})
    values, mask = InputAdapter.fit(plan, {"x": x}).apply({"x": x})
    assert values[mask].tolist() == [[1, 0], [3, 0.5], [10, 0], [5, 0], [0, 0.5], [3, 1]]


def test_statistics_of_a_series_are_shared_over_time():
    x = np.arange(10.0) + RNG.normal(size=(200, 10))
    values, _ = InputAdapter.fit(
        InputPlan("series", ("x",), tail=chain("standardize")), {"x": x}
    ).apply({"x": x})
    np.testing.assert_allclose(values[..., 0], (x - x.mean()) / x.std(), atol=1e-5)
    assert (np.diff(values.mean((0, 2))) > 0.2).all()  # the trend is still there


@pytest.mark.parametrize("kind", ["vector", "set", "grid"])
def test_no_steps_no_transform_along_them(kind):
    with pytest.raises(
        ConfigError, match=r"difference goes along the steps of a series.*'as: series'"
    ):
        InputPlan(kind, ("x",), {"x": chain("difference")})
    with pytest.raises(ConfigError, match="time_features"):
        InputPlan(kind, ("x",), tail=chain("time_features"))
    with pytest.raises(ConfigError, match="difference"):
        InputPlan("series", ("x",), {"n": chain("difference")}, broadcast=("n",))


# missing values


GAPS = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, np.nan]])


def test_missing_values_become_a_mask_after_transforms_that_never_saw_them():
    plan = InputPlan("series", ("x",), {"x": chain("log", "standardize", "nan_to_mask")})
    values, mask = InputAdapter.fit(plan, {"x": GAPS}).apply({"x": GAPS})
    known = np.log([1, 3, 4, 5])
    expected = np.array([[known[0], 0, known[1]], [known[2], known[3], 0]])
    observed = np.isfinite(GAPS)
    expected = np.where(observed, (expected - known.mean()) / known.std(), 0)
    np.testing.assert_allclose(values, np.stack([expected, observed], axis=-1), atol=1e-6)
    assert mask is None


@pytest.mark.parametrize(
    "plan",
    [
        InputPlan("series", ("x",), {"x": chain("nan_to_mask")}),
        InputPlan("series", ("x",), tail=chain("nan_to_mask")),
    ],
)
def test_the_mask_may_be_made_of_one_variable_or_of_all(plan):
    values, _ = InputAdapter.fit(plan, {"x": GAPS}).apply({"x": GAPS})
    assert values[..., 1].tolist() == np.isfinite(GAPS).tolist() and np.isfinite(values).all()


def test_infinity_is_never_a_missing_value():
    plan = InputPlan("series", ("x",), tail=chain("nan_to_mask"))
    with pytest.raises(
        DataError,
        match="x, data set 0, position 2  1 of 3 values are not finite, the first one inf  Leave",
    ):
        InputAdapter.fit(plan, {"x": np.array([[1.0, np.nan, np.inf]])})


@pytest.mark.parametrize("kind", ["standardize", "asinh", "rank"])
def test_a_channel_that_training_never_observed_is_told_later(kind):
    adapter = InputAdapter.fit(
        InputPlan("vector", ("x",), tail=chain(kind, "nan_to_mask")),
        {"x": np.array([[1.0, np.nan], [2.0, np.nan]])},
    )
    assert np.isfinite(adapter.apply({"x": np.array([[1.0, 5.0]])})[0]).all() and json.dumps(
        adapter.state(), allow_nan=False
    )
    assert adapter.outside({"x": np.array([[1.0, 5.0]])}) == [
        "x[1]: 1 of 1 values lie outside the simulated range [0, 0] (largest 5)"
    ]


def test_no_data_sets_have_nothing_to_learn_from():
    with pytest.raises(DataError, match="x  has no values to learn from"):
        InputAdapter.fit(
            InputPlan("vector", ("x",), tail=chain("standardize")), {"x": np.zeros((0, 2))}
        )


def test_outside_knows_gaps():
    plan = InputPlan("vector", ("x",), tail=chain("nan_to_mask"))
    whole, gappy = (
        InputAdapter.fit(plan, {"x": x})
        for x in (np.array([0.0, 2.0]), np.array([0.0, np.nan, 2.0]))
    )
    x = {"x": np.array([1.0, np.nan, 3.0])}
    ood_warnings = "x: 1 of 2 values lie outside the simulated range [0, 2] (largest 3)"
    assert gappy.outside(x) == [ood_warnings]
    assert whole.outside(x) == [
        "x: 1 of 3 values are missing, which never happened in the simulations",
        ood_warnings,
    ]
    assert gappy.outside({"x": np.array([np.nan])}) == []


def test_what_a_transform_makes_of_finite_values_must_be_finite(tmp_path):
    part = tmp_path / "inverse.py"
    part.write_text(
        "import numpy as np\nfrom sbiwb.contracts import TransformPart\n"
        "class Inverse:\n    def forward(self, values):\n        with "
        "np.errstate(divide='ignore'):\n            return 1 / values\n"
        "class Config(TransformPart):\n    def build(self, measured):\n        return Inverse()\n"
    )
    adapter = InputAdapter.fit(
        InputPlan("vector", ("x",), tail=chain(str(part))), {"x": np.array([1.0, 2.0])}
    )
    with pytest.raises(
        DataError, match="x  1 of 2 values are not finite after the transforms, the first one inf"
    ):
        adapter.apply({"x": np.array([1.0, 0.0])})


# broadcast


def test_a_vector_is_repeated_to_the_members_of_its_data_set():
    variables = {
        **trials(),
        "n": np.array([10.0, 20.0, 30.0, 40.0]),
        "v": np.arange(8.0).reshape(4, 2),
    }
    plan = InputPlan(
        "set", ("rt", "choice"), {**CHAINS, "n": chain("standardize")}, broadcast=("n", "v")
    )
    adapter = InputAdapter.fit(plan, variables)
    values, mask = adapter.apply(variables)
    n = (variables["n"] - 25) / variables[
        "n"
    ].std()  # each data set counts once, however many members it has
    rows = np.repeat(np.arange(4), LENGTHS)
    np.testing.assert_allclose(
        values[mask][:, 3:], np.column_stack([n[rows], variables["v"][rows]]), atol=1e-6
    )
    assert (values[~mask] == 0).all()
    alone, _ = InputAdapter.fit(InputPlan("set", ("rt", "choice"), CHAINS), variables).apply(
        variables
    )
    np.testing.assert_array_equal(values[..., :3], alone)
    assert adapter.outside({**variables, "n": np.array([10.0, 20.0, 30.0, 50.0])}) == [
        "n: 1 of 4 values lie outside the simulated range [10, 40] (largest 50)"
    ]
    again = InputAdapter.restore(plan, json.loads(json.dumps(adapter.state())))
    np.testing.assert_array_equal(again.apply(variables)[0], values)


def test_a_vector_is_repeated_to_steps_and_to_cells():
    for kind, shape in (("series", (3, 5)), ("grid", (3, 2, 4))):
        x, n = RNG.normal(size=shape), np.array([1.0, 2.0, 3.0])
        values, _ = InputAdapter.fit(
            InputPlan(kind, ("x",), broadcast=("n",)), {"x": x, "n": n}
        ).apply({"x": x, "n": n})
        np.testing.assert_allclose(values[..., 0], x, atol=1e-6)
        np.testing.assert_array_equal(
            values[..., 1], np.broadcast_to(n.reshape(3, *[1] * (len(shape) - 1)), shape)
        )


def test_what_cannot_be_broadcast():
    with pytest.raises(ConfigError, match="a vector has none: join them with 'from'"):
        InputPlan("vector", ("x",), broadcast=("n",))
    with pytest.raises(DataError, match="x has 3 data sets and n has 2"):
        InputAdapter.fit(
            InputPlan("set", ("x",), broadcast=("n",)), {"x": np.zeros((3, 2)), "n": np.zeros(2)}
        )
    with pytest.raises(DataError, match="no variable n"):
        InputAdapter.fit(InputPlan("set", ("x",), broadcast=("n",)), {"x": np.zeros((3, 2))})
