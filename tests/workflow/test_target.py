"""The exact posterior as reference methods see it: the right density in z, the right gradient, the
right integral, clear refusals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import multivariate_normal, norm

from sbiwb.contracts import Target
from sbiwb.errors import ConfigError, SimulatorError
from sbiwb.pareto import importance_weights
from sbiwb.project.opening import open_project
from sbiwb.project.project import Project
from sbiwb.project.target import density_target, log_likelihood, target_of
from tests.priors.test_prior_contract import CONTINUOUS, COVARIANCE, MULTIVARIATE

GAUSSIAN = '''"""A bell over every column of t."""


def simulate(t, width, *, rng):
    return {"y": t}


def log_likelihood(x, *, t, width):
    square = -0.5 * ((x["y"] - t) / width) ** 2
    return square.sum(-1) if t.ndim == 2 else square
'''
GRID = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])


def write(folder: Path, text: str, parameters: dict, **problem) -> Project:
    (folder / "file.py").write_text(text)
    config = {
        "name": "one",
        "problem": {"simulator": "file.py", "parameters": parameters, **problem},
    }
    (folder / "one.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return open_project(folder / "one.yaml", runs=folder / "runs")


def bare_target(project: Project) -> Target:
    return density_target(project.densities, project.config.problem.parameters)


def cases(*tables):
    return [
        pytest.param({"kind": kind, **options}, known, id=f"{kind}-{i}")
        for table in tables
        for kind, examples in table.items()
        for i, (options, known) in enumerate(examples)
    ]


def bell(folder: Path, options: dict, known) -> tuple[Project, np.ndarray, float]:
    """A project, data at the prior's 30 % quantile and a width of about its standard deviation."""
    y, width = float(known.ppf(0.3)), float(known.ppf(0.9) - known.ppf(0.1)) / 2
    project = write(folder, GAUSSIAN, {"t": options}, constants={"width": width})
    return project, np.full((1, *project.prior.distributions["t"].event), y), width


def integral(target) -> float:
    """Of exp(log_density) over one column z."""
    return float(target.log_density(GRID[:, None]).exp().sum()) * STEP


@pytest.mark.parametrize(("options", "known"), cases(CONTINUOUS))
def test_its_gradient_is_that_of_the_density(tmp_path, options, known):
    project, y, _ = bell(tmp_path, options, known)
    target = target_of(project.densities, {"y": y}, {}, 0, None)
    z = torch.tensor([[-1.3], [0.2], [1.7]], dtype=torch.float64).repeat(
        1, project.prior.size
    ) + 0.1 * torch.arange(project.prior.size)
    assert torch.autograd.gradcheck(
        target.log_density, z.requires_grad_(), eps=1e-5, atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize(("options", "known"), cases(CONTINUOUS))
def test_it_is_likelihood_times_prior_times_the_slope_of_the_map(tmp_path, options, known):
    project, y, width = bell(tmp_path, {**options, "shape": None}, known)
    target, z = (
        target_of(project.densities, {"y": y.ravel()[:1]}, {}, 0, None),
        np.linspace(-2.5, 2.5, 11)[:, None],
    )
    theta, h = target.theta(z)[:, 0], 1e-4
    slope = (target.theta(z + h) - target.theta(z - h))[:, 0] / (2 * h)
    expected = -0.5 * ((y.ravel()[0] - theta) / width) ** 2 + known.logpdf(theta) + np.log(slope)
    np.testing.assert_allclose(target.log_density(torch.from_numpy(z)).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(target.z(target.theta(z)), z, atol=1e-6)


@pytest.mark.parametrize(("options", "known"), cases(CONTINUOUS))
def test_its_integral_is_the_evidence(tmp_path, options, known):
    project, y, width = bell(tmp_path, {**options, "shape": None}, known)
    target = target_of(project.densities, {"y": y.ravel()[:1]}, {}, 0, None)
    theta = known.ppf((np.arange(200_000) + 0.5) / 200_000)
    assert target.evidence
    assert integral(target) == pytest.approx(
        np.exp(-0.5 * ((y.ravel()[0] - theta) / width) ** 2).mean(), rel=1e-3
    )


def test_beyond_the_end_of_the_map_a_normal_prior_still_has_its_gradient(tmp_path):
    project = write(
        tmp_path, GAUSSIAN, {"t": {"kind": "normal", "scale": 0.01}}, constants={"width": 0.1}
    )
    z = torch.tensor([[30.0]], dtype=torch.float64, requires_grad=True)
    target_of(project.densities, {"y": np.array([1.0])}, {}, 0, None).log_density(
        z
    ).sum().backward()
    assert float(z.grad) == pytest.approx(
        -30 + 0.7 / 0.01 * 0.01
    )  # of -z² / 2 - (1 - 0.01 z)² / 0.02


@pytest.mark.parametrize(("options", "known"), cases(MULTIVARIATE))
def test_of_a_multivariate_normal_prior_density_and_evidence_are_closed_forms(
    tmp_path, options, known
):
    mean, covariance = np.atleast_1d(known.mean), np.atleast_2d(known.cov)
    width = float(np.sqrt(np.diag(covariance).min()))
    project = write(tmp_path, GAUSSIAN, {"t": options}, constants={"width": width})
    y = mean + 0.3 * width
    target = target_of(project.densities, {"y": y[None]}, {}, 0, None)
    posterior_precision = np.linalg.inv(covariance) + np.eye(len(mean)) / width**2
    centre = np.linalg.solve(posterior_precision, np.linalg.solve(covariance, mean) + y / width**2)
    constant = 0.5 * len(mean) * math.log(2 * math.pi * width**2)
    log_evidence = (
        multivariate_normal(mean, covariance + width**2 * np.eye(len(mean))).logpdf(y) + constant
    )
    z = np.random.default_rng(0).standard_normal((7, len(mean)))
    theta = target.theta(z)
    exact = (
        np.atleast_1d(multivariate_normal(centre, np.linalg.inv(posterior_precision)).logpdf(theta))
        + log_evidence
    )
    slope = norm.logpdf(z).sum(1) - np.atleast_1d(known.logpdf(theta))  # log |dtheta/dz|
    np.testing.assert_allclose(
        target.log_density(torch.from_numpy(z)).numpy(), exact + slope, atol=1e-8
    )
    assert torch.autograd.gradcheck(
        target.log_density, torch.from_numpy(z).requires_grad_(), atol=1e-4
    )


MIXED = '''"""Scalars and vectors beside each other."""


def simulate(a, b, c, *, rng):
    return {"y": a}


def log_likelihood(x, *, a, b, c, spread, offset=0.0):
    assert a.ndim == 1 and b.shape[1] == 3 and c.shape[1] == 2
    return -0.5 * ((x["y"] - a - offset) ** 2 + ((b - x["w"]) ** 2).sum(-1) + (a * c[:, 1] - c[:, 0]) ** 2) / spread
'''
PARTS = {
    "a": {"kind": "gamma", "concentration": 3},
    "b": {"kind": "uniform", "low": -1, "high": 2, "shape": [3]},
    "c": {"kind": "multivariate_normal", "loc": [0.0, 1.0], "covariance": COVARIANCE},
}


def test_scalars_vectors_context_and_constants_reach_the_likelihood_by_name(tmp_path):
    context = {"spread": {"kind": "uniform", "low": 0.5, "high": 2}}
    project = write(tmp_path, MIXED, PARTS, context=context, constants={"offset": 0.25})
    x, known = (
        {"y": np.array([0.0, 1.5]), "w": np.array([[9.0] * 3, [0.1, 0.2, 0.3]])},
        {"spread": np.array([9.0, 0.7])},
    )
    target, z = (
        target_of(project.densities, x, known, 1, None),
        np.random.default_rng(1).standard_normal((5, 6)),
    )
    assert target.columns == ("a", "b[0]", "b[1]", "b[2]", "c[0]", "c[1]")
    theta = project.prior.unstack(target.theta(z))
    a, b, c = theta["a"], theta["b"], theta["c"]
    likelihood = (
        -0.5
        * ((1.25 - a) ** 2 + ((b - [0.1, 0.2, 0.3]) ** 2).sum(-1) + (a * c[:, 1] - c[:, 0]) ** 2)
        / 0.7
    )
    np.testing.assert_allclose(
        target.log_density(torch.from_numpy(z)).numpy(), likelihood + norm.logpdf(z).sum(1)
    )
    np.testing.assert_allclose(
        log_likelihood(project.densities, x, known, 1, target.theta(z)), likelihood
    )
    assert torch.autograd.gradcheck(
        target.log_density, torch.from_numpy(z).requires_grad_(), atol=1e-4
    )


def test_draws_of_the_prior_are_standard_normal(tmp_path):
    project = write(tmp_path, MIXED, PARTS, context={"spread": {"kind": "uniform"}}, constants={})
    target = target_of(
        project.densities,
        {"y": np.zeros(1), "w": np.zeros((1, 3))},
        {"spread": np.ones(1)},
        0,
        None,
    )
    z = target.prior(20_000, np.random.default_rng(2))
    np.testing.assert_allclose(z.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(z.T), np.eye(6), atol=0.04)


class Stray:
    """A posterior N(0.2, 0.3²) of a parameter that lives on [0, 1]: a quarter of its draws lies
    outside."""

    def sample(self, x, n, rng):
        return 0.2 + 0.3 * rng.standard_normal((1, n, 1))

    def log_prob(self, theta, x):
        return norm.logpdf(theta[..., 0], 0.2, 0.3)


def test_the_amortized_density_is_that_of_z_and_draws_outside_the_support_weigh_nothing(tmp_path):
    project = write(tmp_path, GAUSSIAN, {"t": {"kind": "uniform"}}, constants={"width": 0.2})
    target = target_of(project.densities, {"y": np.array([0.5])}, {}, 0, Stray())
    q = target.amortized
    inside = norm.cdf(1, 0.2, 0.3) - norm.cdf(0, 0.2, 0.3)
    assert np.exp(q.log_prob(GRID.numpy()[:, None])).sum() * STEP == pytest.approx(inside, rel=1e-4)
    z = q.sample(40_000, np.random.default_rng(3))
    assert np.isnan(z).mean() == pytest.approx(1 - inside, abs=0.01)
    weights = importance_weights(target.log_density(torch.from_numpy(z)).numpy(), q.log_prob(z))
    evidence = 0.2 * math.sqrt(2 * math.pi) * (norm.cdf(2.5) - norm.cdf(-2.5))
    assert weights.log_integral == pytest.approx(math.log(evidence), abs=0.03)


# files that have a log_density alone

DENSITIES = [
    pytest.param({"kind": "unknown"}, "-0.5 * t**2", math.sqrt(2 * math.pi), id="no bound"),
    pytest.param({"kind": "unknown", "low": 2.0}, "-(t - 2)", 1.0, id="below"),
    pytest.param({"kind": "unknown", "high": -1.0}, "3 * (t + 1)", 1 / 3, id="above"),
    pytest.param(
        {"kind": "unknown", "low": -1.0, "high": 2.0}, "2 * (t + 1).log()", 9.0, id="both"
    ),
    pytest.param({"kind": "uniform", "low": 1.0, "high": 4.0}, "0 * t", 3.0, id="uniform"),
]


@pytest.mark.parametrize(("options", "density", "total"), DENSITIES)
def test_of_a_density_alone_the_integral_over_z_is_that_over_theta(
    tmp_path, options, density, total
):
    target = bare_target(
        write(tmp_path, f"def log_density(t):\n    return {density}\n", {"t": options})
    )
    z = 6 * GRID  # tails of a logarithm and of a logit are long
    assert float(target.log_density(z[:, None]).exp().sum()) * 6 * STEP == pytest.approx(
        total, rel=1e-4
    )
    assert not target.evidence
    some = np.linspace(-3, 3, 7)[:, None]
    np.testing.assert_allclose(target.z(target.theta(some)), some, atol=1e-9)
    assert torch.autograd.gradcheck(
        target.log_density, torch.from_numpy(some).requires_grad_(), atol=1e-5
    )


def test_a_density_of_several_parameters_sees_them_by_name(tmp_path):
    text = "def log_density(t, s, power):\n    return power * s.log() - (t**2).sum(-1) / 2\n"
    parameters = {
        "t": {"kind": "unknown", "shape": [2]},
        "s": {"kind": "uniform", "low": 0.0, "high": 1.0},
    }
    target = bare_target(write(tmp_path, text, parameters, constants={"power": 2.0}))
    z = torch.tensor([[0.3, -0.4, 0.7]], dtype=torch.float64)
    s = 1 / (1 + math.exp(-0.7))
    assert float(target.log_density(z)) == pytest.approx(
        2 * math.log(s) - 0.125 + math.log(s * (1 - s))
    )
    assert target.theta(z.numpy())[0] == pytest.approx([0.3, -0.4, s])


def test_a_density_with_a_prior_is_refused(tmp_path):
    project = write(tmp_path, "def log_density(t):\n    return -t**2\n", {"t": {"kind": "normal"}})
    with pytest.raises(
        ConfigError, match=r"problem.parameters  t: log_density is the whole density"
    ):
        bare_target(project)


# refusals


def one(folder: Path, text: str, parameters: dict | None = None, **more):
    project = write(
        folder,
        "def simulate(t, *, rng):\n    return {'y': t}\n\n\n" + text,
        parameters or {"t": {"kind": "normal"}},
    )
    return target_of(project.densities, {"y": np.zeros(1)}, {}, 0, None)


def test_a_file_without_a_likelihood_is_told_what_to_write(tmp_path):
    with pytest.raises(
        ConfigError, match=r"file\.py.*neither log_likelihood\(x, \*\*theta\) nor posterior"
    ):
        one(tmp_path, "")
    project = open_project(tmp_path / "one.yaml", runs=tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"no log_likelihood.*no draw can be weighed"):
        log_likelihood(project.densities, {"y": np.zeros(1)}, {}, 0, np.zeros((2, 1)))
    with pytest.raises(ConfigError, match=r"problem.observations.*--observation FILE"):
        bare_target(project)


def test_a_posterior_alone_has_no_density(tmp_path):
    target = one(
        tmp_path, "def posterior(x, n, rng):\n    return x['y'] + rng.standard_normal(n)\n"
    )
    assert target.exact(5, np.random.default_rng(0)).shape == (5, 1)
    with pytest.raises(ConfigError, match=r"--method analytic"):
        target.log_density(torch.zeros(1, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("(x['y'] - t)[:, None]", r"returned \(3, 1\) instead of a tensor \(3,\)"),
        ("(x['y'] - t).sum()", r"returned \(\) instead"),
        ("[0.0, 0.0, 0.0]", "returned list instead"),
        ("1 / 0", r"file\.py:6  log_likelihood\(\) failed: ZeroDivisionError"),
        ("t @ x['y']", r"file\.py:6  log_likelihood\(\) failed: RuntimeError"),
    ],
)
def test_a_wrong_likelihood_is_told_with_its_place(tmp_path, body, told):
    target = one(tmp_path, f"def log_likelihood(x, *, t):\n    return {body}\n")
    with pytest.raises(SimulatorError, match=told):
        target.log_density(torch.zeros(3, 1, dtype=torch.float64))


def test_what_is_not_a_number_is_impossible(tmp_path):
    target = one(tmp_path, "def log_likelihood(x, *, t):\n    return t.log()\n")
    assert target.log_density(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))[0] == -math.inf


def test_a_joint_prior_has_no_density(tmp_path):
    text = "def log_likelihood(x, *, t):\n    return -t\n\n\ndef prior(n, rng):\n    return {'t': rng.random(n)}\n"
    with pytest.raises(ConfigError, match="the prior density of 't' is not known"):
        one(tmp_path, text, {"t": {"kind": "joint"}})
