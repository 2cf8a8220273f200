"""Missing values: NaN is a value where the YAML says so, infinity never is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sbiwb.errors import SimulatorError
from sbiwb.simulation.blocks import FailureCounter, simulate_block
from sbiwb.simulation.layout import from_json, layout_of, to_json
from sbiwb.simulation.preflight import preflight
from tests.simulation.helpers import problem

CODE = """import numpy as np


def simulate(mu, *, rng):
    y = mu[:, None] + rng.normal(size=(len(mu), 3))
    y[mu > 0, 1] = np.nan
    y[mu > 1, 0] = np.inf
    return {"y": y, "z": y[:, 2] + np.where(mu < -1, np.nan, 0)}
"""


@pytest.mark.parametrize("batched", [True, False])
def test_nan_is_kept_where_it_may_be(tmp_path, batched):
    code = (
        CODE
        if batched
        else CODE.replace("    y = mu", "    mu = np.array([mu])\n    y = mu")
        .replace('"y": y,', '"y": y[0],')
        .replace("np.nan, 0)}", "np.nan, 0)[0]}")
        .replace("y[:, 2]", "y[0, 2]")
    )
    found = replace(problem(tmp_path, code, batched=batched), missing=("y",))
    found = replace(found, layout=preflight(found, 16).layout)
    pairs, failures = simulate_block(found, "train", 0, 128, FailureCounter(1.0))
    mu, y = pairs.theta["mu"], pairs.x["y"]
    np.testing.assert_array_equal(np.isnan(y[:, 1]), mu > 0)
    assert not np.isnan(y[:, [0, 2]]).any() and not np.isnan(pairs.x["z"]).any()
    assert mu.min() >= -1 and mu.max() <= 1
    assert {one.message for one in failures} == {"'y' is infinite", "'z' is not finite"} and {
        one.kind for one in failures
    } == {"not finite"}


def test_whole_numbers_that_may_be_missing_are_floats():
    layout = layout_of({"y": np.arange(4), "z": np.arange(4)}, ("y",))
    assert (layout["y"].dtype, layout["z"].dtype) == ("float64", "int64")
    assert from_json(to_json(layout)) == layout


def test_without_missing_values_the_plan_is_what_it_was():
    assert to_json(layout_of({"y": np.ones((4, 2))})) == {
        "y": {"dtype": "float64", "shape": [2], "ragged": False}
    }


def test_an_observable_that_does_not_exist_is_refused(tmp_path):
    found = replace(problem(tmp_path, "def simulate(mu):\n    return {'y': mu}\n"), missing=("z",))
    with pytest.raises(SimulatorError) as caught:
        preflight(found, 16)
    assert (caught.value.what, caught.value.todo) == (
        "does not return z, which problem.missing names",
        "It returns: y.",
    )
