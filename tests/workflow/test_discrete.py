"""Discrete and circular parameters through a whole run: simulated, trained, judged, sampled and
tabulated.

k has three levels, mu ~ N(0, 1), and y_i ~ N(mu + offset_k, 1) for i = 1 to 4, so that p(k | y) is
proportional to p(k) N(mean(y); offset_k, 5/4), and mu | k, y is N(0.8 (mean(y) - offset_k), 1/5).
"""

from __future__ import annotations

import csv
import json

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy.special import softmax

from sbiwb.diagnostics import family
from sbiwb.errors import ConfigError
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.trained import load_posterior
from sbiwb.workflow.check import check
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.diagnose_evidence import evidence_of
from sbiwb.workflow.sample import sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import Recorder, Tiny

SIMULATOR = '''"""Normal data whose mean has one of three offsets."""
import numpy as np

OFFSET = np.array([-2.0, 0.0, 2.0])


def simulate(mu, k, *, rng, n):
    return {"y": (mu + OFFSET[k])[:, None] + rng.standard_normal((len(mu), n))}


def derived(mu, k):
    return {"centre": mu + OFFSET[k]}
'''
CLOCK_SIMULATOR = '''"""A hand of a clock, seen with noise."""
import numpy as np


def simulate(mu, *, rng, n):
    angle = 2 * np.pi * mu / 24
    return {"y": np.stack([np.cos(angle), np.sin(angle)] * 2, 1) + 0.3 * rng.standard_normal((len(mu), n))}
'''
NO_DENSITY = '''"""A network without a density."""
from sbiwb.contracts import InferencePart, OutputKind


class Config(InferencePart):
    @property
    def output_kind(self):
        return OutputKind.ESTIMATE

    def build(self, features, context):
        raise AssertionError("refused before")
'''
MASS, OFFSET = np.array([0.5, 0.3, 0.2]), np.array([-2.0, 0.0, 2.0])
CHECKS = ["sbc", "coverage", "tarp", "zscore_contraction"]
MIXED = {
    "problem": {"parameters": {"k": {"kind": "categorical", "probabilities": MASS.tolist()}}},
    "simulate": {"train": 4096, "validation": 256, "test": 200},
    "model": {"inference": {"kind": "nsf", "transforms": 1, "hidden": [32, 32], "bins": 4}},
    "train": {
        "steps": 800,
        "batch_size": 128,
        "learning_rate": 0.005,
        "ema": 0.98,
        "validate_every": 50,
    },
    "diagnose": {
        "draws": 99,
        "by": ["k"],
        "strata": 2,
        "checks": [*CHECKS, "recovery", "nrmse", "nlpd"],
    },
}
CLOCK = {
    "problem": {"parameters": {"mu": {"kind": "uniform", "high": 24}}},
    "simulate": {"train": 2048},
    "model": {
        "inputs": {"y": {"as": "vector", "summary": {"kind": "identity"}}},
        "theta": {"mu": "circular"},
        "inference": {"kind": "ncsf", "transforms": 1, "hidden": [16]},
    },
    "train": {"steps": 200, "learning_rate": 0.02, "ema": 0.9, "validate_every": 50},
}
COUNTED = '''"""Normal data around the sum of two whole numbers."""


def simulate(mu, *, rng, n):
    return {"y": mu.sum(1)[:, None] + rng.standard_normal((len(mu), n))}
'''
COUNTS = {
    "problem": {
        "parameters": {"mu": {"kind": "uniform_integer", "low": 1, "high": 3, "shape": [2]}}
    },
    "model": {"inference": {"kind": "nsf", "hidden": [32, 32]}},
    "train": {
        "steps": 600,
        "batch_size": 128,
        "learning_rate": 0.005,
        "ema": 0.98,
        "validate_every": 50,
    },
    "simulate": {"train": 4096, "validation": 256, "test": 200},
    "diagnose": {"draws": 99, "checks": CHECKS},
}


def run(folder, changes, simulator) -> Tiny:
    tiny = Tiny.write(folder, changes, simulator)
    check(tiny.open())
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    return tiny


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("mixed"), MIXED, SIMULATOR)


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    return run(tmp_path_factory.mktemp("counts"), COUNTS, COUNTED)


def exact(y):
    """p(k | y) of data sets (N, 4), (N, 3)."""
    return softmax(np.log(MASS) - 0.5 * (y.mean(1, keepdims=True) - OFFSET) ** 2 / 1.25, axis=1)


def test_shards_hold_levels_as_integers(mixed):
    with h5py.File(next(mixed.run.glob("data/train/*.h5"))) as file:
        assert file["theta/k"].dtype == np.int64 and file["theta/mu"].dtype == np.float64


def test_the_posterior_is_the_one_by_enumeration(mixed):
    posterior, y = (
        load_posterior(mixed.run),
        np.repeat(np.array([[-2.5], [-1.0], [0.5], [2.0]]), 4, axis=1),
    )
    draws, masses = posterior.sample({"y": y}, 10_000, 0), exact(y)
    for row, (drawn, mass) in enumerate(zip(draws, masses, strict=True)):
        for k in range(3):
            mine = drawn[drawn[:, 1] == k, 0]
            assert len(mine) / 10_000 == pytest.approx(mass[k], abs=0.06)
            if mass[k] > 0.2:
                assert mine.mean() == pytest.approx(0.8 * (y[row, 0] - OFFSET[k]), abs=0.15)
                assert mine.std() == pytest.approx(0.2**0.5, rel=0.2)


def test_the_density_is_a_mass_times_a_density(mixed):
    posterior, y = load_posterior(mixed.run), np.full((1, 4), 0.5)
    grid = np.linspace(-6, 6, 1201)
    density = [
        np.exp(
            posterior.log_prob(np.stack([grid, np.full_like(grid, k)], 1)[None], {"y": y})[0]
        ).sum()
        * 0.01
        for k in range(3)
    ]
    assert sum(density) == pytest.approx(1, abs=0.01) and density == pytest.approx(
        exact(y)[0], abs=0.06
    )
    assert np.isneginf(posterior.log_prob(np.array([[[0.0, 0.5], [0.0, 3.0]]]), {"y": y})).all()


def test_all_checks_judge_a_discrete_parameter(mixed):
    told = diagnose(mixed.open(), Recorder())
    assert {one.check for one in told.judgments if one.parameter == "k"} >= {
        "sbc",
        "coverage",
        "zscore_contraction",
        "recovery",
        "nrmse",
    }
    recovered = {one.name for one in told.judgments if one.check == "recovery"}
    assert recovered >= {"recovery_r", "recovery_accuracy", "recovery_level_error"}
    accuracy = next(one for one in told.judgments if one.name == "recovery_accuracy")
    assert accuracy.parameter == "k" and 0.7 < accuracy.value < 0.9  # of the exact posterior: 0.79
    judged = [one for one in told.judgments if one.p is not None]
    assert judged and all(one.verdict in ("pass", "warn") for one in judged), [
        (one.check, one.name, one.reason) for one in judged
    ]
    assert {one.value for one in told.judgments if one.name == "leaked_share"} == {0.0}


def test_the_summary_has_the_share_of_each_level(mixed):
    ((one),) = sample(
        mixed.open(), named_observations(mixed.open(), None), Recorder(), draws=2_000, seed=0
    )
    rows = json.loads((one.folder / "summary.json").read_text())["rows"]
    mu, k, centre = rows
    assert [mu["name"], k["name"], centre["name"]] == ["mu", "k", "centre"]
    y = np.array([[1.0, 0.5, 1.5, 1.0]])
    assert [k[f"p({value})"] for value in range(3)] == pytest.approx(exact(y)[0], abs=0.06)
    assert [mu["p(0)"], centre["p(2)"]] == [None, None]
    table = list(csv.DictReader((one.folder / "summary.csv").read_text().splitlines()))
    assert float(table[1]["p(1)"]) == pytest.approx(k["p(1)"]) and table[0]["p(1)"] == ""
    with xr.open_datatree(one.folder / "posterior.nc", engine="h5netcdf") as tree:
        assert tree["posterior"]["k"].dtype == np.int64 and tree["prior"]["k"].dtype == np.int64
        assert set(np.unique(tree["posterior"]["k"])) <= {0, 1, 2}


def test_all_parameters_may_be_discrete(counts):
    """n and m from 1 to 3, y_i ~ N(n + m, 1): given a sum, all pairs that have it are as likely."""
    pairs = np.array([(n, m) for n in (1, 2, 3) for m in (1, 2, 3)])
    draws = load_posterior(counts.run).sample({"y": np.full((1, 4), 4.0)}, 5_000, 0)[0]
    exactly, found = (
        softmax(-2 * (pairs.sum(1) - 4.0) ** 2),
        np.array([(draws == pair).all(1).mean() for pair in pairs]),
    )
    assert np.abs(found - exactly).max() < 0.1
    draws = evidence_of(counts.open(), Recorder()).draws
    values = [
        value
        for kind in CHECKS
        for value in family.module(kind).compute(draws, family.parse(kind)).values
    ]
    judged = {(value.name, value.parameter): value.p for value in values if value.p is not None}
    assert {
        ("sbc_log_gamma", "mu[0]"),
        ("sbc_log_gamma", "log q"),
        ("tarp_prior", "all parameters"),
    } <= set(judged)
    assert min(judged.values()) > 1e-3, judged


def test_an_angle_goes_round(tmp_path):
    """mu is uniform on 24 hours; seen at midnight, its posterior lies on either side."""
    posterior, midnight = (
        load_posterior(run(tmp_path, CLOCK, CLOCK_SIMULATOR).run),
        {"y": np.array([[1.0, 0.0, 1.0, 0.0]])},
    )
    hours = posterior.sample(midnight, 4_000, 0)[0, :, 0]
    assert (
        (hours >= 0).all()
        and (hours <= 24).all()
        and (np.minimum(hours, 24 - hours) < 3).mean() > 0.95
    )
    assert (hours > 12).mean() == pytest.approx(0.5, abs=0.15)
    grid = np.linspace(0, 24, 2401)
    density = np.exp(posterior.log_prob(grid[None, :, None], midnight)[0])
    assert density[:-1].sum() * 0.01 == pytest.approx(1, abs=1e-3) and density[0] == pytest.approx(
        density[-1]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                "problem": {"parameters": {"mu": {"kind": "uniform"}}},
                "model": {"theta": {"mu": "circular"}},
            },
            r"model\.theta  mu: .* nsf knows no",
        ),
        (
            {
                "problem": {"parameters": {"mu": {"kind": "uniform"}}},
                "model": {"theta": "circular"},
            },
            r"mu: .* no circular parameters  Use .*ncsf",
        ),
    ],
)
def test_a_circle_needs_a_network_that_knows_it(tiny, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**changes).open()


def test_what_cannot_be_inferred_is_told_before_anything_is_simulated(tiny):
    levels = {
        "problem": {"parameters": {"mu": {"kind": "uniform_integer", "low": 0, "high": 5_000}}}
    }
    with pytest.raises(ConfigError, match=r"mu  5001 levels are too many"):
        simulate(tiny(**levels).open(), Recorder())
    mapped = {
        "problem": {"parameters": {"mu": {"kind": "uniform_integer", "low": 0, "high": 5}}},
        "model": {"theta": {"mu": "log"}},
    }
    with pytest.raises(ConfigError, match=r"mu  a discrete parameter has no map 'log'"):
        simulate(tiny(**mapped).open(), Recorder())


def test_a_network_without_density_has_no_levels(tiny, tmp_path):
    (tmp_path / "point.py").write_text(NO_DENSITY)
    project = tiny(
        problem={"parameters": {"mu": {"kind": "uniform_integer", "high": 5}}},
        model={"inference": {"kind": "point.py"}},
    )
    with pytest.raises(
        ConfigError,
        match=r"problem\.parameters  mu: inference network .*point\.py gives no probabilities of levels",
    ):
        project.open()
