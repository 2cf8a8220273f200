"""zuko's masked autoregressive transforms, evaluated with fewer operations; the numbers are zuko's own.

Forward, splines go through `_spline` with its closed-form gradients. Inverse, zuko evaluates the whole network and every univariate
transform once a pass and keeps one column of each; here the context's part of the first layer is computed once, and pass p multiplies
only the rows of the last layer that belong to the columns of p.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.nn import MaskedLinear
from zuko.transforms import MonotonicRQSTransform
from zuko.utils import unpack

from sbiwb.networks.inference import _spline


def forward(transform: Any, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """y (B, D) and the log-determinant (B,) of one transform at x (B, D) with context features (B, H)."""
    if not _is_spline(transform):
        return transform(features).call_and_ladj(x)
    known = torch.cat([x, features], -1) if isinstance(transform, MaskedAutoregressiveTransform) else features
    y, log_slope = _spline.forward(x, transform.hyper(known).unflatten(-1, (-1, transform.total)))
    return y, log_slope.sum(-1)


def inverse(transform: Any, y: Tensor, features: Tensor) -> Tensor:
    """x (B, D) whose forward is y (B, D), with context features (B, H)."""
    if not isinstance(transform, MaskedAutoregressiveTransform):
        return _univariate_inverse(transform, transform.hyper(features).unflatten(-1, (-1, transform.total)), y)
    first, *middle, last = transform.hyper
    weight, context = _masked(first).split([y.shape[-1], features.shape[-1]], dim=1)
    known = F.linear(features, context, first.bias)
    x = torch.zeros_like(y)
    for mine, head_weight, head_bias in _heads(transform, last):
        hidden = F.linear(x, weight) + known
        for layer in middle:
            hidden = layer(hidden)
        phi = F.linear(hidden, head_weight, head_bias).unflatten(-1, (len(mine), transform.total))
        x = x.index_copy(-1, mine, _univariate_inverse(transform, phi, y[:, mine]))
    return x


def _is_spline(transform: Any) -> bool:
    return isinstance(transform.univariate, partial) and transform.univariate.func is MonotonicRQSTransform


def _univariate_inverse(transform: Any, phi: Tensor, y: Tensor) -> Tensor:
    return _spline.inverse(y, phi) if _is_spline(transform) else transform.univariate(*unpack(phi, transform.shapes)).inv(y)


def _masked(layer: MaskedLinear) -> Tensor:
    return layer.mask * layer.weight


def _heads(transform: MaskedAutoregressiveTransform, last: MaskedLinear) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(columns, rows of the last layer's weight, of its bias) of each pass."""
    weight = _masked(last).unflatten(0, (-1, transform.total))
    bias = last.bias.unflatten(0, (-1, transform.total))
    passes = [torch.nonzero(transform.order == p)[:, 0] for p in range(int(transform.order.max()) + 1)]
    return [(mine, weight[mine].flatten(0, 1), bias[mine].flatten()) for mine in passes]
