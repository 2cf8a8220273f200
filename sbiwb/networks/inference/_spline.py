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
from typing import Any

import torch
from torch import Tensor

from sbiwb.networks import compiled_flow

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
    native = (
        None
        if torch.is_grad_enabled() and (y.requires_grad or phi.requires_grad)
        else compiled_flow.kernels(y, phi.shape[1])
    )
    if native:
        return native.inverse(y.contiguous(), phi.contiguous())
    if not _affine(phi):
        return _inverse(y, phi)
    return (_inverse(y, phi[:, 2:]) - phi[:, 0]) * (-_squash(phi[:, 1], 1 / LOG_SLOPE)[0]).exp()


def _affine(phi: Tensor) -> bool:
    return phi.shape[1] % 3 == 1


def _inverse(y: Tensor, phi: Tensor) -> Tensor:
    knots = _Knots(phi)
    _, size, start, slopes, inside = knots.bin(y, axis=1)
    (w, h), (d0, d1) = size.unbind(1), slopes.unbind(1)
    s, rise = h / w, (y - start[:, 1]).clamp(min=0)
    bend = rise * (d0 + d1 - 2 * s)
    a, b, c = h * (s - d0) + bend, h * d0 - bend, -s * rise
    t = (2 * c / (-b - (b.square() - 4 * a * c).clamp(min=1e-30).sqrt())).clamp(0, 1)
    return torch.where(inside, start[:, 0] + t * w, y)


def _squash(raw: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """raw / (1 + |scale raw|), and its derivative."""
    shrink = (1 + (scale * raw).abs()).reciprocal()
    return raw * shrink, shrink.square()


class _Native(torch.autograd.Function):
    """The kernels as one node of autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        ctx.kernels = compiled_flow.kernels(x, phi.shape[1])
        ctx.save_for_backward(x, phi)
        return ctx.kernels.forward(x, phi)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        return ctx.kernels.backward(*ctx.saved_tensors, *(grad.contiguous() for grad in grads))


class _Knots:
    """Widths, heights and slopes of all bins.

    The squashing bounds them, so the softmax need not shift by its largest term; torch's own is
    slow on few bins.
    """

    def __init__(self, phi: Tensor) -> None:
        bins = (phi.shape[1] + 1) // 3
        squashed, self.squash_grad = _squash(
            phi[:, : 2 * bins].unflatten(1, (2, bins)), 2 / LOG_SLOPE
        )
        weights = squashed.exp()
        sums = weights.cumsum(2)
        norm = sums[:, :, -1:].reciprocal()
        self.shares = weights * norm  # of widths and heights, (D, 2, K, B)
        self.ends = sums * (2 * BOUND * norm) - BOUND
        self.log_slopes, self.slope_grad = _squash(
            torch.nn.functional.pad(phi[:, 2 * bins :], (0, 0, 1, 1)), 1 / LOG_SLOPE
        )

    def bin(self, value: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The bin (D, 1, B) that holds a value (D, B) of x (axis 0) or y (1): size and start of
        both, two slopes, and whether inside.
        """
        k = (self.ends[:, axis, :-1] < value[:, None]).sum(1, keepdim=True)
        both = k[:, None].expand(-1, 2, -1, -1)
        size = 2 * BOUND * self.shares.gather(2, both)[:, :, 0]
        start = self.ends.gather(2, both)[:, :, 0] - size
        slopes = self.log_slopes.gather(1, torch.cat([k, k + 1], 1)).exp()
        return k, size, start, slopes, (value > -BOUND) & (value <= BOUND)


def _terms(t: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, numerator and denominator of y, and the factor M of its slope: y = Y + h N / D, y' = s^2 M
    / D^2.
    """
    q = t * (1 - t)
    numerator = s * t.square() + d0 * q
    denominator = s + (d0 + d1 - 2 * s) * q
    slope = d1 * t.square() + 2 * s * q + d0 * (1 - t).square()
    return q, numerator, denominator, slope


class _Spline(torch.autograd.Function):
    """y and log |dy/dx|, both (D, B), without the affine map, in torch operations: for other
    devices, float64 and compilation.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        knots = _Knots(phi)
        k, size, start, slopes, inside = knots.bin(x, axis=0)
        t = ((x - start[:, 0]) / size[:, 0]).clamp_(0, 1)
        s = size[:, 1] / size[:, 0]
        _, numerator, denominator, slope = _terms(t, s, *slopes.unbind(1))
        y = start[:, 1] + size[:, 1] * numerator / denominator
        log_jacobian = (s.square() * slope / denominator.square()).log_()
        ctx.save_for_backward(
            t, size, start, slopes, knots.shares, knots.squash_grad, knots.slope_grad, k, inside
        )
        return torch.where(inside, y, x), torch.where(inside, log_jacobian, 0.0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        t, size, start, slopes, shares, squash_grad, slope_grad, k, inside = ctx.saved_tensors
        g_y, g_l = (torch.where(inside, grad, 0.0) for grad in grads)
        (w, h), (d0, d1) = size.unbind(1), slopes.unbind(1)
        s = h / w
        q, numerator, denominator, slope = _terms(t, s, d0, d1)
        ratio, bend = numerator / denominator, 1 - 2 * q
        g_hy, g_m, g_d = (
            g_y * h / denominator,
            g_l / slope,
            2 * g_l / denominator,
        )  # of h N / D, log M and 2 log D
        slope_t = 2 * (d1 * t - d0 * (1 - t) + s * (1 - 2 * t))
        g_t = (
            g_y * s * w * slope / denominator.square() * s
            + g_m * slope_t
            - g_d * (d0 + d1 - 2 * s) * (1 - 2 * t)
        )
        g_s = g_hy * (t.square() - ratio * bend) + 2 * g_l / s + 2 * g_m * q - g_d * bend
        g_d0 = (g_hy * (1 - ratio) * q + g_m * (1 - t).square() - g_d * q) * d0
        g_d1 = (-g_hy * ratio * q + g_m * t.square() - g_d * q) * d1
        g_size = torch.stack([-(t * g_t + s * g_s) / w, g_y * ratio + g_s / w], 1)  # of w and h
        g_start = torch.stack([-g_t / w, g_y], 1)  # of X and Y
        g_phi = torch.cat(
            [
                _to_shares(g_start, g_size, start, size, shares, k, squash_grad),
                _to_slopes(g_d0, g_d1, k, slope_grad),
            ],
            1,
        )
        return torch.where(inside, g_t / w, grads[0]), g_phi


def _to_shares(
    g_start: Tensor,
    g_size: Tensor,
    start: Tensor,
    size: Tensor,
    shares: Tensor,
    k: Tensor,
    squash_grad: Tensor,
) -> Tensor:
    """Gradient of the raw widths and heights, (D, 2 K, B): bins before k move the start, bin k its
    size, and all share one sum.
    """
    mean = g_start * (start + BOUND) + g_size * size
    before = torch.arange(shares.shape[2], device=k.device)[:, None] < k  # (D, K, B)
    each = before[:, None] * (2 * BOUND * g_start)[:, :, None]
    each.scatter_(2, k[:, None].expand(-1, 2, -1, -1), (2 * BOUND * g_size)[:, :, None])
    return each.sub_(mean[:, :, None]).mul_(shares).mul_(squash_grad).flatten(1, 2)


def _to_slopes(g_d0: Tensor, g_d1: Tensor, k: Tensor, slope_grad: Tensor) -> Tensor:
    """Gradient of the raw log-slopes, (D, K - 1, B); those at the two bounds are fixed."""
    grad = torch.zeros_like(slope_grad).scatter_(
        1, torch.cat([k, k + 1], 1), torch.stack([g_d0, g_d1], 1)
    )
    return (grad * slope_grad)[:, 1:-1]
