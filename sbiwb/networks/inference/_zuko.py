r"""What flows made of zuko's pieces share: the network itself, its options, and its transforms.

In front of each function of a column stands an affine map, so that posteriors much narrower than
their priors meet it at unit size.

References:
    Papamakarios et al. (2017), Masked Autoregressive Flow for Density Estimation,
    https://arxiv.org/abs/1705.07057
    zuko, https://zuko.readthedocs.io
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.lazy import LazyTransform
from zuko.transforms import AutoregressiveTransform, ComposedTransform, MonotonicAffineTransform
from zuko.utils import broadcast, unpack

from sbiwb.contracts import InferencePart
from sbiwb.contracts.network_modules import InferenceModule
from sbiwb.networks.inference._sizes import require_context, require_width

LEAST_SLOPE = 1e-3
SMALL = 0.1  # of zuko's usual first weights

Widths = Annotated[list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=1, max_length=32)]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


class Flow(InferenceModule):
    """Density of z (B, D) given features (B, H): standard normal after all transforms.

    Args:
        transforms: zuko's lazy transforms, from z to noise.
    """

    def __init__(self, transforms: Sequence[LazyTransform]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,)."""
        noise, log_det = to_noise(self.transforms, z, features)
        return log_det + log_normal(noise).sum(-1)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H)."""
        return from_noise(self.transforms, noise, features)


def to_noise(transforms: nn.ModuleList, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Noise (B, D) of z (B, D) given features (B, H), and the log-determinant (B,)."""
    total = z.new_zeros(len(z))
    for transform in transforms:
        z, log_det = transform(features).call_and_ladj(z)
        total = total + log_det
    return z, total


def from_noise(transforms: nn.ModuleList, noise: Tensor, features: Tensor) -> Tensor:
    """z (N, S, D) of noise (N, S, D), given features (N, H)."""
    for transform in reversed(transforms):
        noise = transform(features[:, None]).inv(noise)
    return noise


def log_normal(noise: Tensor) -> Tensor:
    """Log-density of the standard normal, elementwise."""
    return -0.5 * (noise.square() + math.log(2 * math.pi))


class FlowConfig(InferencePart):
    """Options of every network here; a concrete one adds its own and makes the network."""

    hidden: Widths = Field(
        [64, 64], description="Width of each hidden layer of every network that reads the features."
    )
    activation: Literal["relu", "elu", "silu", "gelu", "tanh"] = Field(
        "relu", description="After each hidden layer."
    )

    @property
    def head_widths(self) -> list[int]:
        return self.hidden

    @abstractmethod
    def make(self, features: int, context: int) -> InferenceModule:
        """The density of D columns given H features."""

    def build(self, features: int, context: int) -> InferenceModule:
        """The density of D columns given H features.

        Args:
            features: D.
            context: H.

        Raises:
            ConfigError: If there is no context, or a masked layer is too narrow to hold every
                column apart.
        """
        require_context(context)
        return self.make(features, context)

    def masked(
        self, columns: int, context: int, *, reverse: bool, univariate: UnivariateMap
    ) -> LazyTransform:
        """One masked autoregressive transform, the columns in their order or reversed."""
        require_width(self.hidden, columns)
        order = torch.arange(columns)
        if reverse:
            order = order.flip(0)
        transform = Masked(
            columns,
            context,
            order=order,
            univariate=univariate,
            shapes=univariate.shapes,
            hidden_features=self.hidden,
            activation=ACTIVATIONS[self.activation],
        )
        begin_near_zero(transform.hyper[-1], columns, univariate.zeros)
        return transform


class AutoregressiveConfig(FlowConfig):
    """A flow whose transforms are masked autoregressive, all of one kind."""

    transforms: int = Field(
        3, ge=1, le=64, description="Transforms, the order of the columns reversed after each."
    )

    @abstractmethod
    def univariate(self) -> UnivariateMap:
        """The map of a column."""

    def make(self, features: int, context: int) -> Flow:
        transforms = []
        for step in range(self.transforms):
            univariate, reverse = self.univariate(), step % 2 == 1
            transforms.append(
                self.masked(features, context, reverse=reverse, univariate=univariate)
            )
        return Flow(transforms)


class Masked(MaskedAutoregressiveTransform):
    """zuko's, except that the inverse computes each column once, in its own pass."""

    def forward(self, c: Tensor) -> Transform:
        return ColumnByColumn(partial(self.meta, c), partial(self._columns, c), self.order)

    def _columns(self, features: Tensor, x: Tensor, columns: Tensor) -> Transform:
        """The transform of some columns, given those before them."""
        phi = self.hyper(torch.cat(broadcast(x, features, ignore=1), -1))
        own = phi.unflatten(-1, (-1, self.total))[..., columns, :]
        return self.univariate(*unpack(own, self.shapes))


class ColumnByColumn(AutoregressiveTransform):
    """An autoregressive transform.

    Args:
        meta: The transform of all columns, of x.
        some: The transform of some columns, of x and their numbers.
        order: When each column is computed, (D,).
    """

    def __init__(
        self,
        meta: Callable[[Tensor], Transform],
        some: Callable[[Tensor, Tensor], Transform],
        order: Tensor,
    ) -> None:
        super().__init__(meta, len(order))
        self.some, self.order = some, order

    def _inverse(self, y: Tensor) -> Tensor:
        x = torch.zeros_like(y)
        for column in self.order.argsort().split(1):
            x = x.index_copy(-1, column, self.some(x, column).inv(y[..., column]))
        return x


class UnivariateMap(nn.Module):
    """An affine map of each column, then a function, both with parameters of a network.

    Args:
        function: Makes an elementwise transform of the parameters after the affine map's; None for
            no more than the affine map.
        shapes: Of those parameters.
        still: How many of them, counted in numbers from the first, begin at zero; the affine map's
            always do, where it is the identity.
    """

    def __init__(
        self,
        function: Callable[..., Transform] | None = None,
        shapes: Sequence[tuple[int, ...]] = (),
        *,
        still: int = 0,
    ) -> None:
        super().__init__()
        self.function, self.shapes, self.zeros = function, ((), (), *shapes), 2 + still

    def forward(self, shift: Tensor, scale: Tensor, *rest: Tensor) -> Transform:
        affine = MonotonicAffineTransform(shift, scale, slope=LEAST_SLOPE)
        if self.function is None:
            return affine
        return ComposedTransform(affine, self.function(*rest))


def begin_at_zero(layer: nn.Linear, columns: int, leading: int) -> None:
    """The first parameters of each column are 0 for all features, and stay free to be trained."""
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            parameter.unflatten(0, (columns, -1))[:, :leading] = 0


def begin_near_zero(layer: nn.Linear, columns: int, leading: int) -> None:
    """The same, and the others are small: different enough to be trained apart."""
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            parameter.mul_(SMALL)
    begin_at_zero(layer, columns, leading)
