"""Independent columns: each given the features alone, discrete or not."""

from __future__ import annotations

import pytest
import torch

from sbiwb.networks import mixed
from sbiwb.networks.inference import family

SHARES = {0: (0.2, 0.8), 2: (0.5, 0.3, 0.2)}


@pytest.fixture
def network():
    torch.manual_seed(0)
    part = family.parse({"kind": "nsf", "transforms": 2, "passes": 1, "linear": True})
    network = mixed.build(part, 4, 3, discrete=SHARES, circular=())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


def test_untrained_heads_are_the_training_shares():
    part = family.parse({"kind": "nsf", "passes": 1})
    network = mixed.build(
        part, 3, 2, discrete={0: (0.2, 0.8), 1: (0.5, 0.5), 2: (1.0,)}, circular=()
    )
    z = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    log_mass = network.log_prob(z, torch.randn(2, 2)).detach()
    assert log_mass.exp().tolist() == pytest.approx([0.1, 0.4])


def test_columns_are_independent_given_the_features(network):
    features, torch_z = torch.randn(1, 3), torch.tensor
    z = torch_z([[0.0, 0.3, 1.0, -0.4]])
    changed = [torch_z([[1.0, 0.3, 1.0, -0.4]]), torch_z([[0.0, -1.0, 1.0, -0.4]])]
    both = torch_z([[1.0, -1.0, 1.0, -0.4]])
    density = lambda at: network.log_prob(at, features).detach()  # noqa: E731
    apart = (density(changed[0]) - density(z)) + (density(changed[1]) - density(z))
    assert float(density(both) - density(z)) == pytest.approx(float(apart), abs=1e-4)


def test_masses_of_all_levels_sum_to_one(network):
    features = torch.randn(1, 3)
    masses = [
        network.log_prob(torch.tensor([[a, 0.0, b, 0.0]]), features).exp().detach()
        for a in (0.0, 1.0)
        for b in (0.0, 1.0, 2.0)
    ]
    alone = network.flow.log_prob(torch.zeros(1, 2), features).exp().detach()
    assert float(sum(masses)) == pytest.approx(float(alone), rel=1e-4)


def test_draws_have_the_masses_of_the_density(network):
    features = torch.randn(1, 3)
    with torch.no_grad():
        z = network.transport(torch.randn(1, 20_000, 4), features)[0]
        own = network.heads(features).exp()
    for place, column in enumerate((0, 2)):
        for level in range(len(SHARES[column])):
            share = float((z[:, column] == level).float().mean())
            assert share == pytest.approx(float(own[place, 0, level]), abs=0.015)


def test_a_linear_location_and_scale_keep_density_and_draws_together():
    torch.manual_seed(1)
    part = family.parse({"kind": "nsf", "transforms": 2, "linear": True, "temperature": "fitted"})
    network = part.build(2, 3).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.temper(torch.tensor(0.2))
    features = torch.randn(1, 3)
    noise = torch.randn(1, 500, 2)
    z = network.transport(noise, features)[0].detach().requires_grad_()
    squares, log_det = network.noise(z, features.expand(500, -1))
    squared = squares.sum(0)
    # noise of the draws is what they were made from, times the temperature
    assert squared.detach() == pytest.approx(
        (noise[0] ** 2).sum(-1) * torch.exp(torch.tensor(0.4)), rel=2e-2
    )
    log_q = network.log_prob(z, features.expand(500, -1))
    scaled = squared * torch.exp(torch.tensor(-0.4))
    expected = log_det - 0.5 * scaled - torch.log(torch.tensor(2 * torch.pi)) - 0.4
    assert log_q.detach() == pytest.approx(expected.detach(), rel=1e-3, abs=1e-3)
    side = type(network).side_by_side(
        [network, network], torch.stack([z, z]), features.expand(2, 500, -1)
    )
    assert side[1].detach() == pytest.approx(log_q.detach() + 0, rel=1e-3, abs=1e-3)
