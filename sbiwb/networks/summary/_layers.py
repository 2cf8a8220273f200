"""Pieces that summary networks share: perceptrons, pooling without the padding, refused inputs."""

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
        numbers = {"value": value, "less": value - 1, "more": value + 1}
        raise PydanticCustomError("odd", "{value} is even: take {less} or {more}", numbers)
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
    """A layer of a perceptron without residuals."""
    layers: list[nn.Module] = [nn.Linear(before, after)]
    if norm:
        layers.append(nn.LayerNorm(after))
    return [*layers, function(activation)]


def _residual(widths: Sequence[int], activation: str, norm: bool) -> list[nn.Module]:
    """A linear layer, then residual blocks where widths are equal and plain layers elsewhere."""
    layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
    for before, after in pairwise(widths[1:]):
        if before == after:
            layers.append(Residual(before, activation))
        else:
            layers += _plain(before, after, activation, norm)
    return [*layers, nn.LayerNorm(widths[-1])]


def mlp(
    channels: int,
    hidden: Sequence[int],
    features: int | None,
    *,
    activation: str = "relu",
    norm: bool = False,
    residual: bool = False,
) -> nn.Sequential:
    """A multilayer perceptron on the last axis.

    With `residual` the first layer is linear, each further one as wide as the one before a residual
    block, and a norm comes at the end.

    Args:
        channels: C of what it reads.
        hidden: Width of each hidden layer.
        features: H of what it gives; None to end after its last hidden layer.
        activation: After each hidden layer.
        norm: Whether each hidden layer is layer-normed before its activation.
        residual: Whether layers of equal width are pre-normed residual blocks.
    """
    widths = [channels, *hidden]
    layers: list[nn.Module] = []
    if residual and hidden:
        layers += _residual(widths, activation, norm)
    else:
        for before, after in pairwise(widths):
            layers += _plain(before, after, activation, norm)
    if features is not None:
        layers.append(nn.Linear(widths[-1], features))
    return nn.Sequential(*layers)


def head(
    channels: int, hidden: Sequence[int], features: int, shape: InputShape, *, activation: str
) -> nn.Sequential:
    """The perceptron from what was pooled, and the log length where it varies, to (B, H)."""
    return mlp(channels + shape.varies, hidden, features, activation=activation)


def side_by_side(nets: Sequence[nn.Sequential], x: Tensor) -> Tensor:
    """What M perceptrons of one kind make of x (M, B, C), each of its own; a product a layer."""
    for layers in zip(*nets, strict=True):
        if isinstance(layers[0], nn.Linear):
            x = _linear_side_by_side(layers, x)
        elif next(layers[0].parameters(), None) is None:
            x = layers[0](x)
        else:
            x = torch.stack([layer(own) for layer, own in zip(layers, x, strict=True)])
    return x


def _linear_side_by_side(layers: Sequence[nn.Linear], x: Tensor) -> Tensor:
    """M linear layers of x (M, B, C) as one batched product."""
    weight = torch.stack([layer.weight for layer in layers])
    bias = torch.stack([layer.bias for layer in layers])
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def without_padding(values: Tensor, mask: Tensor | None) -> Tensor:
    """Values (B, M, C) with zeros in the padding.

    Whatever stood there, even NaN, reaches neither output nor gradient.
    """
    if mask is None:
        return values
    return torch.where(mask[..., None], values, 0.0)


def real(values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Values (B, M, C) with zeros in the padding, and their mask.

    Where M is 0 there is one member, of padding: a reduction needs one.
    """
    if values.shape[1] > 0:
        return without_padding(values, mask), mask
    rows, _, channels = values.shape
    padding = torch.zeros(rows, 1, dtype=torch.bool, device=values.device)
    return values.new_zeros(rows, 1, channels), padding


def lengths(values: Tensor, mask: Tensor | None) -> Tensor:
    """Members of each set, (B,), integers."""
    if mask is None:
        return values.new_full((len(values),), values.shape[1], dtype=torch.long)
    return mask.sum(1)


def log_length(values: Tensor, mask: Tensor | None, longest: int) -> Tensor:
    """log((1 + M) / (1 + longest)) of each set, (B, 1).

    0 for the longest, -1 for one of about a third of its members. Any smaller slope is lost among
    the other features: a posterior then comes out too narrow for small sets and too wide for large
    ones.
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
    steps = lengths[:, None] - 1 - torch.arange(count, device=values.device)
    members = values.gather(1, steps.clamp(min=0)[..., None].expand(-1, -1, values.shape[2]))
    return torch.where(steps[..., None] >= 0, members, 0.0)


_POOLINGS: dict[str, type[nn.Module]] = {"mean": Mean, "max": Max, "last": Last}


def pooling(name: str, channels: int) -> nn.Module:
    """The pooling `mean`, `max`, `last` or `attention` of C channels."""
    if name == "attention":
        return Attention(channels)
    return _POOLINGS[name]()


def poolings(names: str | Sequence[str], channels: int) -> list[nn.Module]:
    """One pooling or several."""
    if isinstance(names, str):
        return [pooling(names, channels)]
    return [pooling(name, channels) for name in names]


def with_length(pooled: Tensor, values: Tensor, mask: Tensor | None, longest: int | None) -> Tensor:
    """What was pooled, (B, K), and the log of the number of members beside it, where it varies."""
    if longest is None:
        return pooled
    return torch.cat([pooled, log_length(values, mask, longest)], dim=-1)


def longest(shape: InputShape) -> int | None:
    """Members of the largest data set in training; None where their number does not vary."""
    if shape.varies:
        return shape.length
    return None


_MASKED = {
    "set": ["deepset", "set_transformer"],
    "series": ["lstm", "gru", "lstnet", "transformer", "conv1d"],
}
_CONVOLUTIONS = {1: "conv1d", 2: "conv2d"}  # by the axes of a grid


def made_for(shape: InputShape) -> str:
    """The networks that take such an input, as a list to choose from."""
    *names, last = _names_for(shape)
    return f"{', '.join(names)} or {last}"


def _names_for(shape: InputShape) -> list[str]:
    if shape.kind == "vector":
        return ["mlp", "identity"]
    if shape.kind == "grid":
        return [_CONVOLUTIONS[len(shape.grid)], "mlp"]
    if shape.varies:
        return _MASKED[shape.kind]
    return [*_MASKED[shape.kind], "mlp"]


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
        takes = {1: "a grid of 1 axis", 2: "a grid of 2 axes"}[axes]
        size = " x ".join(map(str, shape.grid))
        what = f"{network} takes {takes}, and this one is {size}"
        raise ConfigError(what, where="summary.kind", todo=f"Use {made_for(shape)}.")
