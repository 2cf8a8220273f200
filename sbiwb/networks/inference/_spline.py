r"""Monotone rational-quadratic splines with gradients in closed form: few passes over memory where
autograd takes hundreds.

Parameters are those of zuko's `MonotonicRQSTransform`, and so are the values. With raw widths and
heights u, raw log-slopes v, the bound B and the least slope e,

    W = softmax(u / (1 + |2 u / log e|)),   X_k = B (2 sum_{j<k} W_j - 1),
    d = exp(v / (1 + |v / log e|)),   d_0 = d_K = 1

and in the bin k that holds x, with width w, height h, s = h / w, t = (x - X_k) / w and q = t (1 -
t),

    y  = Y_k + h (s t^2 + d_0 q) / D,      D = s + (d_0 + d_1 - 2 s) q,
    y' = s^2 (d_1 t^2 + 2 s q + d_0 (1 - t)^2) / D^2.

Only six numbers of one bin meet x; the gradient of the others follows from theirs by the sums
above. With two more rows of parameters, m and a, an affine map comes first, as zuko's
`MonotonicAffineTransform`: x exp(a / (1 + |a / log e|)) + m.

Everything is feature-first: x (D, B), phi (D, R, B) with R = 3 K - 1 or 3 K + 1 rows, the batch
contiguous.

References:
    Durkan, Bekasov, Murray & Papamakarios (2019), Neural Spline Flows,
    https://arxiv.org/abs/1906.04032
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sbiwb.networks import compiled_flow
from sbiwb.networks.autograd import NodeContext

BOUND = 5.0
LOG_SLOPE = math.log(1e-3)


def forward(x: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
    """y (D, B) and the log-determinant (B,) of x (D, B) under the parameters phi (D, R, B)."""
    if compiled_flow.kernels(x, phi.shape[1]):
        return _Native.apply(x.contiguous(), phi.contiguous())
    if not _affine(phi):
        y, log_slope = _Spline.apply(x, phi)
        return y, log_slope.sum(0)
    shift, log_scale = phi[:, 0], _squash(phi[:, 1], 1 / LOG_SLOPE)[0]
    y, log_slope = _Spline.apply(x * log_scale.exp() + shift, phi[:, 2:])
    return y, (log_slope + log_scale).sum(0)


def inverse(y: Tensor, phi: Tensor) -> Tensor:
    """x (D, B) of y (D, B) under the parameters of `forward`; where it needs gradients, they are
    autograd's.
    """
    if not (torch.is_grad_enabled() and (y.requires_grad or phi.requires_grad)):
        kernels = compiled_flow.kernels(y, phi.shape[1])
        if kernels:
            return kernels.inverse(y.contiguous(), phi.contiguous())
    if not _affine(phi):
        return _inverse(y, phi)
    log_scale = _squash(phi[:, 1], 1 / LOG_SLOPE)[0]
    return (_inverse(y, phi[:, 2:]) - phi[:, 0]) * (-log_scale).exp()


def _affine(phi: Tensor) -> bool:
    return phi.shape[1] % 3 == 1


def _inverse(y: Tensor, phi: Tensor) -> Tensor:
    """x (D, B) of y (D, B), without the affine map, by operations of autograd."""
    bins = _Knots(phi).bin(y, axis=1)
    (w, h), (d0, d1) = bins.size.unbind(1), bins.slopes.unbind(1)
    s, rise = h / w, (y - bins.start[:, 1]).clamp(min=0)
    bend = rise * (d0 + d1 - 2 * s)
    t = _smaller_root(h * (s - d0) + bend, h * d0 - bend, -s * rise).clamp(0, 1)
    return torch.where(bins.inside, bins.start[:, 0] + t * w, y)


def _smaller_root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """t with a t^2 + b t + c = 0, without cancellation."""
    return 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=1e-30).sqrt())


def _squash(raw: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """raw / (1 + |scale raw|), and its derivative."""
    shrink = (1 + (scale * raw).abs()).reciprocal()
    return raw * shrink, shrink.square()


class _NativeContext(NodeContext):
    kernels: compiled_flow.Kernels


class _Native(torch.autograd.Function):
    """The kernels as one node of autograd."""

    @staticmethod
    def forward(ctx: _NativeContext, x: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        kernels = compiled_flow.kernels(x, phi.shape[1])
        assert kernels is not None
        ctx.kernels = kernels
        ctx.save_for_backward(x, phi)
        return kernels.forward(x, phi)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _NativeContext, g_y: Tensor, g_l: Tensor) -> tuple[Tensor, Tensor]:
        x, phi = ctx.saved_tensors
        return ctx.kernels.backward(x, phi, g_y.contiguous(), g_l.contiguous())


class _Bin(NamedTuple):
    """The bin that holds each value of x or y (D, B).

    Args:
        k: Its number, (D, 1, B).
        size: Its width and height, (D, 2, B).
        start: X_k and Y_k, (D, 2, B).
        slopes: d_0 and d_1, (D, 2, B).
        inside: Whether the value lies between the bounds, (D, B).
    """

    k: Tensor
    size: Tensor
    start: Tensor
    slopes: Tensor
    inside: Tensor


class _Knots:
    """Widths, heights and slopes of all bins.

    The squashing bounds them, so the softmax need not shift by its largest term; torch's own is
    slow on few bins.
    """

    def __init__(self, phi: Tensor) -> None:
        bins = (phi.shape[1] + 1) // 3
        sizes, log_slopes = phi[:, : 2 * bins].unflatten(1, (2, bins)), phi[:, 2 * bins :]
        squashed, self.squash_grad = _squash(sizes, 2 / LOG_SLOPE)
        weights = squashed.exp()
        sums = weights.cumsum(2)
        norm = sums[:, :, -1:].reciprocal()
        self.shares = weights * norm  # of widths and heights, (D, 2, K, B)
        self.ends = sums * (2 * BOUND * norm) - BOUND
        with_ends = torch.nn.functional.pad(log_slopes, (0, 0, 1, 1))
        self.log_slopes, self.slope_grad = _squash(with_ends, 1 / LOG_SLOPE)

    def bin(self, value: Tensor, axis: int) -> _Bin:
        """The bin that holds a value (D, B) of x (axis 0) or y (1)."""
        k = (self.ends[:, axis, :-1] < value[:, None]).sum(1, keepdim=True)
        both = k[:, None].expand(-1, 2, -1, -1)
        size = 2 * BOUND * self.shares.gather(2, both)[:, :, 0]
        start = self.ends.gather(2, both)[:, :, 0] - size
        slopes = self.log_slopes.gather(1, torch.cat([k, k + 1], 1)).exp()
        return _Bin(k, size, start, slopes, (value > -BOUND) & (value <= BOUND))


class _Terms(NamedTuple):
    """y = Y + h N / D and y' = s^2 M / D^2 of a place t in a bin: q, N, D and M."""

    q: Tensor
    numerator: Tensor
    denominator: Tensor
    slope: Tensor


def _terms(t: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> _Terms:
    q = t * (1 - t)
    numerator = s * t.square() + d0 * q
    denominator = s + (d0 + d1 - 2 * s) * q
    slope = d1 * t.square() + 2 * s * q + d0 * (1 - t).square()
    return _Terms(q, numerator, denominator, slope)


class _Spline(torch.autograd.Function):
    """y and log |dy/dx|, both (D, B), without the affine map, in torch operations.

    For other devices, float64 and compilation.
    """

    @staticmethod
    def forward(ctx: NodeContext, x: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        knots = _Knots(phi)
        bins = knots.bin(x, axis=0)
        width, height = bins.size.unbind(1)
        t = ((x - bins.start[:, 0]) / width).clamp_(0, 1)
        s = height / width
        terms = _terms(t, s, *bins.slopes.unbind(1))
        y = bins.start[:, 1] + height * terms.numerator / terms.denominator
        log_jacobian = (s.square() * terms.slope / terms.denominator.square()).log_()
        ctx.save_for_backward(t, *bins, knots.shares, knots.squash_grad, knots.slope_grad)
        return torch.where(bins.inside, y, x), torch.where(bins.inside, log_jacobian, 0.0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: NodeContext, g_y: Tensor, g_l: Tensor) -> tuple[Tensor, Tensor]:
        t, k, size, start, slopes, inside, shares, squash_grad, slope_grad = ctx.saved_tensors
        bins = _Bin(k, size, start, slopes, inside)
        grads = _bin_gradients(
            t, bins, torch.where(inside, g_y, 0.0), torch.where(inside, g_l, 0.0)
        )
        g_phi = torch.cat(
            [_to_shares(grads, bins, shares, squash_grad), _to_slopes(grads, k, slope_grad)], 1
        )
        return torch.where(inside, grads.x, g_y), g_phi


class _BinGradients(NamedTuple):
    """Gradients of x (D, B), and of the six numbers of its bin: start, size and raw slopes."""

    x: Tensor
    start: Tensor
    size: Tensor
    d0: Tensor
    d1: Tensor


def _bin_gradients(t: Tensor, bins: _Bin, g_y: Tensor, g_l: Tensor) -> _BinGradients:
    """From the gradients of y and the log-slope, (D, B) each."""
    (w, h), (d0, d1) = bins.size.unbind(1), bins.slopes.unbind(1)
    s = h / w
    q, numerator, denominator, slope = _terms(t, s, d0, d1)
    ratio, bend = numerator / denominator, 1 - 2 * q
    # of h N / D, of log M and of 2 log D
    g_hy, g_m, g_d = g_y * h / denominator, g_l / slope, 2 * g_l / denominator
    slope_t = 2 * (d1 * t - d0 * (1 - t) + s * (1 - 2 * t))
    g_t = g_y * s * w * slope / denominator.square() * s + g_m * slope_t
    g_t = g_t - g_d * (d0 + d1 - 2 * s) * (1 - 2 * t)
    g_s = g_hy * (t.square() - ratio * bend) + 2 * g_l / s + 2 * g_m * q - g_d * bend
    g_d0 = (g_hy * (1 - ratio) * q + g_m * (1 - t).square() - g_d * q) * d0
    g_d1 = (-g_hy * ratio * q + g_m * t.square() - g_d * q) * d1
    g_size = torch.stack([-(t * g_t + s * g_s) / w, g_y * ratio + g_s / w], 1)  # of w and h
    g_start = torch.stack([-g_t / w, g_y], 1)  # of X and Y
    return _BinGradients(g_t / w, g_start, g_size, g_d0, g_d1)


def _to_shares(grads: _BinGradients, bins: _Bin, shares: Tensor, squash_grad: Tensor) -> Tensor:
    """Gradient of the raw widths and heights, (D, 2 K, B).

    Bins before k move the start, bin k its size, and all share one sum.
    """
    k = bins.k
    mean = grads.start * (bins.start + BOUND) + grads.size * bins.size
    before = torch.arange(shares.shape[2], device=k.device)[:, None] < k  # (D, K, B)
    each = before[:, None] * (2 * BOUND * grads.start)[:, :, None]
    own = (2 * BOUND * grads.size)[:, :, None]
    each.scatter_(2, k[:, None].expand(-1, 2, -1, -1), own)
    return each.sub_(mean[:, :, None]).mul_(shares).mul_(squash_grad).flatten(1, 2)


def _to_slopes(grads: _BinGradients, k: Tensor, slope_grad: Tensor) -> Tensor:
    """Gradient of the raw log-slopes, (D, K - 1, B); those at the two bounds are fixed."""
    grad = torch.zeros_like(slope_grad)
    grad.scatter_(1, torch.cat([k, k + 1], 1), torch.stack([grads.d0, grads.d1], 1))
    return (grad * slope_grad)[:, 1:-1]
