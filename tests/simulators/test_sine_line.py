"""The notebook's linear regression: its numbers to all digits, and every road to the same
posterior."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from scipy.stats import norm

from sbiwb.project.observation_choice import named_observations
from sbiwb.project.target import target_of
from sbiwb.references import family
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.sample import sample
from tests.c2st import c2st
from tests.simulators.loaded import ROOT, alone, project, simulator, trained
from tests.tiny import Recorder

line = simulator("sine_line")
MEAN, SD = (
    [-0.07553835, 0.33272507],
    [0.0225762, 0.01242588],
)  # of intercept and slope, as the notebook prints them
ROADS = {
    "vi": {"kind": "vi", "family": "full_rank", "steps": 1_000, "samples": 16},
    "nuts": {"kind": "nuts", "start": "map", "chains": 2, "warmup": 100},
    "hmc": {"kind": "hmc", "start": "map", "chains": 2, "warmup": 100},
    "metropolis": {"kind": "metropolis", "start": "map"},
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    opened = project("sine_line", tmp_path_factory.mktemp("runs"))
    return target_of(opened.densities, {"y": line.sine()[None]}, {}, 0, None)


def test_the_closed_form_has_the_notebooks_numbers():
    found = np.concatenate([line.mean({"y": line.sine()}), np.sqrt(np.diag(line.COVARIANCE))])
    assert found == pytest.approx([*MEAN, *SD], abs=5e-9)


@pytest.mark.parametrize("name", ["sine_line", "sine_network"])
def test_the_files_are_the_notebooks_data(name):
    with open(ROOT / f"configs/{name}.csv") as file:
        assert [float(row["y"]) for row in csv.DictReader(file)] == line.sine().tolist()
    assert (simulator("sine_network").sine(20, 0.1) == line.sine()).all()


def test_simulations_and_likelihood_are_of_one_law():
    rng, n = np.random.default_rng(0), 20_000
    y = line.simulate(np.full(n, 0.5), np.full(n, -1.0), rng=rng)["y"]
    assert y.mean(0) == pytest.approx(0.5 - line.PLACES, abs=0.004) and y.std(0) == pytest.approx(
        0.1, rel=0.03
    )
    one, weights = (
        torch.from_numpy(y[0]),
        torch.tensor([[0.5, -1.0], [0.4, -1.1]], dtype=torch.float64),
    )
    found = line.log_likelihood({"y": one}, intercept=weights[:, 0], slope=weights[:, 1])
    by_hand = [norm.logpdf(y[0], a + b * line.PLACES, 0.1).sum() for a, b in weights.tolist()]
    assert found.tolist() == pytest.approx(by_hand, rel=1e-12)


def test_the_likelihood_has_its_mode_and_curvature_where_the_closed_form_says(asked):
    """A normal density of z = theta: its Newton step from anywhere ends at the mean."""
    z = torch.tensor([0.3, -0.2], dtype=torch.float64)
    density = lambda point: asked.log_density(point[None])[0]  # noqa: E731
    gradient = torch.autograd.functional.jacobian(density, z).numpy()
    assert z.numpy() + line.COVARIANCE @ gradient == pytest.approx(
        line.mean({"y": line.sine()}), abs=1e-10
    )


SLOW_ROADS = ("hmc", "nuts")  # tests/references/test_against_exact.py has both


def road(method: str):
    marks = [pytest.mark.slow] if method in SLOW_ROADS else []
    return pytest.param(method, marks=marks, id=method)


@pytest.mark.parametrize("method", map(road, ROADS))
def test_every_road_leads_to_the_closed_form(method, asked):
    theta = (
        family.parse(ROADS[method]).run(asked, 1_500, np.random.default_rng(0), Recorder()).theta
    )
    assert (theta.mean(0) - MEAN) / SD == pytest.approx([0, 0], abs=0.1)
    assert theta.std(0) / SD == pytest.approx([1, 1], abs=0.08)


@pytest.mark.slow
def test_the_amortized_posterior(tmp_path, recorder):
    """On lines it is the closed form; the sine is no line, and `sample` says so."""
    posterior, rng, scores = trained("sine_line", tmp_path, recorder), np.random.default_rng(7), []
    for _ in range(5):
        weights = rng.standard_normal((2, 1))
        x = {"y": line.simulate(*weights, rng=rng)["y"][0]}
        theta = posterior.sample(alone(**x), 10_000, rng)[0]
        assert (theta.mean(0) - line.mean(x)) / SD == pytest.approx([0, 0], abs=0.5)
        assert theta.std(0) / SD == pytest.approx([1, 1], abs=0.25)
        scores.append(c2st(line.posterior(x, 10_000, rng), theta))
    opened = project("sine_line", tmp_path)
    diagnose(opened, recorder)
    (found,) = sample(opened, named_observations(opened, "sine"), recorder, draws=10_000, seed=0)
    on_sine = {
        row.name: ((row.mean - mean) / sd, row.sd / sd)
        for row, mean, sd in zip(found.rows, MEAN, SD, strict=True)
    }
    print(
        "sine_line: C2ST",
        np.round(scores, 3),
        "mean",
        np.mean(scores).round(3),
        "; on the sine (mean off in sd, sd ratio)",
        on_sine,
    )
    assert np.mean(scores) < 0.6
    assert found.warnings
