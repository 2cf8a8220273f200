"""Pieces that summary networks share: multilayer perceptrons, pooling that never sees the padding,
and what is said to a wrong input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from sbiwb.contracts import InputShape
from sbiwb.errors import ConfigError


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise PydanticCustomError(
            "odd",
            "{value} is even: take {less} or {more}",
            {"value": value, "less": value - 1, "more": value + 1},
        )
    return value


Activation = Literal["relu", "elu", "silu", "gelu", "tanh"]
Width = Annotated[int, Field(ge=1, le=65536)]
Odd = Annotated[int, Field(ge=1, le=1023), AfterValidator(_odd)]
Pooling = Literal["mean", "max", "attention"]
Poolings = Pooling | Annotated[list[Pooling], Field(min_length=1, max_length=3)]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


def function(activation: str) -> nn.Module:
    """The activation of that name."""
    return _ACTIVATIONS[activation]()


class Residual(nn.Module):
    """x + W2 a(W1 norm(x)): a pre-normed block, which trains well at high learning rates.

    References:
        Xiong et al. (2020), On Layer Normalization in the Transformer Architecture,
        https://arxiv.org/abs/2002.04745
    """

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            function(activation),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _plain(before: int, after: int, activation: str, norm: bool) -> list[nn.Module]:
    return [
        nn.Linear(before, after),
        *([nn.LayerNorm(after)] if norm else []),
        function(activation),
    ]


def mlp(
    channels: int,
    hidden: Sequence[int],
    features: int | None,
    *,
    activation: str = "relu",
    norm: bool = False,
    residual: bool = False,
) -> nn.Sequential:
    """A multilayer perceptron on the last axis; without `features` it ends after its last hidden
    layer.

    With `residual` the first layer is linear, each further one as wide as the one before a residual
    block, and a norm comes at the end.
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


def side_by_side(nets: Sequence[nn.Sequential], x: Tensor) -> Tensor:
    """What M perceptrons of one kind make of x (M, B, C), each of its own: one batched product a
    layer, with the weights side by side.
    """
    for layers in zip(*nets, strict=True):
        first = layers[0]
        if isinstance(first, nn.Linear):
            weight, bias = (
                torch.stack([one.weight for one in layers]),
                torch.stack([one.bias for one in layers]),
            )
            x = torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))
        elif next(first.parameters(), None) is None:
            x = first(x)
        else:
            x = torch.stack([one(part) for one, part in zip(layers, x, strict=True)])
    return x


def without_padding(values: Tensor, mask: Tensor | None) -> Tensor:
    """Values (B, M, C) with zeros in the padding: whatever stood there, even NaN, reaches neither
    output nor gradient.
    """
    return values if mask is None else torch.where(mask[..., None], values, 0.0)


def real(values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Values (B, M, C) with zeros in the padding, and their mask; where M is 0, one member of
    padding, for reductions want one.
    """
    if values.shape[1] > 0:
        return without_padding(values, mask), mask
    rows, _, channels = values.shape
    return values.new_zeros(rows, 1, channels), torch.zeros(
        rows, 1, dtype=torch.bool, device=values.device
    )


def lengths(values: Tensor, mask: Tensor | None) -> Tensor:
    """Members of each set, (B,), integers."""
    return (
        values.new_full((len(values),), values.shape[1], dtype=torch.long)
        if mask is None
        else mask.sum(1)
    )


def log_length(values: Tensor, mask: Tensor | None, longest: int) -> Tensor:
    """log((1 + M) / (1 + longest)) of each set, (B, 1): 0 for the longest, -1 for one of about a
    third of its members.

    Any smaller slope is lost among the other features: a posterior then comes out too narrow for
    small sets and too wide for large ones.
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
    """Weighted mean over the real members (B, M, C), the weights learned by channel, 0 for an empty
    set; (B, C).

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
            scores = scores.masked_fill(~mask[..., None], torch.finfo(scores.dtype).min)
        return without_padding(torch.softmax(scores, dim=1) * values, mask).sum(1)


class Last(nn.Module):
    """Last real member (B, M, C), 0 for an empty series; (B, C)."""

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        return before(values, lengths(values, mask), 1)[:, 0]


def before(values: Tensor, lengths: Tensor, count: int) -> Tensor:
    """The last `count` members of each series of length (B,), the last one first, 0 before the
    beginning; (B, count, C).
    """
    at = lengths[:, None] - 1 - torch.arange(count, device=values.device)
    found = values.gather(1, at.clamp(min=0)[..., None].expand(-1, -1, values.shape[2]))
    return torch.where(at[..., None] >= 0, found, 0.0)


_POOLINGS: dict[str, type[nn.Module]] = {"mean": Mean, "max": Max, "last": Last}


def pooling(name: str, channels: int) -> nn.Module:
    """The pooling `mean`, `max`, `last` or `attention` of C channels."""
    return Attention(channels) if name == "attention" else _POOLINGS[name]()


def poolings(names: str | Sequence[str], channels: int) -> list[nn.Module]:
    """One pooling or several."""
    return [pooling(name, channels) for name in ([names] if isinstance(names, str) else names)]


def with_length(pooled: Tensor, values: Tensor, mask: Tensor | None, longest: int | None) -> Tensor:
    """What was pooled, (B, K), and beside it the log of the number of members, unless `longest`
    says that it never varies.
    """
    return (
        pooled
        if longest is None
        else torch.cat([pooled, log_length(values, mask, longest)], dim=-1)
    )


def longest(shape: InputShape) -> int | None:
    """Members of the largest data set in training where their number varies; None where it does
    not.
    """
    return shape.length if shape.varies else None


_MASKED = {
    "set": ["deepset", "set_transformer"],
    "series": ["lstm", "gru", "lstnet", "transformer", "conv1d"],
}


def made_for(shape: InputShape) -> str:
    """The networks that take such an input, as a list to choose from."""
    fixed = [] if shape.varies else ["mlp"]
    found = {
        "vector": ["mlp", "identity"],
        "grid": ["conv1d" if len(shape.grid) == 1 else "conv2d", "mlp"],
    }
    *names, last = found.get(shape.kind) or [*_MASKED[shape.kind], *fixed]
    return f"{', '.join(names)} or {last}"


def require(shape: InputShape, kinds: Sequence[str], network: str) -> None:
    """Refuses an input that the network is not made for.

    Raises:
        ConfigError: Naming the kinds it takes, and the networks that take this one.
    """
    if shape.kind not in kinds:
        what = f"{network} takes a {' or a '.join(kinds)}, and this input is a {shape.kind}"
        raise ConfigError(what, where="summary.kind", todo=f"Use {made_for(shape)}.")


def require_axes(shape: InputShape, axes: int, network: str) -> None:
    """Refuses a grid of another number of axes.

    Raises:
        ConfigError: Naming the networks that take this one.
    """
    if shape.kind == "grid" and len(shape.grid) != axes:
        what = f"{network} takes a grid of {axes} {'axis' if axes == 1 else 'axes'}, and this one is {' x '.join(map(str, shape.grid))}"
        raise ConfigError(what, where="summary.kind", todo=f"Use {made_for(shape)}.")
