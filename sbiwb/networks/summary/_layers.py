"""Pieces that summary networks share: multilayer perceptrons, and pooling that never sees the padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.errors import ConfigError

Activation = Literal["relu", "elu", "silu", "gelu", "tanh"]
Width = Annotated[int, Field(ge=1, le=65536)]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Residual(nn.Module):
    """x + W2 a(W1 norm(x)): a pre-normed block, which trains well at high learning rates.

    References:
        Xiong et al. (2020), On Layer Normalization in the Transformer Architecture, https://arxiv.org/abs/2002.04745
    """

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), _ACTIVATIONS[activation](), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _plain(before: int, after: int, activation: str, norm: bool) -> list[nn.Module]:
    return [nn.Linear(before, after), *([nn.LayerNorm(after)] if norm else []), _ACTIVATIONS[activation]()]


def mlp(
    channels: int,
    hidden: Sequence[int],
    features: int | None,
    *,
    activation: str = "relu",
    norm: bool = False,
    residual: bool = False,
) -> nn.Sequential:
    """A multilayer perceptron on the last axis; without `features` it ends after its last hidden layer.

    With `residual` the first layer is linear, each further one as wide as the one before a residual block, and a norm comes at the end.
    """
    widths, layers = [channels, *hidden], list[nn.Module]()
    for depth, (before, after) in enumerate(pairwise(widths)):
        if residual and depth == 0:
            layers.append(nn.Linear(before, after))
        elif residual and before == after:
            layers.append(Residual(before, activation))
        else:
            layers += _plain(before, after, activation, norm)
    layers += [nn.LayerNorm(widths[-1])] if residual and hidden else []
    return nn.Sequential(*layers, *([] if features is None else [nn.Linear(widths[-1], features)]))


def without_padding(values: Tensor, mask: Tensor | None) -> Tensor:
    """Values (B, M, C) with zeros in the padding: whatever stood there, even NaN, reaches neither output nor gradient."""
    return values if mask is None else torch.where(mask[..., None], values, 0.0)


def lengths(values: Tensor, mask: Tensor | None) -> Tensor:
    """Members of each set, (B,), integers."""
    return values.new_full((len(values),), values.shape[1], dtype=torch.long) if mask is None else mask.sum(1)


def log_length(values: Tensor, mask: Tensor | None, longest: int) -> Tensor:
    """log((1 + M) / (1 + longest)) of each set, (B, 1): 0 for the longest, -1 for one of about a third of its members.

    Any smaller slope is lost among the other features: a posterior then comes out too narrow for small sets and too wide for large ones.
    """
    return torch.log1p(lengths(values, mask).to(values.dtype))[:, None] - math.log1p(longest)


class Mean(nn.Module):
    """Mean over the real members (B, M, C), 0 for an empty set; (B, C)."""

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return values.mean(1)
        return without_padding(values, mask).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


class Max(nn.Module):
    """Largest real member (B, M, C) by channel, 0 for an empty set; (B, C)."""

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return values.amax(1)
        largest = values.masked_fill(~mask[..., None], torch.finfo(values.dtype).min).amax(1)
        return torch.where(mask.any(1, keepdim=True), largest, 0.0)


class Attention(nn.Module):
    """Weighted mean over the real members (B, M, C), the weights learned by channel, 0 for an empty set; (B, C).

    w = softmax over members of A x + b, as in attention-based pooling.

    References:
        Ilse, Tomczak & Welling (2018), https://arxiv.org/abs/1802.04712
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Linear(channels, channels, bias=False)  # a bias would cancel in the softmax

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        scores = self.score(values)
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None], torch.finfo(values.dtype).min)
        return without_padding(torch.softmax(scores, dim=1) * values, mask).sum(1)


def pooling(name: str, channels: int) -> nn.Module:
    """The pooling `mean`, `max` or `attention` of C channels."""
    return Attention(channels) if name == "attention" else {"mean": Mean, "max": Max}[name]()


def require(shape: InputShape, kinds: Sequence[str], network: str) -> None:
    """Refuses an input that the network is not made for.

    Raises:
        ConfigError: Naming the kinds it takes.
    """
    if shape.kind not in kinds:
        todo = {"vector": "Use mlp or identity.", "set": "Use deepset.", "series": "Use lstm."}.get(shape.kind, "")
        what = f"{network} takes a {' or '.join(kinds)}, and this input is a {shape.kind}"
        raise ConfigError(what, where="summary.kind", todo=todo or f"Change 'as' to {' or '.join(kinds)}.")
