"""Markov chains, and the exact posterior, against closed forms; what every method promises, and
what each refuses."""

import numpy as np
import pytest
import torch

from sbiwb.errors import DataError
from sbiwb.references import family
from sbiwb.references._chains import ess, judge, split
from tests.c2st import c2st
from tests.references import targets
from tests.tiny import Recorder

TINY = {
    "analytic": {},
    "metropolis": {"chains": 3, "warmup": 40, "thin": 2},
    "ensemble": {"walkers": 6, "warmup": 20, "thin": 2},
    "hmc": {"chains": 2, "warmup": 10, "thin": 2},
    "nuts": {"chains": 2, "warmup": 10, "thin": 2},
}
CHAINS = [name for name in TINY if name != "analytic"]
HAMILTONIAN = ["hmc", "nuts"]
MEAN = np.array([3.0, -1.0])


def run(kind, target, draws, *, seed=0, reporter=None, **options):
    return family.parse({"kind": kind, **options}).run(
        target, draws, np.random.default_rng(seed), reporter or Recorder()
    )


def tiny_run(kind, target=None, *, draws=23, **changes):
    return run(
        kind,
        target or targets.normal(MEAN, targets.correlated(2)),
        draws,
        **{**TINY[kind], **changes},
    )


@pytest.fixture
def validation():
    """Sets the default validation of torch's distributions; puts it back afterwards."""
    before = torch.distributions.Distribution._validate_args
    yield torch.distributions.Distribution.set_default_validate_args
    torch.distributions.Distribution.set_default_validate_args(before)


@pytest.mark.parametrize("kind", TINY)
def test_gives_as_many_draws_as_asked_and_says_what_it_needs(kind):
    reference = tiny_run(kind)
    assert reference.theta.shape == (23, 2) and reference.theta.dtype == np.float64
    assert reference.chains == TINY[kind].get("chains", TINY[kind].get("walkers", 0))
    assert family.config(kind).needs in ("density", "gradient", "exact")
    assert all(type(value) is float for value in reference.facts.values())


@pytest.mark.parametrize("kind", TINY)
def test_the_same_generator_gives_the_same_draws_and_another_others(kind):
    first = tiny_run(kind, draws=11, seed=3).theta
    torch.manual_seed(17)
    assert np.array_equal(first, tiny_run(kind, draws=11, seed=3).theta)
    assert not np.isclose(first, tiny_run(kind, draws=11, seed=4).theta).any()


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("validate", [False, True])
def test_global_state_stays_as_it_was(kind, validate, validation):
    validation(validate)
    streams = torch.get_rng_state(), np.random.get_state()[1].copy()
    tiny_run(kind, draws=7)
    assert torch.distributions.Distribution._validate_args is validate
    assert torch.equal(torch.get_rng_state(), streams[0]) and np.array_equal(
        np.random.get_state()[1], streams[1]
    )
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("kind", CHAINS)
def test_progress_tells_of_every_iteration(kind):
    recorder = Recorder()
    tiny_run(kind, reporter=recorder)
    chains, longest = (
        (2, None)
        if kind in HAMILTONIAN
        else (1, -(-23 // (TINY[kind].get("chains") or TINY[kind]["walkers"])))
    )
    assert recorder.advanced == {kind: chains * TINY[kind]["warmup"] + 2 * (longest or 23)}


ENOUGH = {
    "analytic": (2000, {}),
    "metropolis": (1600, {"warmup": 1000}),
    "ensemble": (1200, {"warmup": 300}),
    "hmc": (300, {"chains": 2, "warmup": 100}),
    "nuts": (200, {"chains": 2, "warmup": 100}),
}


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        *((kind, "prior") for kind in ENOUGH),
        ("metropolis", "map"),
        ("ensemble", "amortized"),
        ("hmc", "map"),
    ],
)
def test_mean_and_covariance_of_a_correlated_normal(kind, start):
    covariance = targets.correlated(2, rho=-0.9)
    draws, options = ENOUGH[kind]
    reference = run(
        kind,
        targets.normal(MEAN, covariance),
        draws,
        **options,
        **({} if kind == "analytic" else {"start": start}),
    )
    assert_normal(reference, MEAN, covariance)


def assert_normal(reference, mean, covariance):
    """Draws made white have mean 0 and covariance 1, within 5 standard errors of as many draws as
    are effective for each."""
    white = np.linalg.solve(np.linalg.cholesky(covariance), (reference.theta - mean).T).T
    products = (white[:, :, None] * white[:, None]).reshape(len(white), -1)
    for values, truth in ((white, np.zeros(len(mean))), (products, np.eye(len(mean)).ravel())):
        effective = ess(split(values, reference.chains)) if reference.chains else len(white)
        assert np.min(effective) > 0.1 * len(white)
        assert np.all(np.abs(values.mean(0) - truth) < 5 * values.std(0) / np.sqrt(effective))


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("d", [2, 10])
def test_c2st_against_exact_draws(kind, d, draws=4000, compared=2000):
    target = targets.normal(np.arange(d), targets.correlated(d))
    options = {"thin": 30 * d} if kind == "ensemble" else {}  # by default R-hat is about its limit
    reference = run(kind, target, draws, **options)
    assert judge(reference, target.columns).warnings == ()
    some = np.random.default_rng(1).permutation(draws)[:compared]
    assert c2st(target.exact(compared, np.random.default_rng(9)), reference.theta[some]) <= 0.53


@pytest.mark.parametrize(("d", "goal"), [(1, 0.44), (2, 0.234), (10, 0.234)])
def test_metropolis_is_tuned_to_the_best_acceptance(d, goal):
    target = targets.normal(np.zeros(d), targets.correlated(d))
    facts = run("metropolis", target, 800, thin=5, warmup=1500).facts
    assert facts["acceptance"] == pytest.approx(goal, abs=0.05)


def test_metropolis_learns_scales_that_are_far_apart():
    covariance = np.diag([1e-6, 1.0])
    assert_normal(run("metropolis", targets.normal(MEAN, covariance), 2000), MEAN, covariance)


def test_metropolis_on_the_banana_accepts_less_with_larger_steps():
    small, middle, large = (
        run("metropolis", targets.banana(), 1600, step=step, warmup=300).facts
        for step in (0.1, 1.0, 10.0)
    )
    assert (
        small["acceptance"]
        > 0.9
        > 0.8
        > middle["acceptance"]
        > 0.4
        > 0.15
        > large["acceptance"]
        > 0
    )
    assert [facts["step"] for facts in (small, middle, large)] == pytest.approx([0.1, 1.0, 10.0])


@pytest.mark.parametrize("step", [0.1, 10.0])
def test_metropolis_warns_of_a_step_that_is_too_small_or_too_large(step):
    (warning,) = run("metropolis", targets.banana(), 800, step=step, warmup=100).warnings
    assert "acceptance of" in warning and "smaller step" in warning


def test_metropolis_on_the_banana_finds_its_moments():
    reference = run("metropolis", targets.banana(), 4000, thin=20)
    assert_banana(reference)


def test_hmc_on_the_banana_finds_its_moments():
    assert_banana(run("hmc", targets.banana(), 500, chains=2, warmup=100))


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHAINS)
def test_every_method_on_the_banana(kind):
    careful = {"target_accept": 0.95}  # at the usual one a few of 12,000 trajectories may diverge
    options = {"hmc": careful, "nuts": careful}
    reference = run(kind, targets.banana(), 6000, **options.get(kind, {}))
    assert_banana(reference)
    warnings = judge(reference, ("x", "y")).warnings
    if reference.facts.get("divergences", 0) < 0.001 * 6000:  # in the far ends of the banana
        warnings = [text for text in warnings if "trajectories diverged" not in text]
    assert not warnings


def assert_banana(reference):
    """E[x] = 0, E[y] = 0.9 and E[x²] = 9, within 4 standard errors."""
    x, y = reference.theta.T
    for values, truth in ((x, 0.0), (y, 0.9), (x**2, 9.0)):
        effective = ess(split(values[:, None], reference.chains))[0]
        assert effective > 50
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(effective)


def test_metropolis_in_two_far_modes_is_found_out_by_rhat():
    def two(z):
        return torch.logaddexp(-2 * ((z - 5) ** 2).sum(1), -2 * ((z + 5) ** 2).sum(1))

    reference = run(
        "metropolis", targets.plain(two, ("a", "b")), 2000, step=0.5, warmup=300, chains=8
    )
    judged = judge(reference, ("a", "b"))
    assert judged.rhat.min() > 1.5
    assert any("have not converged" in warning and "a (" in warning for warning in judged.warnings)


def boxed(z):
    return torch.where(
        (z.abs() < 1).all(dim=1), -0.5 * (z**2).sum(1), torch.tensor(-torch.inf, dtype=z.dtype)
    )


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("start", ["prior", "map"])
def test_impossible_regions_are_never_entered(kind, start):
    short = {"hmc": {"most_steps": 8}, "nuts": {"depth": 3}}.get(kind, {})
    reference = tiny_run(kind, targets.plain(boxed, ("a", "b")), draws=60, start=start, **short)
    assert np.abs(reference.theta).max() < 1
    assert len(np.unique(reference.theta[:, 0])) > 10


def test_hmc_warns_of_divergences_at_a_wall():
    reference = run("hmc", targets.plain(boxed, ("a", "b")), 200, chains=2, warmup=50, step=0.5)
    assert reference.facts["divergences"] > 0
    assert any("trajectories diverged" in warning for warning in reference.warnings)


class Undefined(torch.autograd.Function):
    """-|z|²/2, whose gradient is not written."""

    @staticmethod
    def forward(context, z):
        return -0.5 * (z**2).sum(1)


def without_graph(z):
    return torch.from_numpy(-0.5 * (z.detach().numpy() ** 2).sum(1))


@pytest.mark.parametrize("log_density", [Undefined.apply, without_graph])
@pytest.mark.parametrize("kind", CHAINS)
def test_densities_without_a_gradient(kind, log_density):
    target = targets.plain(log_density, ("a", "b"))
    if kind in HAMILTONIAN:
        with pytest.raises(DataError, match="gradient") as error:
            tiny_run(kind, target)
        assert "ensemble" in error.value.todo and kind in error.value.where
    else:
        assert_normal(run(kind, target, 1600, start="map"), np.zeros(2), np.eye(2))


@pytest.mark.parametrize("kind", CHAINS)
def test_no_possible_start_is_refused(kind):
    with pytest.raises(DataError, match=r"0 of .* draws of the prior have a finite log-density"):
        tiny_run(kind, targets.plain(lambda z: -torch.inf * z.sum(1).abs(), ("a", "b")))


@pytest.mark.parametrize("kind", CHAINS)
def test_starting_from_a_posterior_that_is_not_there_is_refused(kind):
    with pytest.raises(DataError, match="no amortized posterior") as error:
        tiny_run(kind, targets.banana(), start="amortized")
    assert "start: prior" in error.value.todo


def test_what_the_target_lacks_is_refused():
    with pytest.raises(DataError, match="no exact posterior"):
        run("analytic", targets.plain(boxed, ("a", "b")), 10)
    with pytest.raises(DataError, match="3 walkers cannot span 2 dimensions"):
        run("ensemble", targets.banana(), 10, walkers=3)


@pytest.mark.parametrize("kind", CHAINS)
def test_fewer_draws_than_chains(kind):
    reference = tiny_run(kind, draws=1)
    assert reference.theta.shape == (1, 2)
    assert "cannot be judged" in judge(reference, ("a", "b")).warnings[-1]


@pytest.mark.parametrize("kind", CHAINS)
def test_no_warmup(kind):
    assert np.isfinite(tiny_run(kind, warmup=0, start="amortized").theta).all()
