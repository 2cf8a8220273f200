"""The regression ahead of a flow: it starts at the closed form, is a density, and goes back and
forth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sbiwb.networks.inference import nsf
from sbiwb.networks.inference._linear import LinearFirst, _inner
from sbiwb.ridge import ridge

torch.manual_seed(0)
SIZE, CONTEXT, N = 3, 5, 20_000
SLOPES = torch.randn(CONTEXT, SIZE)
FACTOR = torch.tensor([[0.3, 0, 0], [-0.2, 0.1, 0], [0.4, 0.05, 0.02]])


def pairs(seed: int, rows: int = N) -> tuple[torch.Tensor, torch.Tensor]:
    """z that is linear in the features with correlated errors."""
    rng = torch.Generator().manual_seed(seed)
    features = 3 + 2 * torch.randn(rows, CONTEXT, generator=rng)
    return features @ SLOPES + torch.randn(rows, SIZE, generator=rng) @ FACTOR.T, features


def network(**keys) -> LinearFirst:
    built = nsf.Config(linear=True, hidden=[16], **keys).build(SIZE, CONTEXT)
    assert isinstance(built, LinearFirst)
    return built


def test_it_starts_at_the_exact_density_of_a_linear_gaussian_problem():
    started = network()
    started.begin(*pairs(1))
    z, features = pairs(2, 2_000)
    exact = torch.distributions.MultivariateNormal(features @ SLOPES, scale_tril=FACTOR)
    log_q = started.log_prob(z, features).detach()
    assert float((log_q - exact.log_prob(z)).mean()) == pytest.approx(0, abs=0.01)
    assert float((log_q - exact.log_prob(z)).abs().mean()) < 0.04
    [draws] = started.transport(torch.randn(1, 50_000, SIZE), features[:1])
    np.testing.assert_allclose(draws.mean(0).detach(), exact.mean[0], atol=0.01)
    np.testing.assert_allclose(np.cov(draws.detach().T), FACTOR @ FACTOR.T, atol=0.004)


def test_draws_and_densities_are_of_one_map():
    started = network(transforms=2)
    started.begin(*pairs(1))
    with torch.no_grad():
        for parameter in started.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    _, features = pairs(3, 4)
    noise = torch.randn(4, 6, SIZE)
    z = started.transport(noise, features)
    squares, _ = started.noise(z.flatten(0, 1), features.repeat_interleave(6, 0))
    np.testing.assert_allclose(
        squares.detach(), noise.square().flatten(0, 1).T, rtol=2e-3, atol=2e-3
    )


def test_the_regression_keeps_its_digits_where_networks_compute_in_bfloat16():
    started = network()
    started.begin(*pairs(1))
    z, features = pairs(2, 200)
    exact, _ = _inner([started], z, features)
    with torch.autocast("cpu", torch.bfloat16):
        inner, _ = _inner([started], z, features.bfloat16().float())
    rounded, _ = _inner([started], z, features.bfloat16().float())
    assert inner.dtype == torch.float32
    np.testing.assert_array_equal(inner.detach(), rounded.detach())
    assert float((inner - exact).detach().abs().max()) > 0  # only what the features have lost


def test_several_side_by_side_are_each_alone():
    networks = [network() for _ in range(3)]
    z, features = zip(*(pairs(seed, 50) for seed in range(3)), strict=True)
    for seed, one in enumerate(networks):
        one.begin(*pairs(10 + seed, 500))
    together = LinearFirst.side_by_side(networks, torch.stack(z), torch.stack(features))
    for row, one, own_z, own in zip(together, networks, z, features, strict=True):
        np.testing.assert_allclose(
            row.detach(), one.log_prob(own_z, own).detach(), rtol=1e-4, atol=1e-4
        )


def test_columns_that_are_independent_stay_so():
    alone = network(passes=1)
    alone.begin(*pairs(1))
    _, features = pairs(2, 1)
    [draws] = alone.transport(torch.randn(1, 50_000, SIZE), features)
    correlations = np.corrcoef(draws.detach().T)
    assert np.abs(correlations - np.eye(SIZE)).max() < 0.03


def test_weights_of_before_there_was_a_regression_load_and_give_their_densities():
    old = network()
    state = {
        name: value
        for name, value in old.state_dict().items()
        if not name.startswith("start_") and name != "mix"
    }
    state["weight"] = torch.randn(CONTEXT, 2 * SIZE)
    loaded = network()
    loaded.begin(*pairs(1))
    loaded.load_state_dict(state)
    z, features = pairs(2, 20)
    shift, log_scale = (features @ state["weight"]).chunk(2, -1)
    log_scale = 12 * torch.tanh(log_scale / 12)
    normal = torch.distributions.Normal(shift, log_scale.exp())
    np.testing.assert_allclose(
        loaded.log_prob(z, features).detach(), normal.log_prob(z).sum(-1), rtol=1e-4, atol=1e-3
    )


def test_features_that_say_nothing_leave_the_mean_and_the_covariance():
    started = network()
    z, _ = pairs(1, 400)
    started.begin(z, torch.zeros(400, CONTEXT))
    log_q = started.log_prob(z, torch.zeros(400, CONTEXT)).detach()
    exact = torch.distributions.MultivariateNormal(z.mean(0), torch.cov(z.T))
    assert float((log_q - exact.log_prob(z)).abs().max()) < 0.1


def test_the_penalty_follows_the_signal_and_the_covariance_that_of_new_rows():
    rng = np.random.default_rng(0)
    design = rng.standard_normal((200, 100))
    targets = np.stack([design[:, 0] * 3, np.zeros(200)], 1) + rng.standard_normal((200, 2))
    fit = ridge(design, targets)
    new = rng.standard_normal((20_000, 100))
    left = np.stack([new[:, 0] * 3, np.zeros(20_000)], 1) - new @ fit.weights
    assert fit.weights[0, 0] == pytest.approx(3, abs=0.6)
    assert np.abs(fit.weights[:, 1]).max() < 0.15
    assert fit.covariance().diagonal() == pytest.approx(left.var(0) + 1, rel=0.35)
