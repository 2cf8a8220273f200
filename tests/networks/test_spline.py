"""Closed-form splines against zuko's: values, gradients, inverse, both sides of the bounds; and the
kernels in C against them.
"""

import pytest
import torch
from zuko.transforms import ComposedTransform, MonotonicAffineTransform, MonotonicRQSTransform

from sbiwb.kernels import compiled
from sbiwb.networks import compiled_flow
from sbiwb.networks.inference import _spline


@pytest.fixture(params=[(bins, affine) for bins in (2, 8, 13) for affine in (False, True)], ids=str)
def case(request):
    """x (3, 50) reaching beyond the bounds, and raw parameters of K bins, with an affine map first
    or without.
    """
    (bins, affine), rng = request.param, torch.Generator().manual_seed(0)
    x = 4 * torch.randn(3, 50, generator=rng).double()
    phi = 2 * torch.randn(3, 3 * bins - 1 + 2 * affine, 50, generator=rng).double()
    return x.requires_grad_(), phi.requires_grad_(), bins, affine


def reference(phi, bins, affine):
    parts = phi.movedim(1, -1).split([1] * (2 * affine) + [bins, bins, bins - 1], -1)
    spline = MonotonicRQSTransform(*parts[-3:])
    return (
        ComposedTransform(MonotonicAffineTransform(parts[0][..., 0], parts[1][..., 0]), spline)
        if affine
        else spline
    )


def values(phi, bins, affine, x):
    y, log_slope = reference(phi, bins, affine).call_and_ladj(x)
    return y, log_slope.sum(0)


def test_values_are_zukos(case):
    x, *phi = case
    assert (x.abs() > _spline.BOUND).any() and (x.abs() < _spline.BOUND).any()
    for ours, zukos in zip(_spline.forward(x, phi[0]), values(*phi, x), strict=True):
        assert torch.allclose(ours, zukos, atol=1e-10)


def gradients(x, phi, y, log_det):
    rng = torch.Generator().manual_seed(1)
    weight, other = torch.randn(3, 50, generator=rng), torch.randn(50, generator=rng)
    return torch.autograd.grad((weight.to(y) * y).sum() + (other.to(y) * log_det).sum(), (x, phi))


def test_gradients_are_those_of_autograd(case):
    x, *phi = case
    for ours, zukos in zip(
        gradients(x, phi[0], *_spline.forward(x, phi[0])),
        gradients(x, phi[0], *values(*phi, x)),
        strict=True,
    ):
        assert torch.allclose(ours, zukos, atol=1e-9)


def test_inverse_inverts(case):
    x, *phi = case
    y, _ = _spline.forward(x, phi[0])
    assert torch.allclose(_spline.inverse(y, phi[0]), x, atol=1e-9)
    assert torch.allclose(_spline.inverse(x, phi[0]), reference(*phi).inv(x), atol=1e-9)


def test_the_knots_themselves_and_the_bounds():
    phi = torch.zeros(5, 23, 1)  # zero parameters: the identity
    x = torch.tensor([[-5.0, -1.25, 0.0, 1.25, 5.0]]).t()
    y, log_det = _spline.forward(x, phi)
    assert torch.allclose(y, x, atol=1e-6) and torch.allclose(log_det, torch.zeros(1), atol=1e-6)


@pytest.mark.parametrize("batch", [16, 17, 50])
def test_kernels_give_the_same_numbers(case, batch):
    """Kernels in float32 against torch operations in float64, at batches that fill whole vectors
    and that do not.
    """
    x, phi = (value.detach()[..., :batch] for value in case[:2])
    single = [value.float().contiguous().requires_grad_() for value in (x, phi)]
    double = [value.clone().requires_grad_() for value in (x, phi)]
    assert compiled_flow.kernels(single[0], phi.shape[1]) is not None
    ours, exact = _spline.forward(*single), _spline.forward(*double)
    for mine, right in zip(ours, exact, strict=True):
        assert torch.allclose(mine.double(), right, atol=1e-4)
    weights = torch.ones(3, batch), torch.ones(batch)
    grads = [
        torch.autograd.grad((weights[0].to(y) * y).sum() + (weights[1].to(y) * log_det).sum(), both)
        for (y, log_det), both in ((ours, single), (exact, double))
    ]
    for mine, right in zip(*grads, strict=True):
        assert torch.allclose(mine.double(), right, atol=2e-3 * max(1.0, right.abs().max().item()))
    with torch.no_grad():
        assert torch.allclose(
            _spline.inverse(*single).double(), _spline.inverse(*double), atol=1e-3
        )


def test_without_a_compiler_torch_does_it(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", str(tmp_path / "no-such-compiler"))
    monkeypatch.setenv("SBIWB_CACHE", str(tmp_path / "cache"))
    compiled_flow.compiled.cache_clear()
    try:
        x, phi = torch.randn(2, 32), torch.randn(2, 23, 32)
        assert not compiled_flow.available() and compiled_flow.kernels(x, 23) is None
        torch_only = _spline.forward(x, phi)
    finally:
        monkeypatch.undo()
        compiled_flow.compiled.cache_clear()
    for mine, theirs in zip(_spline.forward(x, phi), torch_only, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_kernels_are_kept_where_only_we_can_write(monkeypatch, tmp_path):
    monkeypatch.setenv("SBIWB_CACHE", str(tmp_path / "cache"))
    assert (
        compiled.cache_folder() == tmp_path / "cache"
        and (tmp_path / "cache").stat().st_mode & 0o077 == 0
    )
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv("SBIWB_CACHE", str(tmp_path / "open"))
    assert compiled.cache_folder() != tmp_path / "open"
