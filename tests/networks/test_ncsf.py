"""Circular columns: densities that close at the seam, see one another as angles, and are learned
across it.
"""

import math

import pytest
import torch
from torch.autograd.functional import jacobian

from sbiwb.errors import ConfigError
from sbiwb.networks.inference import family

H = 3
CASES = [(1, (0,)), (2, (0, 1)), (3, (1,)), (3, (0, 2))]  # columns, those of them that are angles


def build(d, circular, **options):
    return family.parse(
        {"kind": "ncsf", "transforms": 2, "hidden": [16, 16], **options}
    ).build_circular(d, H, circular)


def trained(d, circular, std=0.25):
    net = build(d, circular).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return net


def base_log_prob(noise, circular):
    each = -0.5 * (noise**2 + math.log(2 * math.pi))
    each[..., list(circular)] = -math.log(2 * math.pi)
    return each.sum(-1)


@pytest.mark.parametrize(("d", "circular"), CASES)
def test_untrained_is_uniform_on_the_circle_and_normal_on_the_line(d, circular):
    net, z, h = build(d, circular), torch.rand(200, d) * 6 - 3, torch.randn(200, H)
    assert torch.allclose(net.log_prob(z, h), base_log_prob(z, circular), atol=1e-5)


@pytest.mark.parametrize(("d", "circular"), CASES)
def test_a_turn_changes_nothing_and_the_seam_is_closed(d, circular):
    net, z, h = trained(d, circular), torch.randn(50, d).double(), torch.randn(50, H).double()
    z[:, list(circular)] = math.pi * (2 * torch.rand(50, len(circular)).double() - 1)
    for column in circular:
        turn = 2 * math.pi * torch.eye(d).double()[column]
        assert torch.allclose(net.log_prob(z + turn, h), net.log_prob(z, h), atol=1e-8)
        low, high = z.clone(), z.clone()
        low[:, column], high[:, column] = -math.pi + 1e-9, math.pi - 1e-9
        assert torch.allclose(net.log_prob(low, h), net.log_prob(high, h), atol=1e-6)
        assert (net.log_prob(low, h) - net.log_prob(z, h)).abs().max() > 0.1


@pytest.mark.parametrize(("d", "circular"), CASES)
def test_density_is_that_of_the_draws(d, circular):
    net, noise, h = trained(d, circular), torch.randn(4, d).double(), torch.randn(4, H).double()
    z = net.transport(noise[:, None], h)[:, 0]
    assert ((z >= -math.pi) & (z < math.pi))[:, list(circular)].all()
    for row in range(4):
        dz = jacobian(
            lambda u, row=row: net.transport(u[None, None], h[row : row + 1])[0, 0], noise[row]
        )
        expected = (
            -0.5 * (noise[row] ** 2 + math.log(2 * math.pi)).sum() - torch.linalg.slogdet(dz)[1]
        )
        assert torch.allclose(net.log_prob(z, h)[row], expected, atol=1e-8)


@pytest.mark.parametrize("circular", [(0, 1), (0,), (1,)])
def test_density_integrates_to_one(circular):
    """An angle over the circle, t = z / pi; another column over the line, z = 2 t / (1 - t^2)."""
    net, t = trained(2, circular, 0.15), (torch.arange(200).double() + 0.5) / 100 - 1
    circle, line = (
        (math.pi * t, torch.full_like(t, math.pi)),
        (2 * t / (1 - t**2), 2 * (1 + t**2) / (1 - t**2) ** 2),
    )
    axes = [circle if column in circular else line for column in range(2)]
    z, stretch = (torch.cartesian_prod(*parts) for parts in zip(*axes, strict=True))
    with torch.no_grad():
        density = net.log_prob(z, torch.ones(1, H).double().expand(len(z), -1)).exp()
    total = (density * stretch.prod(-1)).sum() * (2 / 200) ** 2
    assert abs(total.item() - 1) < 3e-3


def test_angles_are_in_range_in_single_precision_too():
    net = trained(2, (0, 1)).float()
    draws = net.transport(
        torch.linspace(-9, 9, 5001)[None, :, None].expand(1, -1, 2), torch.zeros(1, H)
    )
    assert draws.isfinite().all() and (draws >= -math.pi).all() and (draws < math.pi).all()
    assert net.log_prob(draws[0], torch.zeros(5001, H)).isfinite().all()


@pytest.mark.parametrize("concentration", [4.0, 100.0])
def test_learns_a_von_mises_centred_at_the_seam(concentration):
    """x = z + noise around the circle with z uniform: the posterior of z is von Mises around x; the
    features are cos x and sin x.
    """
    net = family.parse({"kind": "ncsf", "transforms": 2, "hidden": [32, 32]}).build_circular(
        1, 2, (0,)
    )
    noise = torch.distributions.VonMises(0.0, concentration)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    for _ in range(600):
        z = math.pi * (2 * torch.rand(256, 1) - 1)
        x = z + noise.sample((256, 1))
        loss = -net.log_prob(z, torch.cat([x.cos(), x.sin()], 1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        z = (math.pi + noise.sample((2000, 1))).remainder(2 * math.pi) - 2 * math.pi * (
            torch.arange(2000)[:, None] % 2
        )
        seam = torch.tensor([[-1.0, 0.0]])
        divergence = (
            noise.log_prob(z[:, 0] - math.pi) - net.log_prob(z, seam.expand(2000, -1))
        ).mean()
        draws = net.transport(torch.randn(1, 4000, 1), seam)[0, :, 0]
    assert abs(divergence.item()) < 0.08
    resultant = torch.complex(draws.cos(), draws.sin()).mean()
    assert (
        abs(resultant.abs().item() - (1 - noise.variance.item())) < 0.03
        and resultant.real < 0
        and abs(resultant.imag) < 0.05
    )
    assert 0.35 < (draws > 0).float().mean() < 0.65


def test_columns_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match=r"circular columns \[2\] of 2"):
        build(2, (2,))
