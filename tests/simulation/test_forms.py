"""What a simulator may return: numbers of any type, booleans, empty sets; what is refused; and what
fails with its shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sbiwb.errors import FailureRateError, SimulatorError
from sbiwb.files import read_json
from sbiwb.project.splits import load_split
from sbiwb.records import Pairs, Ragged
from sbiwb.simulation.blocks import FailureCounter, simulate_at, simulate_block
from sbiwb.simulation.layout import Observable
from sbiwb.simulation.preflight import preflight
from sbiwb.store.rows import RowBuffer
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.verify import verify
from tests.simulation.helpers import problem
from tests.tiny import Tiny

HEAD = "import numpy as np\n\n"


def planned(found):
    """The problem with the layout that its preflight finds."""
    return replace(found, layout=preflight(found, 16).layout)


def block(found, rows: int = 64):
    return simulate_block(found, "train", 0, rows, FailureCounter(1.0))


NAMES = [
    ("'a/b'", r"named 'a/b', which cannot be stored: the character '/' cannot", "'a_b'"),
    (r"'a\n'", r"named 'a\\n', which cannot be stored: the character '\\n' cannot", "'a_'"),
    ("'..'", r"named '\.\.', which cannot be stored", "for example 'name_1'"),
    ("0", "named 0, which cannot be stored", "for example '0'"),
    ("'draw'", r"named 'draw', which is the name of a dimension", "for example 'draw_1'"),
]


@pytest.mark.parametrize(("name", "what", "todo"), NAMES)
@pytest.mark.parametrize("batched", [True, False])
def test_a_name_that_cannot_be_stored_is_refused_at_the_first_call(
    tmp_path, name, what, todo, batched
):
    code = f"calls = []\ndef simulate(mu):\n    calls.append(1)\n    return {{{name}: mu}}\n"
    found = problem(tmp_path, code, batched=batched)
    with pytest.raises(SimulatorError, match=what) as caught:
        preflight(found, 16)
    assert todo in caught.value.todo and caught.value.where.endswith("sim.py:2")
    assert len(found.simulator.source.module.calls) == 1


def test_names_with_dots_brackets_and_accents_stay(tmp_path):
    code = "def simulate(mu):\n    return {'a.b': mu, 'x[0]': mu, 'ä b': mu}\n"
    assert list(block(problem(tmp_path, code))[0].x) == ["a.b", "x[0]", "ä b"]


# an integer where nothing happened, a float elsewhere; in the plan they are whole numbers
MIXED = {
    "one row": (False, "mu if mu > 1 else 0", Observable("int64", (), False)),
    "an array": (
        False,
        "np.full(2, mu) if mu > 1 else np.zeros(2, int)",
        Observable("int64", (2,), False),
    ),
    "a set": (False, "[mu] * 3 if mu > 1 else [0]", Observable("int64", (0,), True)),
    "a batch": (
        True,
        "np.array([m if m > 1 else 0 for m in mu.tolist()])",
        Observable("int64", (), False),
    ),
}


@pytest.mark.parametrize("way", MIXED)
def test_numbers_are_promoted_and_no_row_fails_for_its_type(tmp_path, way):
    batched, result, observable = MIXED[way]
    code = f"{HEAD}def simulate(mu):\n    return {{'y': {result}}}\n"
    found = replace(problem(tmp_path, code, batched=batched), layout={"y": observable})
    pairs, failures = block(found)
    mu, y = pairs.theta["mu"], pairs.x["y"]
    firsts = y.values[y.offsets[:-1]] if isinstance(y, Ragged) else y.reshape(64, -1)[:, 0]
    assert failures == [] and firsts.dtype == np.float64
    np.testing.assert_array_equal(firsts, np.where(mu > 1, mu, 0))


def test_the_preflight_finds_whole_numbers_that_may_meet_fractions(tmp_path):
    code = "def simulate(mu):\n    return {'y': 0 if mu < 1.5 else mu}\n"
    found = planned(problem(tmp_path, code, batched=False))
    assert found.layout["y"].dtype == "int64"
    pairs, failures = block(found)
    mu = pairs.theta["mu"]
    np.testing.assert_array_equal(pairs.x["y"], np.where(mu < 1.5, 0, mu))
    assert failures == []


CASTS = [
    ("int64", [1.0, 2.0], "int64", [1, 2]),
    ("int64", [1.0, 2.5], "float64", [1, 2.5]),
    ("int64", np.array([2**63], np.uint64), "float64", [2.0**63]),
    ("float64", np.array([1, 2], np.int32), "float64", [1, 2]),
    ("float32", [0.5, np.nan], "float32", [0.5, np.nan]),
    ("float32", [0.1], "float64", [0.1]),
    ("float32", [1e300], "float64", [1e300]),
    ("bool", np.array([0, 1]), "bool", [False, True]),
    ("bool", np.array([0, 2]), "int64", [0, 2]),
]


@pytest.mark.parametrize(("planned_as", "values", "dtype", "expected"), CASTS)
def test_a_value_stays_what_it_is(planned_as, values, dtype, expected):
    found = Observable(planned_as, (), False).cast(np.asarray(values))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_blocks_of_two_types_are_one_shard_of_the_wider():
    rows = RowBuffer(3)
    rows.add(Pairs({"a": np.zeros(2)}, {}, {"y": np.array([1, 2])}))
    rows.add(Pairs({"a": np.zeros(1)}, {}, {"y": np.array([0.5])}))
    assert rows.pairs().x["y"].tolist() == [1.0, 2.0, 0.5]


BOOLEANS = {
    "a batch": (True, "{'y': mu > 0}"),
    "a list": (True, "{'y': [np.array([m > 0]) for m in mu]}"),
    "one row": (False, "{'y': bool(mu > 0)}"),
    "one array": (False, "{'y': np.array([mu > 0])}"),
}


@pytest.mark.parametrize("way", BOOLEANS)
def test_booleans_are_0_and_1_in_shards_and_predictions(tmp_path, way):
    batched, result = BOOLEANS[way]
    code = f"{HEAD}def simulate(mu):\n    return {result}\n"
    found = planned(problem(tmp_path, code, batched=batched))
    pairs, _ = block(found)
    theta = {"mu": np.array([-1.0, 1.0])}
    x, _ = simulate_at(found, theta, {}, np.random.default_rng(0))
    stored, predicted = (
        np.ravel(getattr(y, "values", y)) for y in (pairs.x["y"], found.layout["y"].cast(x["y"]))
    )
    assert found.layout["y"].dtype == stored.dtype == predicted.dtype == np.int64
    assert stored.tolist() == (pairs.theta["mu"] > 0).astype(int).tolist()
    assert predicted.tolist() == [0, 1]


SETS = {
    "one row": (False, "{'y': rng.random(rng.poisson(np.exp(mu)))}"),
    "one row of pairs": (False, "{'y': [[m, m] for m in rng.random(rng.poisson(np.exp(mu)))]}"),
    "a batch": (True, "{'y': [rng.random(rng.poisson(np.exp(m))) for m in mu]}"),
    "a batch of pairs": (
        True,
        "{'y': [np.array([[m, m]] * rng.poisson(np.exp(m))) for m in mu]}",
    ),
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("way", SETS)
def test_an_empty_set_is_a_set(tmp_path, way, seed):
    batched, result = SETS[way]
    code = f"{HEAD}def simulate(mu, *, rng):\n    return {result}\n"
    found = planned(problem(tmp_path, code, batched=batched, seed=seed))
    pairs, failures = block(found, rows=40)
    y = pairs.x["y"]
    assert failures == [] and isinstance(y, Ragged) and (y.lengths == 0).sum() > 5
    assert y.values.shape[1:] == ((2,) if "pairs" in way else ())
    assert Observable.of(np.zeros((4, 0))) == Observable("float64", (0,), True)


SOMETIMES = {
    "one row": (False, "    return {'y': mu, 'extra': 1.0} if mu > 0 else {'y': mu}\n"),
    "a batch": (True, "    return {'y': mu, 'extra': mu} if mu[0] > 0 else {'y': mu}\n"),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("way", SOMETIMES)
def test_an_output_that_comes_only_sometimes_is_named(tmp_path, way, seed):
    batched, body = SOMETIMES[way]
    found = problem(tmp_path, f"def simulate(mu):\n{body}", batched=batched, seed=seed)
    with pytest.raises(SimulatorError) as caught:
        found = planned(found)
        counter = FailureCounter(0.05)
        for number in range(20):
            simulate_block(found, "train", number, 64, counter)
    if isinstance(caught.value, FailureRateError):  # the preflight met it in every row
        assert "returned y; expected y, extra" in caught.value.what
    else:
        assert "extra" in caught.value.what and "random" not in caught.value.what
        assert "problem.missing: [extra]" in caught.value.todo


@pytest.mark.parametrize("seed", range(4))
def test_a_row_that_returns_something_else_altogether_fails(tmp_path, seed):
    """As a program does that writes its error in place of its result."""
    code = "def simulate(mu):\n    return {'status': 1} if mu > 1.5 else {'y': mu}\n"
    found = planned(problem(tmp_path, code, batched=False, seed=seed))
    pairs, failures = block(found)
    assert list(pairs.x) == ["y"] and pairs.theta["mu"].max() <= 1.5
    assert {(one.kind, one.message) for one in failures} == {
        ("shape", "returned status; expected y")
    }


# what a simulator that did not converge returns in place of its five numbers
SENTINELS = {
    "a number": (False, "    return {'y': -1 if mu < -1 else np.full(5, mu)}\n", "()"),
    "two axes": (
        False,
        "    return {'y': np.zeros((2, 5)) if mu < -1 else np.full(5, mu)}\n",
        "(2, 5)",
    ),
    "a batch": (True, "    return {'y': [-1 if m < -1 else np.full(5, m) for m in mu]}\n", "()"),
}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("way", SENTINELS)
def test_another_number_of_axes_is_a_failed_simulation_whatever_the_seed(tmp_path, way, seed):
    batched, body, shape = SENTINELS[way]
    code = f"{HEAD}def simulate(mu):\n{body}"
    found = planned(problem(tmp_path, code, batched=batched, seed=seed))
    if found.layout["y"].shape not in (
        (5,),
        (0,),
    ):  # by chance the preflight saw most of the others
        with pytest.raises(FailureRateError, match=r"has shape \(5,\), not \("):
            simulate_block(found, "train", 0, 256, FailureCounter(0.05))
        return
    pairs, failures = block(found)
    assert failures and pairs.theta["mu"].min() >= -1
    assert {(one.kind, one.message.partition(", not")[0]) for one in failures} == {
        ("shape", f"'y' has shape {shape}")
    }


def test_a_timeout_in_the_preflight_is_no_false_accusation(tmp_path):
    """What took too long the first time may come out the second time: other pairs, and no generator
    to blame."""
    code = """import time
calls = []
def simulate(mu):
    calls.append(1)
    if len(calls) == 2:
        time.sleep(1)
    return {'y': mu}
"""
    found = problem(tmp_path, code, batched=False, timeout_s=0.1)
    assert preflight(found, 1).failure_rate == 0.2


RARE_FRACTION = """
def simulate(mu, *, rng, n):
    y = rng.poisson(3, (len(mu), n))
    return {"y": y + 0.5 if mu.max() > 2.5 else y}
"""


def test_shards_of_two_types_are_one_whole_run(tmp_path, recorder):
    """Some blocks have fractions, the plan says whole numbers: all are read, and made again to the
    last digit."""
    tiny = Tiny.write(tmp_path, {}, RARE_FRACTION)
    simulate(tiny.open(), recorder)
    parts = [load_split(tiny.open(), split) for split in ("train", "validation", "test")]
    mu = np.concatenate([part.theta["mu"] for part in parts]).reshape(-1, 32)
    y = np.concatenate([part.x["y"] for part in parts]).reshape(-1, 32, 4)
    has_fractions = mu.max(1) > 2.5
    assert 0 < has_fractions.sum() < len(mu)
    np.testing.assert_array_equal((y % 1)[:, 0, 0], np.where(has_fractions, 0.5, 0))
    assert read_json(tiny.run / "data/plan.json")["layout"]["y"]["dtype"] == "int64"
    assert verify(tiny.run, recorder, deep=True).is_whole
