"""The inverse of a masked autoregressive transform, each pass evaluating only what its own columns need.

zuko's inverse evaluates the whole network and every univariate transform once a pass, and keeps one column of each. Here the context's
part of the first layer is computed once, and pass p multiplies only the rows of the last layer that belong to the columns of p.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.nn import MaskedLinear
from zuko.utils import unpack


def inverse(transform: nn.Module, y: Tensor, features: Tensor) -> Tensor:
    """x (B, D) with transform(features)(x) = y (B, D), the numbers of zuko's own inverse.

    Args:
        transform: An autoregressive transform, or an elementwise one (D = 1).
        y: (B, D).
        features: Context (B, H).
    """
    if not isinstance(transform, MaskedAutoregressiveTransform):
        return transform(features).inv(y)
    first, *middle, last = transform.hyper
    columns = y.shape[-1]
    weight, context = _masked(first).split([columns, features.shape[-1]], dim=1)
    known, heads = F.linear(features, context, first.bias), _heads(transform, last)
    x = torch.zeros_like(y)
    for mine, head_weight, head_bias in heads:
        hidden = F.linear(x, weight) + known
        for layer in middle:
            hidden = layer(hidden)
        phi = F.linear(hidden, head_weight, head_bias).unflatten(-1, (len(mine), transform.total))
        x = x.index_copy(-1, mine, transform.univariate(*unpack(phi, transform.shapes)).inv(y[:, mine]))
    return x


def _masked(layer: MaskedLinear) -> Tensor:
    return layer.mask * layer.weight


def _heads(transform: MaskedAutoregressiveTransform, last: MaskedLinear) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(columns, rows of the last layer's weight, of its bias) of each pass."""
    weight = _masked(last).unflatten(0, (-1, transform.total))
    bias = last.bias.unflatten(0, (-1, transform.total))
    passes = [torch.nonzero(transform.order == p)[:, 0] for p in range(int(transform.order.max()) + 1)]
    return [(mine, weight[mine].flatten(0, 1), bias[mine].flatten()) for mine in passes]
