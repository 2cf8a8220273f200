"""A likelihood as a function of torch: shapes as in Pyro's plates, and Pyro's posterior is exact."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

import sbiwb
from sbiwb import pymc_log_likelihood, torch_log_likelihood
from sbiwb.errors import ConfigError, DataError
from sbiwb.project.trained_likelihood import load_likelihood
from sbiwb.records import Ragged
from tests.project.linear_likelihood import (
    LinearLikelihood,
    check_moments,
    data_sets,
    gradient,
    log_l,
    normal_prior,
    posterior,
)

N = 3
X, CONTEXT = data_sets(N)
THETA = np.random.default_rng(1).standard_normal((4, N, 3))
LIKELIHOOD = LinearLikelihood(normal_prior())


def of_all():
    return torch_log_likelihood(LIKELIHOOD, X, CONTEXT)


def exact(theta: np.ndarray) -> np.ndarray:
    """(..., N) at theta (..., N, D)."""
    rows = theta.reshape(-1, N, 3)
    return np.stack([log_l(row, X, CONTEXT) for row in rows]).reshape(theta.shape[:-1])


@pytest.mark.parametrize(
    ("theta", "full"),
    [
        (THETA[0, 0], np.tile(THETA[0, 0], (N, 1))),
        (THETA[0], THETA[0]),
        (THETA[:, :1], np.tile(THETA[:, :1], (1, N, 1))),
        (THETA, THETA),
        (THETA.reshape(2, 2, N, 3), THETA.reshape(2, 2, N, 3)),
    ],
    ids=["one for all", "one for each", "particles of one", "particles of each", "two axes"],
)
def test_theta_is_broadcast_against_the_data_sets(theta, full):
    found = of_all()(torch.from_numpy(theta))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), exact(full), rtol=1e-12)


def test_parameters_by_name_are_broadcast_too():
    theta = np.concatenate([np.tile(THETA[:, :1, :1], (1, N, 1)), THETA[..., 1:]], axis=-1)
    by_name = {
        "slopes": torch.from_numpy(theta[..., 1:]),
        "a": torch.from_numpy(theta[:, :1, 0]),
    }
    np.testing.assert_allclose(of_all()(by_name).numpy(), exact(theta), rtol=1e-12)


def test_the_gradient_is_exact():
    theta = torch.from_numpy(THETA[0]).requires_grad_()
    (found,) = torch.autograd.grad(of_all()(theta).sum(), theta)
    np.testing.assert_allclose(found.numpy(), gradient(THETA[0], X, CONTEXT), rtol=1e-12)


def test_float32_keeps_its_gradient():
    theta = torch.from_numpy(THETA[0].astype(np.float32)).requires_grad_()
    (found,) = torch.autograd.grad(of_all()(theta).sum(), theta)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), gradient(THETA[0], X, CONTEXT), rtol=1e-4)


def test_outside_the_support_it_is_impossible_and_inside_as_before():
    bounded = LinearLikelihood(normal_prior("uniform", low=0.0, high=1.0))
    points = torch.from_numpy(np.array([[0.5, 1.0, 1.0], [1.5, 1.0, 1.0], [0.5, np.nan, 1.0]]))
    points.requires_grad_()
    found = torch_log_likelihood(bounded, X, CONTEXT)(points)
    assert found.isneginf().tolist() == [False, True, True]
    (slope,) = torch.autograd.grad(found[0], points)
    assert slope.isfinite().all()
    assert not slope[1:].any()


def test_where_the_network_gives_no_number_it_is_impossible():
    x = {"y": X["y"].copy()}
    x["y"][1, 0] = np.nan
    found = torch_log_likelihood(LIKELIHOOD, x, CONTEXT)(torch.zeros(3))
    assert found.isneginf().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("theta", "says"),
    [
        (torch.zeros(4), r"\(4,\)"),
        (torch.zeros(2, 3), r"\(2, 3\).*\(\.\.\., 3, 3\)"),
        (torch.tensor(0.0), r"shape \(\)"),
        ({"a": torch.tensor(0.0)}, "has no slopes.*a, slopes"),
        ({"a": torch.tensor(0.0), "slopes": torch.zeros(2), "b": 0}, "has b as well"),
        ({"a": torch.tensor(0.0), "slopes": torch.zeros(3)}, r"slopes.*\(3,\).*\(\.\.\., 2\)"),
        ({"a": torch.zeros(3), "slopes": torch.zeros(2, 2)}, r"\(3,\), \(2,\).*broadcast"),
    ],
)
def test_another_theta_is_refused(theta, says):
    with pytest.raises(DataError, match=says):
        of_all()(theta)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        ({"y": list(X["y"])}, r"y  is of type list.*Ragged\.of"),
        ({"y": np.array(1.0)}, "not N data sets"),
        ({"y": X["y"][:2]}, "y has 2, noise has 3"),
        ({"y": Ragged.of([X["y"][0], X["y"][1, :3]])}, "y has 2, noise has 3"),
    ],
)
def test_data_without_data_sets_are_refused(x, says):
    with pytest.raises(DataError, match=says):
        torch_log_likelihood(LIKELIHOOD, x, CONTEXT)


@pytest.fixture
def pyro(monkeypatch):
    """Pyro, without its traces of global state."""
    validates = torch.distributions.Distribution
    monkeypatch.setattr(validates, "_validate_args", validates._validate_args)
    yield pytest.importorskip("pyro", reason="the extra `reference` is not installed")


def regression(pyro):
    """The model of one theta for all data sets."""
    a = pyro.sample("a", pyro.distributions.Normal(0.0, 1.0))
    slopes = pyro.distributions.Normal(torch.zeros(2), 1.0).to_event(1)
    slopes = pyro.sample("slopes", slopes)
    with pyro.plate("data sets", N):
        pyro.factor("log_l", of_all()({"a": a, "slopes": slopes}))


def test_it_is_a_factor_of_a_model_in_pyro(pyro):
    given = {"a": torch.tensor(0.3), "slopes": torch.tensor([0.1, 0.2])}
    model = pyro.poutine.condition(regression, data=given)
    trace = pyro.poutine.trace(model).get_trace(pyro)
    trace.compute_log_prob()
    found = trace.nodes["log_l"]["log_prob"]
    theta = np.tile(np.float32([0.3, 0.1, 0.2]).astype(float), (N, 1))
    np.testing.assert_allclose(found.numpy(), exact(theta), rtol=1e-12)


@pytest.mark.slow
def test_pyro_draws_the_exact_posterior(pyro):
    from pyro.infer import MCMC, NUTS

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        chain = MCMC(NUTS(regression), 300, warmup_steps=150, disable_progbar=True)
        chain.run(pyro)
    draws = chain.get_samples()
    check_moments(np.column_stack([draws["a"], draws["slopes"]]), *posterior(X, CONTEXT))


def test_without_pymc_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pytensor.*pip install "sbiwb\[pymc\]"'):
        pymc_log_likelihood(LIKELIHOOD, X, CONTEXT)


def test_the_package_hands_it_out():
    assert sbiwb.load_likelihood is load_likelihood
    assert set(sbiwb.HOMES) == set(sbiwb.__all__) - {"__version__"}
