"""The ten tasks of the standard benchmark: data, densities and exact draws against closed forms and
other solvers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from scipy.integrate import solve_ivp
from scipy.stats import binom, ks_2samp, lognorm, norm, t

from sbiwb.project.opening import open_project
from sbiwb.simulation.source import load_source
from tests.simulators.loaded import ROOT, simulator

FOLDER = ROOT / "simulators" / "sbibm"
CONFIGS = sorted((ROOT / "configs" / "sbibm").glob("*.yaml"))
glm, uniform, mixture, lotka, sir = (
    load_source(f"{name}.py", FOLDER).module
    for name in (
        "bernoulli_glm",
        "gaussian_linear_uniform",
        "gaussian_mixture",
        "lotka_volterra",
        "sir",
    )
)
slcp, moons, linear = simulator("slcp"), simulator("two_moons"), simulator("gaussian_linear")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tensors(**values) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(np.asarray(value, float)) for name, value in values.items()}


def density(module, x, **theta) -> np.ndarray:
    return module.log_likelihood(tensors(x=x), **tensors(**theta)).numpy()


def scores(module, theta: np.ndarray, simulate=None, n: int = 400) -> np.ndarray:
    """Gradients of log p(x | theta) at n data sets simulated from theta (D,), (n, D): their mean is
    zero where the density is right."""
    x = (simulate or module.simulate)(np.tile(theta, (n, 1)), rng=rng(1))["x"]
    found = []
    for one in x:
        point = torch.tensor(theta[None], requires_grad=True)
        module.log_likelihood(tensors(x=one), theta=point).sum().backward()
        found.append(point.grad[0].numpy())
    return np.array(found)


def assert_zero_mean(found: np.ndarray) -> None:
    z = found.mean(0) / (found.std(0) / np.sqrt(len(found)))
    assert np.abs(z).max() < 4, z


# the configs


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_opens_and_simulates(path, tmp_path):
    project = open_project(path, runs=tmp_path)
    theta = project.prior.sample(rng(), 64)
    x = project.simulator.source.simulate(**theta, rng=rng())["x"]
    sizes = {
        "slcp": 8,
        "slcp_distractors": 100,
        "two_moons": 2,
        "gaussian_mixture": 2,
        "bernoulli_glm_raw": 100,
        "lotka_volterra": 20,
    }
    assert x.shape == (64, sizes.get(path.stem, 10)) and np.isfinite(x).all() and x.dtype == float
    assert project.prior.size == {
        "slcp": 5,
        "slcp_distractors": 5,
        "two_moons": 2,
        "gaussian_mixture": 2,
        "sir": 2,
    }.get(path.stem, 4 if path.stem == "lotka_volterra" else 10)
    likelihood = project.source.optional("log_likelihood")(
        tensors(x=x[0]), **{name: torch.as_tensor(v) for name, v in theta.items()}
    )
    assert likelihood.shape == (64,) and not torch.isnan(likelihood).any()
    assert path.stem == project.config.name


def test_there_are_ten_and_the_benchmark_names_them_all():
    tasks = yaml.safe_load((ROOT / "configs" / "benchmark.yaml").read_text())["tasks"]
    assert len(tasks) == 10 and sorted(tasks) == [path.stem for path in CONFIGS]
    assert all(tasks[name] == f"sbibm/{name}.yaml" for name in tasks)


@pytest.mark.parametrize("name", ["bernoulli_glm", "bernoulli_glm_raw"])
def test_the_glm_prior_has_the_smoothing_precision(name, tmp_path):
    prior = open_project(
        ROOT / "configs" / "sbibm" / f"{name}.yaml", runs=tmp_path
    ).prior.distributions["theta"]
    factor = np.eye(9) - 2 * np.eye(9, k=-1) + np.eye(9, k=-2) + np.diag(np.sqrt(np.arange(9) / 9))
    precision = np.zeros((10, 10))
    precision[0, 0], precision[1:, 1:] = 0.5, factor.T @ factor
    np.testing.assert_allclose(prior.factor @ prior.factor.T @ precision, np.eye(10), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "medians"),
    [
        ("sir", [0.4, 0.125]),
        ("lotka_volterra", [np.exp(-0.125), np.exp(-3), np.exp(-0.125), np.exp(-3)]),
    ],
)
def test_medians_of_the_rates_are_the_published_ones(name, medians, tmp_path):
    prior = open_project(ROOT / "configs" / "sbibm" / f"{name}.yaml", runs=tmp_path).prior
    assert prior.from_normal(np.zeros((1, prior.size)))[0] == pytest.approx(medians)


# Gaussian linear uniform


def test_uniform_data_and_density():
    x = uniform.simulate(np.tile([0.5, -0.9], (50_000, 1)), rng=rng())["x"]
    assert x.mean(0) == pytest.approx([0.5, -0.9], abs=0.006) and np.cov(x.T) == pytest.approx(
        0.1 * np.eye(2), abs=0.003
    )
    expected = norm.logpdf([0.7, -0.1], [0.5, -0.9], np.sqrt(0.1)).sum()
    assert density(uniform, [0.7, -0.1], theta=[[0.5, -0.9]]) == pytest.approx([expected])
    assert density(linear, [0.7, -0.1], theta=[[0.5, -0.9]]) == pytest.approx([expected])


@pytest.mark.parametrize("x", [0.1, 0.95, -1.6])
def test_exact_draws_in_the_box_are_the_likelihood_cut_off(x):
    grid = np.linspace(-1, 1, 20_001)
    weight = np.exp(density(uniform, [x], theta=grid[:, None]))
    draws = uniform.posterior({"x": np.array([x])}, 40_000, rng())[:, 0]
    assert np.abs(draws).max() <= 1
    mean = weight @ grid / weight.sum()
    assert draws.mean() == pytest.approx(mean, abs=0.006)
    assert draws.std() == pytest.approx(
        np.sqrt(weight @ (grid - mean) ** 2 / weight.sum()), rel=0.02
    )


# Gaussian mixture


def test_mixture_density_is_half_wide_and_half_narrow():
    x = np.array([0.3, -0.2])
    expected = np.log(
        0.5 * np.prod(norm.pdf(x, [0.1, 0.1], 1)) + 0.5 * np.prod(norm.pdf(x, [0.1, 0.1], 0.1))
    )
    assert density(mixture, x, theta=[[0.1, 0.1]]) == pytest.approx([expected])
    data = mixture.simulate(np.zeros((100_000, 2)), rng=rng())["x"]
    assert np.cov(data.T) == pytest.approx(
        np.eye(2) * 0.505, abs=0.02
    )  # both coordinates share the width
    near = np.hypot(*data.T) < 0.1
    assert near.mean() == pytest.approx(1 - 0.5 * np.exp(-0.005) - 0.5 * np.exp(-0.5), abs=0.005)


@pytest.mark.parametrize("x", [(0.5, -0.5), (9.8, 3.0)])
def test_exact_draws_of_the_mixture_are_weighted_draws_of_the_prior(x):
    x = np.array(x)
    draws = mixture.posterior({"x": x}, 40_000, rng())
    near = np.clip(
        rng(2).uniform(x - 4, x + 4, (400_000, 2)), -10, 10
    )  # beyond four sd nothing is left
    near = near[(np.abs(near) < 10).all(1)]
    weight = np.exp(density(mixture, x, theta=near))
    weight /= weight.sum()
    assert (np.abs(draws) <= 10).all()
    assert draws.mean(0) == pytest.approx(weight @ near, abs=0.03)
    assert (np.hypot(*(draws - x).T) < 0.15).mean() == pytest.approx(
        weight[np.hypot(*(near - x).T) < 0.15].sum(), abs=0.02
    )


# two moons


def test_two_moons_density_is_that_of_its_data():
    """`centre` turns and folds the plane: over all theta, the density of one x integrates to 2, and
    the centre is x - crescent."""
    axis, x = np.linspace(-0.4, 0.4, 801), np.array([0.0013, -0.0007])
    theta = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    p = np.exp(density(moons, x, theta=theta)) * (axis[1] - axis[0]) ** 2
    assert p.sum() == pytest.approx(2, abs=0.01)
    angle, radius = rng().uniform(-np.pi / 2, np.pi / 2, 400_000), rng(1).normal(0.1, 0.01, 400_000)
    crescent = np.stack([0.25 + radius * np.cos(angle), radius * np.sin(angle)], 1)
    found = x - moons.centre(theta)
    assert p @ found / p.sum() == pytest.approx(crescent.mean(0), abs=1e-3)
    assert p @ found**2 / p.sum() == pytest.approx((crescent**2).mean(0), abs=1e-3)


def test_two_moons_density_is_zero_behind_the_crescent():
    assert (
        density(
            moons, moons.centre(np.array([0.3, -0.5])) + np.array([0.2, 0.0]), theta=[[0.3, -0.5]]
        )[0]
        == -np.inf
    )


# SLCP with distractors


def test_distracted_numbers_stand_where_places_says():
    theta = np.tile([0.7, -2.9, -1.0, -0.9, 0.6], (20_000, 1))
    law = slcp.distractors()
    x = slcp.distracted(theta, rng=rng())["x"]
    assert (
        x.shape == (20_000, 100)
        and sorted(law.order) == list(range(100))
        and len(set(law.places)) == 8
    )
    seen = x[:, list(law.places)].reshape(-1, 4, 2)
    assert seen.mean(0) == pytest.approx(np.tile([0.7, -2.9], (4, 1)), abs=0.03)
    assert seen.reshape(-1, 2).std(0) == pytest.approx([1, 0.81], rel=0.02)
    other = np.setdiff1d(np.arange(100), law.places)
    assert np.std(x[:, other], axis=0).min() > 5  # hidden among what is far wider


def test_distractors_are_student_t_with_two_degrees_of_freedom():
    law = slcp.distractors()
    x = slcp.distracted(np.tile([0.7, -2.9, -1.0, -0.9, 0.6], (20_000, 1)), rng=rng(3))["x"]
    assert law.centres.shape == (20, 92) and law.factors.shape == (20, 92, 92)
    place = int(np.flatnonzero(law.order == 8 + 5)[0])  # the sixth distractor
    centres, widths = law.centres[:, 5], np.sqrt((law.factors[:, 5] ** 2).sum(-1))
    part = rng(4).integers(20, size=20_000)
    expected = centres[part] + widths[part] * t(2).rvs(20_000, random_state=5)
    assert ks_2samp(x[:, place], expected).pvalue > 1e-3
    assert (
        ks_2samp(x[:, place], centres[part] + widths[part] * rng(6).standard_normal(20_000)).pvalue
        < 1e-6
    )


def test_distractors_change_the_likelihood_by_nothing():
    theta = rng(7).uniform(-3, 3, (5, 5))
    x = slcp.distracted(theta[:1], rng=rng(8))["x"][0]
    np.testing.assert_array_equal(
        density(slcp, x, theta=theta),
        density(slcp, x[list(slcp.distractors().places)], theta=theta),
    )


def test_slcp_scores_have_mean_zero():
    assert_zero_mean(scores(slcp, np.array([0.7, -2.0, -1.0, -0.9, 0.6])))


# Bernoulli GLM


def test_glm_statistics_are_sums_at_spikes():
    theta = rng().normal(size=(200, 10)) * 0.5
    x, y = glm.simulate(theta, rng=rng(1))["x"], glm.raw(theta, rng=rng(1))["x"]
    np.testing.assert_allclose(x, y @ glm.X)
    assert set(np.unique(y)) == {0.0, 1.0} and (x[:, 0] == y.sum(1)).all()
    np.testing.assert_array_equal(
        glm.X[8:, 9], glm.X[:-8, 1]
    )  # the last tap is the stimulus eight bins before
    assert (glm.X[:8, 9] == 0).all()


def test_glm_likelihoods_of_spikes_and_of_statistics_are_the_same():
    theta, spikes = (
        rng().normal(size=(6, 10)) * 0.7,
        glm.raw(np.full((1, 10), 0.2), rng=rng(2))["x"][0],
    )
    by_hand = binom.logpmf(spikes, 1, 1 / (1 + np.exp(-theta @ glm.X.T))).sum(1)
    np.testing.assert_allclose(density(glm, spikes, theta=theta), by_hand)
    np.testing.assert_allclose(density(glm, spikes @ glm.X, theta=theta), by_hand)


def test_glm_scores_have_mean_zero():
    theta = np.array([-0.5, 1.0, 0.5, 0.2, 0, -0.3, -0.2, 0, 0.1, 0.1])
    assert_zero_mean(scores(glm, theta))
    assert_zero_mean(scores(glm, theta, glm.raw))


# SIR and Lotka-Volterra


@pytest.mark.parametrize(("beta", "gamma"), [(0.4, 0.125), (1.8, 0.08), (0.1, 0.2)])
def test_sir_solves_the_equations(beta, gamma):
    def slopes(_, y):
        return [-beta * y[0] * y[1], beta * y[0] * y[1] - gamma * y[1]]

    exact = solve_ivp(
        slopes, (0, 153), [1 - 1e-6, 1e-6], t_eval=17 * np.arange(10), rtol=1e-11, atol=1e-15
    ).y[1]
    found = np.concatenate(sir.infected(np.array([beta]), np.array([gamma])))
    np.testing.assert_allclose(found, exact, rtol=2e-3, atol=1e-9)
    counts = sir.simulate(np.full(20_000, beta), np.full(20_000, gamma), rng=rng())["x"]
    np.testing.assert_allclose(counts.mean(0), 1000 * exact, atol=0.5)
    np.testing.assert_allclose(counts.var(0), 1000 * exact * (1 - exact), rtol=0.06, atol=0.01)
    expected = binom.logpmf(counts[0], 1000, found).sum()
    assert density(sir, counts[0], beta=[beta], gamma=[gamma])[0] == pytest.approx(
        expected, rel=1e-6, abs=1e-5
    )


@pytest.mark.parametrize(
    "rates", [(0.88, 0.05, 0.88, 0.05), (1.5, 0.1, 0.5, 0.02), (0.5, 0.02, 1.5, 0.12)]
)
def test_lotka_volterra_solves_the_equations(rates):
    alpha, beta, gamma, delta = rates

    def slopes(_, y):
        return [alpha * y[0] - beta * y[0] * y[1], -gamma * y[1] + delta * y[0] * y[1]]

    exact = solve_ivp(
        slopes,
        (0, 19),
        [30.0, 1.0],
        t_eval=2.1 * np.arange(10),
        rtol=1e-11,
        atol=1e-14,
        method="DOP853",
    ).y.ravel()
    one = {
        name: np.array([value])
        for name, value in zip(("alpha", "beta", "gamma", "delta"), rates, strict=True)
    }
    prey, predators = lotka.paths(*one.values(), np.exp)
    np.testing.assert_allclose(np.concatenate([*prey, *predators]), np.log(exact), atol=1e-4)
    x = lotka.simulate(
        **{name: np.full(2_000, value[0]) for name, value in one.items()}, rng=rng()
    )["x"]
    np.testing.assert_allclose(np.log(x).mean(0), np.log(exact), atol=0.012)
    np.testing.assert_allclose(np.log(x).std(0), 0.1, rtol=0.1)
    assert density(lotka, x[0], **one)[0] == pytest.approx(
        lognorm(0.1, scale=exact).logpdf(x[0]).sum(), abs=0.02
    )
