"""Closed-form splines against zuko's: values, gradients, inverse, both sides of the bounds."""

import pytest
import torch
from zuko.transforms import MonotonicRQSTransform

from sbiwb.networks.inference import _spline


@pytest.fixture(params=[2, 8, 13])
def case(request):
    """x (50, 3) reaching beyond the bounds, and raw parameters of K bins."""
    bins, rng = request.param, torch.Generator().manual_seed(0)
    x = 4 * torch.randn(50, 3, generator=rng).double()
    phi = 2 * torch.randn(50, 3, 3 * bins - 1, generator=rng).double()
    return x.requires_grad_(), phi.requires_grad_(), bins


def reference(phi, bins):
    return MonotonicRQSTransform(*phi.split([bins, bins, bins - 1], -1))


def test_values_are_zukos(case):
    x, phi, bins = case
    assert (x.abs() > _spline.BOUND).any() and (x.abs() < _spline.BOUND).any()
    for ours, zukos in zip(_spline.forward(x, phi), reference(phi, bins).call_and_ladj(x), strict=True):
        assert torch.allclose(ours, zukos, atol=1e-10)


def test_gradients_are_those_of_autograd(case):
    x, phi, bins = case
    weight, other = torch.randn_like(x), torch.randn_like(x)

    def gradients(y, log_slope):
        return torch.autograd.grad((weight * y + other * log_slope).sum(), (x, phi))

    for ours, zukos in zip(gradients(*_spline.forward(x, phi)), gradients(*reference(phi, bins).call_and_ladj(x)), strict=True):
        assert torch.allclose(ours, zukos, atol=1e-9)


def test_inverse_inverts(case):
    x, phi, bins = case
    y, _ = _spline.forward(x, phi)
    assert torch.allclose(_spline.inverse(y, phi), x, atol=1e-9)
    assert torch.allclose(_spline.inverse(x, phi), reference(phi, bins).inv(x), atol=1e-9)


def test_the_knots_themselves_and_the_bounds():
    phi = torch.zeros(1, 5, 23)  # zero parameters: the identity
    x = torch.tensor([[-5.0, -1.25, 0.0, 1.25, 5.0]])
    y, log_slope = _spline.forward(x, phi)
    assert torch.allclose(y, x, atol=1e-6) and torch.allclose(log_slope, torch.zeros(1, 5), atol=1e-6)
