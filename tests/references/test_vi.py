"""Variational inference: families and gradients against closed forms, and what tells a user that a
family was too narrow."""

import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import logsumexp

from sbiwb.errors import DataError, TrainingError
from sbiwb.references import family
from sbiwb.references._elbo import Bound
from sbiwb.references._families import FullRank, MeanField, Mixture, Spline, cubature
from tests.c2st import c2st
from tests.references import targets
from tests.tiny import Recorder

FAMILIES = {
    "mean_field": lambda d: MeanField(d),
    "full_rank": lambda d: FullRank(d),
    "gmm": lambda d: Mixture(d, 3),
    "nsf": lambda d: Spline(d, transforms=2, passes=2, hidden=[8]),
}
TINY = {"steps": 10, "samples": 8, "hidden": [8], "transforms": 1}
WEIGHTS, SD = np.array([0.2, 0.5, 0.3]), 0.4
MEANS = np.array([[-2.0, 0.0], [1.5, 1.5], [1.0, -2.0]])


def config(**options):
    return family.parse({"kind": "vi", **options})


def run(target, draws=500, *, seed=0, reporter=None, **options):
    return config(**options).run(target, draws, np.random.default_rng(seed), reporter or Recorder())


def fit(target, *, seed=0, **options):
    return config(**options).fit(target, np.random.default_rng(seed), Recorder())


def moments(fitted):
    """Mean (D,) and covariance (D, D) of a fitted normal, of z."""
    scale = (
        fitted.start.scale
        @ (fitted.q.place(torch.eye(len(fitted.start.mean)).double()) - fitted.q.mean).numpy().T
    )
    return fitted.start.place(fitted.q.mean.numpy()), scale @ scale.T


def three_parts():
    """A mixture of three normals of z in the plane, far from each other."""

    def log_density(z):
        each = -0.5 * ((z[:, None] - torch.tensor(MEANS)) / SD).square().sum(-1) - math.log(
            2 * math.pi * SD**2
        )
        return (each + torch.tensor(WEIGHTS).log()).logsumexp(1)

    return targets.plain(log_density, ("a", "b"))


def somewhere(name, d=2):
    """A member of a family whose parameters are all different from the start's."""
    torch.manual_seed(1)
    q = FAMILIES[name](d)
    with torch.no_grad():
        for parameter in q.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return q


@pytest.fixture(autouse=True)
def _own_random_numbers():
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_densities_that_integrate_to_one(name):
    q = somewhere(name)
    axis = torch.linspace(-14, 14, 201, dtype=torch.float64)
    with torch.no_grad():
        total = q(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_and_samples_are_those_of_the_density(name):
    q = somewhere(name)
    with torch.no_grad():
        u, share = q.draw(60_000)
        sample = q.sample(60_000)
        axis = torch.linspace(-14, 14, 201, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        cell = q(grid).exp() * (axis[1] - axis[0]) ** 2
    assert float(share.sum()) == pytest.approx(1)
    for power in (1, 2):
        exact = (cell[:, None] * grid**power).sum(0).numpy()
        assert (share[:, None] * u**power).sum(0).numpy() == pytest.approx(exact, abs=0.06)
        assert (sample**power).mean(0).numpy() == pytest.approx(exact, abs=0.06)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("d", [1, 3])
def test_families_begin_near_the_standard_normal(name, d):
    torch.manual_seed(0)
    q = FAMILIES[name](d)
    sample = q.sample(4_000)
    assert sample.shape == (4_000, d) and sample.dtype == torch.float64
    if name == "gmm":
        assert sample.abs().max() < 6
    else:
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(sample).sum(-1)
        assert torch.allclose(q(sample), normal, atol=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_cubature_is_exact_to_degree_five_and_not_beyond(d):
    nodes, share = cubature(d)
    assert len(nodes) == 2 * d**2 + 1 and float(share.sum()) == pytest.approx(1)
    moment = {0: 1, 1: 0, 2: 1, 3: 0, 4: 3, 5: 0}
    for powers in itertools.product(range(6), repeat=d):
        if sum(powers) <= 5:
            found = float((share * (nodes ** torch.tensor(powers)).prod(1)).sum())
            assert found == pytest.approx(math.prod(moment[power] for power in powers), abs=1e-9)
    assert float((share * nodes[:, 0] ** 6).sum()) != pytest.approx(15, abs=1e-3)


@pytest.mark.parametrize("name", ["mean_field", "full_rank"])
def test_the_entropy_is_that_of_draws(name):
    q = somewhere(name, 3)
    with torch.no_grad():
        assert float(q.entropy()) == pytest.approx(-float(q(q.sample(100_000)).mean()), abs=0.02)


def gradients(q, gradient, *, log_density, samples=64, repeats=600):
    """Estimates of the bound's gradient, (repeats, parameters)."""
    torch.manual_seed(0)
    bound, found = Bound(q, log_density, gradient, samples), []
    for _ in range(repeats):
        q.zero_grad()
        bound()[0].backward()
        found.append(
            torch.cat(
                [
                    parameter.grad.flatten()
                    for parameter in q.parameters()
                    if parameter.grad is not None
                ]
            )
        )
    return torch.stack(found)


@pytest.mark.parametrize("name", ["mean_field", "full_rank", "gmm"])
def test_all_gradients_have_the_same_expectation(name):
    log_density = targets.banana().log_density
    found = [
        gradients(somewhere(name), gradient, log_density=log_density)
        for gradient in ("reparameterised", "score")
    ]
    error = torch.sqrt(sum(each.var(0) / len(each) for each in found))
    assert ((found[0].mean(0) - found[1].mean(0)).abs() < 4.5 * error + 1e-9).all()
    if name != "gmm":
        exact = gradients(somewhere(name), "closed_form", log_density=log_density, repeats=1)[0]
        assert ((found[0].mean(0) - exact).abs() < 4.5 * error + 1e-9).all()


def test_no_noise_is_left_where_the_family_is_right():
    assert (
        float(
            gradients(
                FullRank(2),
                "reparameterised",
                log_density=lambda u: -0.5 * u.square().sum(-1),
                repeats=5,
            )
            .abs()
            .max()
        )
        < 1e-12
    )


def test_the_baseline_follows_the_bound_and_saves_variance():
    q, log_density = MeanField(2), targets.banana().log_density
    bound = Bound(q, lambda u: log_density(u) + 50, "score", 16)
    assert bound.baseline == pytest.approx(51, abs=2)
    with_baseline = gradients(q, "score", log_density=lambda u: log_density(u) + 50).var(0).sum()
    assert with_baseline < 0.1 * 50**2 * 4 / 64  # about b² E[(d log q)²] / S of the constant alone


def test_full_rank_finds_a_normal_with_its_evidence():
    mean, covariance = np.array([2.0, -1.0, 0.5, 0.0]), targets.correlated(4)
    target = targets.normal(mean, covariance, -3.7)
    found, wide = moments(fit(target, family="full_rank", steps=800))
    assert found == pytest.approx(target.amortized.mean, abs=5e-3) and wide == pytest.approx(
        target.amortized.covariance, abs=1e-2 / 4
    )
    reference = run(target, 20_000, family="full_rank", steps=300)
    assert np.cov(reference.theta.T) == pytest.approx(covariance, abs=0.15)
    assert reference.facts["elbo"] == pytest.approx(-3.7, abs=1e-3) and reference.facts[
        "log_evidence"
    ] == pytest.approx(-3.7, abs=1e-3)
    assert (
        reference.warnings == ()
        and reference.chains == 0
        and reference.curves["elbo"].shape == (300,)
    )
    assert reference.curves["elbo"][-1] == pytest.approx(-3.7, abs=1e-3)


@pytest.mark.parametrize(
    ("gradient", "tolerance"), [("reparameterised", 0.05), ("closed_form", 1e-3)]
)
def test_mean_field_shrinks_a_correlated_normal_as_known(gradient, tolerance):
    target = targets.normal(np.zeros(3), targets.correlated(3))
    mean, covariance = moments(fit(target, family="mean_field", gradient=gradient, steps=1_500))
    precision = np.linalg.inv(target.amortized.covariance)
    assert mean == pytest.approx(target.amortized.mean, abs=tolerance)
    assert np.sqrt(np.diag(covariance)) == pytest.approx(
        1 / np.sqrt(np.diag(precision)), rel=tolerance
    )
    assert np.count_nonzero(covariance - np.diag(np.diag(covariance))) == 0


def test_a_family_that_is_too_narrow_says_so():
    reference = run(
        targets.normal(np.zeros(6), targets.correlated(6, rho=0.97)), family="mean_field", steps=800
    )
    assert reference.facts["pareto_k"] > 0.7
    assert (
        reference.warnings[0].startswith("Pareto k is ")
        and "mean_field is too narrow a family" in reference.warnings[0]
    )


def test_a_mixture_finds_three_parts_with_their_weights():
    fitted = fit(
        three_parts(), family="gmm", components=8, steps=1_200, start="prior", gradient="score"
    )
    z = fitted.sample(20_000, np.random.default_rng(1))
    part = np.linalg.norm(z[:, None] - MEANS, axis=2).argmin(1)
    assert np.bincount(part, minlength=3) / len(z) == pytest.approx(WEIGHTS, abs=0.03)
    for i in range(3):
        assert z[part == i].mean(0) == pytest.approx(MEANS[i], abs=0.03)
        assert z[part == i].std(0) == pytest.approx(SD, abs=0.03)


def test_the_fitted_density_is_that_of_its_draws():
    fitted = fit(targets.banana(), family="gmm", components=2, steps=50)
    first, again = (fitted.sample(50, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first, again)
    z = np.stack(np.meshgrid(np.linspace(-25, 25, 601), np.linspace(-12, 25, 601)), -1).reshape(
        -1, 2
    )
    assert logsumexp(fitted.log_prob(z)) + np.log(50 / 600 * 37 / 600) == pytest.approx(0, abs=2e-3)


def test_a_log_density_that_is_no_polynomial_is_found_out():
    target = targets.plain(lambda z: -3 * (1 + z.square().sum(-1)).log(), ("a", "b"))
    reference = run(target, family="full_rank", gradient="closed_form", steps=500)
    assert any("the log-density is no polynomial" in warning for warning in reference.warnings)
    exact = run(targets.banana(), family="mean_field", gradient="closed_form", steps=1_000)
    assert not any("polynomial" in warning for warning in exact.warnings)


@pytest.mark.parametrize("name", ["gmm", "nsf"])
def test_closed_form_is_refused_where_there_is_none(name):
    with pytest.raises(ValidationError, match=f"'{name}' has no closed-form ELBO"):
        config(family=name, gradient="closed_form")


def test_a_density_without_a_gradient_needs_the_score_function():
    target = targets.plain(lambda z: -0.5 * z.detach().square().sum(-1), ("a", "b"))
    with pytest.raises(DataError, match="no finite gradient") as error:
        run(target, **TINY)
    assert "gradient: score" in error.value.todo
    assert run(target, **TINY, gradient="score").theta.shape == (500, 2)


def test_an_impossible_region_is_left_out_and_told():
    target = targets.plain(
        lambda z: (-0.5 * z.square().sum(-1)).masked_fill(z[:, 0] < -1, -np.inf), ("a", "b")
    )
    reference = run(target, steps=100)
    assert 0 < reference.facts["impossible"] < 0.5 and np.isfinite(reference.facts["elbo"])
    assert any("impossible under the density" in warning for warning in reference.warnings)


def test_a_bound_that_leaves_the_numbers_stops():
    """The density rises without end, and its gradient is NaN beyond 30."""
    improper = targets.plain(lambda z: (10 * z + ((z < 30) * (30 - z)).sqrt()).sum(-1), ("a",))
    with pytest.raises(TrainingError, match="the ELBO is nan at step") as error:
        run(improper, start="prior", learning_rate=1)
    assert "learning_rate" in error.value.todo


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_generator_gives_the_same_draws_and_global_state_stays(name):
    state, recorder = torch.get_rng_state(), Recorder()
    first = run(targets.banana(), seed=1, family=name, reporter=recorder, **TINY)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_default_dtype() == torch.float32
    torch.manual_seed(5)
    assert np.array_equal(first.theta, run(targets.banana(), seed=1, family=name, **TINY).theta)
    assert not np.array_equal(first.theta, run(targets.banana(), seed=2, family=name, **TINY).theta)
    assert recorder.advanced == {"vi": TINY["steps"]} and all(
        type(value) is float for value in first.facts.values()
    )


@pytest.mark.parametrize("start", ["map", "prior", "amortized"])
def test_every_start_leads_there(start):
    target = targets.normal([2.0, 0.0], targets.correlated(2))
    assert run(target, 4_000, start=start, steps=400).theta.mean(0) == pytest.approx(
        [2.0, 0.0], abs=0.1
    )


@pytest.mark.slow
def test_a_flow_cannot_be_told_from_the_banana():
    reference = run(targets.banana(), 4_000, family="nsf", steps=2_000)
    assert c2st(targets.banana_draws(4_000, np.random.default_rng(1)), reference.theta) <= 0.55
