"""A likelihood as an operation of PyTensor: value and gradient are exact, PyMC's posterior is too."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
import torch

from sbiwb import pymc_log_likelihood
from sbiwb.errors import DataError
from tests.project.linear_likelihood import (
    LinearLikelihood,
    check_moments,
    data_sets,
    gradient,
    log_l,
    normal_prior,
    posterior,
)

pytensor = pytest.importorskip("pytensor", reason="the extra `pymc` is not installed")
pt = pytensor.tensor
pytestmark = pytest.mark.filterwarnings("ignore:Numba will use object mode")

N = 3
X, CONTEXT = data_sets(N)
THETA = np.random.default_rng(1).standard_normal((N, 3))
LIKELIHOOD = LinearLikelihood(normal_prior())


def of_all():
    return pymc_log_likelihood(LIKELIHOOD, X, CONTEXT)


def value_and_gradient(variables, value, at):
    """The value of a graph, and its gradient in each of the variables."""
    return pytensor.function(variables, [value, *pytensor.grad(value, variables)])(*at)


def test_one_theta_for_each_data_set():
    theta = pt.dmatrix()
    value, slope = value_and_gradient([theta], of_all()(theta), [THETA])
    np.testing.assert_allclose(value, log_l(THETA, X, CONTEXT).sum(), rtol=1e-12)
    np.testing.assert_allclose(slope, gradient(THETA, X, CONTEXT), rtol=1e-12)


def test_one_theta_for_all():
    theta, full = pt.dvector(), np.tile(THETA[0], (N, 1))
    value, slope = value_and_gradient([theta], of_all()(theta), [THETA[0]])
    np.testing.assert_allclose(value, log_l(full, X, CONTEXT).sum(), rtol=1e-12)
    np.testing.assert_allclose(slope, gradient(full, X, CONTEXT).sum(0), rtol=1e-12)


def test_by_name_some_for_all_and_some_for_each():
    a, slopes = pt.dscalar(), pt.dmatrix()
    full = np.column_stack([np.full(N, 0.3), THETA[:, 1:]])
    value, of_a, of_slopes = value_and_gradient(
        [a, slopes], of_all()({"slopes": slopes, "a": a}), [0.3, THETA[:, 1:]]
    )
    exact = gradient(full, X, CONTEXT)
    np.testing.assert_allclose(value, log_l(full, X, CONTEXT).sum(), rtol=1e-12)
    np.testing.assert_allclose(of_a, exact[:, 0].sum(), rtol=1e-12)
    np.testing.assert_allclose(of_slopes, exact[:, 1:], rtol=1e-12)


def test_by_name_the_other_way_round():
    a, slopes = pt.dvector(), pt.dvector()
    full = np.column_stack([THETA[:, 0], np.tile(THETA[0, 1:], (N, 1))])
    _, of_a, of_slopes = value_and_gradient(
        [a, slopes], of_all()({"a": a, "slopes": slopes}), [THETA[:, 0], THETA[0, 1:]]
    )
    exact = gradient(full, X, CONTEXT)
    np.testing.assert_allclose(of_a, exact[:, 0], rtol=1e-12)
    np.testing.assert_allclose(of_slopes, exact[:, 1:].sum(0), rtol=1e-12)


def test_outside_the_support_it_is_impossible():
    bounded = LinearLikelihood(normal_prior("uniform", low=0.0, high=1.0))
    theta = pt.dvector()
    of_bounded = pymc_log_likelihood(bounded, X, CONTEXT)(theta)
    value, slope = value_and_gradient([theta], of_bounded, [np.array([1.5, 0.0, 0.0])])
    assert value == -np.inf
    assert not slope.any()


def test_value_and_gradient_are_one_node():
    theta = pt.dmatrix()
    value = of_all()(theta)
    graph = pytensor.function([theta], [value, pytensor.grad(value, theta)]).maker.fgraph
    nodes = [node for node in graph.apply_nodes if "LogLikelihood" in str(node.op)]
    assert len(nodes) == 1


def test_torch_keeps_to_one_thread_meanwhile(monkeypatch):
    threads, real = [], LinearLikelihood.log_prob_torch
    before = torch.get_num_threads()

    def log_prob_torch(*args):
        threads.append(torch.get_num_threads())
        return real(*args)

    monkeypatch.setattr(LinearLikelihood, "log_prob_torch", log_prob_torch)
    torch.set_num_threads(2)
    try:
        of_all()(np.zeros(3)).eval()
        assert (threads, torch.get_num_threads()) == ([1] * N, 2)
    finally:
        torch.set_num_threads(before)


def test_there_is_no_second_derivative():
    theta = pt.dvector()
    with pytest.raises(Exception, match="no second derivative"):
        pytensor.gradient.hessian(of_all()(theta), [theta])


def test_it_crosses_to_other_processes():
    theta = pt.dvector()
    again = pickle.loads(pickle.dumps(of_all()(theta))).owner.op.observed
    np.testing.assert_array_equal(again.x["y"], X["y"])


@pytest.mark.parametrize(
    ("theta", "says"),
    [
        (pt.zeros(4), r"theta  has the shape \(4,\).*\(3,\).*\(3, 3\)"),
        (pt.zeros((2, 3)), r"\(2, 3\)"),
        (pt.zeros(()), r"shape \(\)"),
        (pt.zeros((1, N, 3)), r"\(1, 3, 3\)"),
        ({"a": pt.zeros(())}, "has no slopes"),
        ({"a": pt.zeros(2), "slopes": pt.zeros(2)}, r"a  has the shape \(2,\).*\(\).*\(3,\)"),
        ({"a": pt.zeros(()), "slopes": pt.zeros(3)}, r"slopes  has the shape \(3,\).*\(3, 2\)"),
    ],
)
def test_another_theta_is_refused(theta, says):
    with pytest.raises(DataError, match=says):
        of_all()(theta)


@pytest.mark.parametrize("at", [np.zeros(4), np.zeros(1)], ids=["too many", "too few"])
def test_a_theta_of_another_shape_is_refused_when_it_has_values(at):
    theta = pt.dvector()
    with pytest.raises(Exception, match=r"(?i)shape"):
        pytensor.function([theta], of_all()(theta))(at)


@pytest.fixture
def pm():
    found = pytest.importorskip("pymc", reason="the extra `pymc` is not installed")
    logging.getLogger("pymc").setLevel(logging.ERROR)
    return found


def regression(pm):
    """The model of one theta for all data sets."""
    with pm.Model() as model:
        a = pm.Normal("a", 0.0, 1.0)
        slopes = pm.Normal("slopes", 0.0, 1.0, shape=2)
        pm.Potential("log_l", of_all()({"a": a, "slopes": slopes}))
    return model


def test_it_is_a_potential_of_a_model_in_pymc(pm):
    model, theta = regression(pm), np.tile(THETA[0], (N, 1))
    at = {"a": np.array(THETA[0, 0]), "slopes": THETA[0, 1:]}
    log_prior = -0.5 * (THETA[0] ** 2).sum() - 1.5 * np.log(2 * np.pi)
    log_p = log_prior + log_l(theta, X, CONTEXT).sum()
    np.testing.assert_allclose(model.compile_logp()(at), log_p, rtol=1e-12)
    slope = gradient(theta, X, CONTEXT).sum(0) - THETA[0]
    np.testing.assert_allclose(model.compile_dlogp()(at), slope, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cores", [1, 2])
def test_pymc_draws_the_exact_posterior(pm, cores):
    """With two cores, each chain in a process of its own."""
    with regression(pm):
        trace = pm.sample(
            200, tune=200, chains=2, cores=cores, random_seed=1, progressbar=False, step=pm.NUTS()
        )
    a, slopes = trace.posterior["a"].to_numpy(), trace.posterior["slopes"].to_numpy()
    draws = np.concatenate([a[..., None], slopes], axis=-1).reshape(-1, 3)
    check_moments(draws, *posterior(X, CONTEXT))
