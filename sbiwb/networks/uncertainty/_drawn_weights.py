"""One draw of Bayesian weights and their divergence from the prior, as one node of autograd."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sbiwb.networks.autograd import NodeContext

BOUND = 18.0  # beyond which zuko clips log-variances softly


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """All numbers, end to end."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _split_like(values: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Numbers laid end to end, in the shapes of these tensors."""
    pieces = values.split([tensor.numel() for tensor in tensors])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, tensors, strict=True)]


class _DrawnContext(NodeContext):
    prior_var: float


class DrawnWeights(torch.autograd.Function):
    """The divergence of all weights from their prior, and one draw of each parameter, with
    gradients in closed form.

    Passes over memory are what it costs, so there are as few as can be: sums of squares are dot
    products, and gradients are made in place.
    """

    @staticmethod
    def forward(
        ctx: _DrawnContext, log_variance: Tensor, prior_var: float, *means: Tensor
    ) -> tuple[Tensor, ...]:
        mean = _flat(means)
        clipped, shrink = softclip(log_variance)
        total = clipped.sum()
        deviation = clipped.mul_(0.5).exp_()
        noise = torch.randn_like(mean)
        drawn = torch.addcmul(mean, deviation, noise)
        squares = (mean.dot(mean) + deviation.dot(deviation)) / prior_var
        divergence = 0.5 * (squares - total + len(mean) * (math.log(prior_var) - 1))
        ctx.save_for_backward(mean, deviation, noise, shrink)
        ctx.prior_var = prior_var
        return divergence, *_split_like(drawn, means)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _DrawnContext, grad: Tensor, *grads: Tensor) -> tuple[Tensor | None, ...]:
        mean, deviation, noise, shrink = ctx.saved_tensors
        g_drawn, g_square = _flat(grads), grad / ctx.prior_var
        g_clipped = noise.mul_(g_drawn).addcmul_(deviation, g_square)
        g_clipped.mul_(deviation).sub_(grad).mul_(0.5)
        g_log_variance = g_clipped.mul_(shrink).mul_(shrink).mul_(shrink)
        g_mean = g_drawn.addcmul_(mean, g_square)
        return g_log_variance, None, *_split_like(g_mean, grads)


def softclip(raw: Tensor) -> tuple[Tensor, Tensor]:
    """zuko's soft clip of log-variances, x / sqrt(1 + (x / BOUND)^2), and the factor of x; the cube
    of that is the derivative.
    """
    shrink = torch.addcmul(raw.new_ones(()), raw, raw, value=BOUND**-2).rsqrt_()
    return raw * shrink, shrink
