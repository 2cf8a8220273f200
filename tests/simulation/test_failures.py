"""Failed simulations: replaced by a new pair, kept in the ledger, and too many of them stop the
run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sbiwb.errors import FailureRateError, Stopped
from sbiwb.records import Pairs
from sbiwb.simulation.blocks import (
    FailureCounter,
    simulate_at,
    simulate_block,
)
from sbiwb.simulation.layout import layout_of
from sbiwb.simulation.preflight import preflight
from tests.simulation.helpers import problem

HEAD = "import numpy as np\nimport time\n\n"


def blocks(found, count: int, rows: int = 64, max_rate: float = 1.0):
    """Many blocks, and all failures on the way."""
    tally, parts, failures = FailureCounter(max_rate), [], []
    for number in range(count):
        pairs, failed = simulate_block(found, "train", number, rows, tally)
        parts.append(pairs)
        failures += failed
    return Pairs.join(parts), failures, tally


# y = theta + noise; a row fails where y < 0: the joint distribution given that it does not
FAIL_BY_X = {
    "nan rows": "    y[y < 0] = np.nan\n    return {'y': y}\n",
    "an exception for "
    "some": "    if (y < 0).any():\n        raise ValueError('negative')\n    return {'y': y}\n",
}


@pytest.mark.parametrize("way", FAIL_BY_X)
def test_valid_pairs_follow_the_joint_distribution_given_validity(tmp_path, way):
    found = problem(
        tmp_path,
        HEAD
        + "def simulate(mu, *, rng):\n    y = mu + rng.normal(size=len(mu))\n"
        + FAIL_BY_X[way],
    )
    pairs, failures, tally = blocks(found, 30)
    mu, y = pairs.theta["mu"], np.asarray(getattr(pairs.x["y"], "values", pairs.x["y"]))
    assert (y >= 0).all() and tally.failed == len(failures)
    truth = np.random.default_rng(0).normal(size=(400_000, 2)) @ [[1, 1], [0, 1]]
    truth = truth[truth[:, 1] >= 0]
    for ours, exact in (
        (mu, truth[:, 0]),
        (y, truth[:, 1]),
        (mu * y, truth.prod(1)),
        (mu**2, truth[:, 0] ** 2),
    ):
        assert abs(ours.mean() - exact.mean()) < 4.5 * exact.std() / np.sqrt(len(ours))
    near = (
        np.abs(y - 1.5) < 0.3
    )  # the posterior at an x is still N(y / 2, 1 / 2): replacing x alone would shift it
    assert abs((mu[near] - y[near] / 2).mean()) < 4.5 * np.sqrt(0.5 / near.sum())
    assert abs(1 - len(mu) / tally.simulated - 0.5) < 4.5 * 0.5 / np.sqrt(tally.simulated)


def test_the_ledger_keeps_theta_context_kind_and_the_line(tmp_path):
    code = (
        HEAD
        + "def simulate(mu, n):\n    if (mu > 1).any():\n        raise ValueError('too large')\n  "
        "  return {'y': mu}\n"
    )
    found = problem(tmp_path, code, context={"n": "normal"})
    pairs, failures, _ = blocks(found, 4)
    assert failures and (pairs.theta["mu"] <= 1).all()
    for one in failures:
        assert one.theta["mu"] > 1 and np.ndim(one.context["n"]) == 0
        assert (one.kind, one.message) == ("exception", "ValueError: too large (sim.py:6)")
    assert {one.attempt for one in failures} > {0}
    assert {one.block for one in failures} == {0, 1, 2, 3}


def test_rows_of_another_shape_fail(tmp_path):
    code = HEAD + "def simulate(mu):\n    return {'y': np.zeros(3 if mu < 1 else 2)}\n"
    found = problem(tmp_path, code, batched=False)
    found = replace(found, layout=layout_of({"y": np.zeros((1, 3))}))
    pairs, failures, _ = blocks(found, 1)
    assert pairs.x["y"].shape == (64, 3) and (pairs.theta["mu"] < 1).all()
    what = "'y' has shape (2,), not (3,) as in the first simulations"
    todo = "if its length varies, choose a simulate.seed with which theirs do"
    assert {(one.kind, one.message) for one in failures} == {("shape", f"{what}; {todo}")}


def test_another_seed_is_what_a_set_needs_whose_first_lengths_were_equal(tmp_path):
    code = HEAD + "def simulate(mu):\n    return {'y': np.zeros(3 if mu < 0.3 else 2)}\n"
    seeds = range(12)
    layouts = [preflight(problem(tmp_path, code, batched=False, seed=i), 1).layout for i in seeds]
    ragged = [layout["y"].ragged for layout in layouts]
    assert not all(ragged) and any(ragged)


def test_a_fraction_after_whole_numbers_promotes_them_and_no_row_fails(tmp_path):
    code = HEAD + "def simulate(mu):\n    return {'y': 1 if mu < 1.5 else 0.5}\n"
    found = replace(
        problem(tmp_path, code, batched=False), layout=layout_of({"y": np.ones(4, int)})
    )
    pairs, failures, _ = blocks(found, 2)
    np.testing.assert_array_equal(pairs.x["y"], np.where(pairs.theta["mu"] < 1.5, 1.0, 0.5))
    assert failures == [] and pairs.x["y"].dtype == np.float64


def test_whole_floats_fit_whole_numbers(tmp_path):
    found = replace(
        problem(tmp_path, "def simulate(mu):\n    return {'y': 3.0}\n", batched=False),
        layout=layout_of({"y": np.ones(4, int)}),
    )
    pairs, failures, _ = blocks(found, 1, rows=4)
    assert not failures and pairs.x["y"].dtype == np.int64 and pairs.x["y"].tolist() == [3] * 4


def test_replaced_rows_stay_in_their_place(tmp_path):
    """A row that succeeds does not depend on what happened to its neighbours."""
    code = HEAD + "def simulate(mu):\n    return {'y': np.where(mu > LIMIT, np.nan, mu)}\n"
    all_valid, _, _ = blocks(problem(tmp_path, code.replace("LIMIT", "np.inf")), 1)
    some, failures, _ = blocks(problem(tmp_path, code.replace("LIMIT", "1")), 1)
    kept = np.setdiff1d(np.arange(64), [one.row for one in failures])
    np.testing.assert_array_equal(some.theta["mu"][kept], all_valid.theta["mu"][kept])
    assert 0 < len(kept) < 64


def test_too_many_failures_name_the_rate_and_an_example(tmp_path):
    code = HEAD + "def simulate(mu):\n    return {'y': np.where(mu > 1, np.nan, mu)}\n"
    with pytest.raises(FailureRateError) as caught:
        blocks(problem(tmp_path, code), 50, max_rate=0.05)
    assert (
        "simulations failed (" in caught.value.what
        and "more than simulate.failures.max_rate = 0.05" in caught.value.what
    )
    assert "for example: 'y' is not finite (at mu=1." in caught.value.what
    assert "raise max_rate" in caught.value.todo


def test_a_rate_just_at_the_limit_passes(tmp_path):
    tally = FailureCounter(0.1)
    rng = np.random.default_rng(0)
    for _ in range(100):
        tally.add(100, int(rng.binomial(100, 0.1)))
    assert tally.simulated == 10_000


@pytest.mark.parametrize("batched", [True, False])
def test_when_everything_fails_it_ends_quickly(tmp_path, batched):
    text = (
        "calls = []\n\ndef simulate(mu):\n    calls.append(mu)\n    raise OSError('no licence')\n"
    )
    found = problem(tmp_path, text, batched=batched)
    with pytest.raises(FailureRateError) as caught:
        preflight(found, 256)
    assert len(found.simulator.source.module.calls) < 300
    assert "(100.0%), not one came out; for example: OSError: no licence" in caught.value.what


def test_a_row_that_never_succeeds_ends(tmp_path):
    code = (
        HEAD + "calls = []\ndef simulate(mu):\n    calls.append(1)\n    y = mu.copy()\n    y[0] = "
        "np.nan\n    return {'y': y}\n"
    )
    with pytest.raises(FailureRateError, match="one row in each of its 100 attempts"):
        blocks(problem(tmp_path, code), 1, rows=300)


def test_a_call_that_takes_too_long_is_a_failed_row(tmp_path):
    code = HEAD + "def simulate(mu):\n    while mu > 1.2:\n        pass\n    return {'y': mu}\n"
    pairs, failures, _ = blocks(problem(tmp_path, code, batched=False, timeout_s=0.05), 1, rows=16)
    assert failures and (pairs.theta["mu"] <= 1.2).all()
    assert {(one.kind, one.message) for one in failures} == {("timeout", "took longer than 0.05 s")}


def test_a_signal_inside_the_simulator_is_no_failed_row(tmp_path):
    code = "from sbiwb.errors import Stopped\ndef simulate(mu):\n    raise Stopped('stopped by SIGTERM')\n"
    for batched in (True, False):
        with pytest.raises(Stopped):
            blocks(problem(tmp_path, code, batched=batched), 1)


def test_predictions_leave_failed_rows_out_and_tell_which(tmp_path):
    found = problem(
        tmp_path, HEAD + "def simulate(mu):\n    return {'y': np.where(mu > 1, np.nan, mu)}\n"
    )
    mu = np.array([0.0, 2.0, 0.5, 3.0])
    x, failed = simulate_at(found, {"mu": mu}, {}, np.random.default_rng(0))
    assert list(failed) == [1, 3] and x["y"].tolist() == [0.0, 0.5]
