r"""Neural spline flow: monotone rational-quadratic splines with knots that networks set.

    log q(z | h) = sum_d log phi(u_d / t) / t + log |du/dz|,   u = f_T o ... o f_1 (z; h)

Splines act on [-5, 5], and are the identity beyond: z must be about standard normal, as `ThetaMap`
makes it, and each transform may begin with an affine map. The last layer of each hyper-network
starts at zero, where a transform is the identity, so that an untrained flow is exactly the standard
normal, hence the prior. The temperature t is 1, or is fitted to the validation pairs: a mixture of
networks is often somewhat too wide, a network of few pairs too narrow.

References:
    Guo et al. (2017), On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599
    Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from zuko.nn import MaskedLinear, MaskedMLP

from sbiwb.contracts import InferencePart
from sbiwb.contracts.network_modules import InferenceModule
from sbiwb.networks.inference import _masked
from sbiwb.networks.inference._linear import LinearFirst
from sbiwb.networks.inference._masked import MaskedTransform
from sbiwb.networks.inference._sizes import require_context, require_width

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "elu": nn.functional.elu,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "tanh": torch.tanh,
}


class NSF(InferenceModule):
    """Density of z (B, D) given features (B, H).

    Args:
        transforms: From z to noise.
        temperatures: How many are fitted: 1 for all columns, D, or 0, so that it is 1.
    """

    log_temperature: Tensor

    def __init__(self, transforms: list[MaskedTransform], *, temperatures: int = 0) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)
        log_temperature = torch.zeros(temperatures if temperatures > 1 else ())
        self.register_buffer("log_temperature", log_temperature, persistent=temperatures > 0)
        self._temperatures = temperatures

    @property
    def temperatures(self) -> int:
        return self._temperatures

    def temper(self, log_temperature: Tensor) -> None:
        self.log_temperature.copy_(log_temperature)

    def noise(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        noise, log_det = _masked.noise(self._transforms(), z, features)
        return noise.square(), log_det

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,)."""
        return _masked.log_prob(self._transforms(), z, features, self.log_temperature)

    @classmethod
    def side_by_side(cls, flows: Sequence[Self], z: Tensor, features: Tensor) -> Tensor:
        """log q_m(z_m | features_m) of M flows of one kind, (M, B).

        Args:
            flows: M of them.
            z: (M, B, D), to each its own.
            features: (M, B, H).
        """
        log_scales = [flow.log_temperature for flow in flows]
        return _masked.side_by_side([flow._transforms() for flow in flows], z, features, log_scales)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H)."""
        if self.temperatures:
            noise = noise * self.log_temperature.exp()
        return _masked.transport(self._transforms(), noise, features)

    def _transforms(self) -> list[MaskedTransform]:
        return list(self.transforms)  # type: ignore[arg-type]


class Config(InferencePart):
    """Transforms, and the network that sets their knots."""

    transforms: int = Field(
        4,
        ge=1,
        le=64,
        description="Spline transforms, the order of the columns reversed after each.",
    )
    hidden: Annotated[
        list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=1, max_length=32)
    ] = Field([64, 64], description="Width of each hidden layer of every transform's network.")
    bins: int = Field(8, ge=2, le=256, description="Bins of each spline.")
    passes: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None,
        description=(
            "Steps to draw a sample: null for one a column (autoregressive), 2 for coupling "
            "(faster, less flexible), 1 for columns that are independent given the features."
        ),
    )
    affine: bool = Field(
        True,
        description=(
            "Whether each transform begins with an affine map: it brings a posterior much narrower "
            "than its prior to the splines."
        ),
    )
    activation: Literal["relu", "elu", "silu", "gelu", "tanh"] = Field(
        "relu", description="After each hidden layer; relu is fastest."
    )
    linear: bool = Field(
        False,
        exclude_if=lambda chosen: not chosen,  # runs of before there was a choice stay theirs
        description=(
            "Whether a linear regression on the features with correlated errors comes first; "
            "training starts at the ridge regression of the training pairs."
        ),
    )
    temperature: Literal["one", "fitted", "columns"] = Field(
        "one",
        exclude_if=lambda chosen: chosen == "one",  # runs of before there was a choice stay theirs
        description=(
            "Scale of the noise: 1, or fitted to the validation pairs, which mends posteriors that "
            "are everywhere too narrow or too wide; or fitted for each column, where some are "
            "too narrow and others too wide."
        ),
    )

    @property
    def is_independent(self) -> bool:
        return self.passes == 1

    @property
    def head_widths(self) -> list[int]:
        return self.hidden

    def build(self, features: int, context: int) -> NSF | LinearFirst:
        """The flow of D columns given H features.

        Args:
            features: D.
            context: H.

        Raises:
            ConfigError: If there is no context, or a hidden layer is too narrow to hold every
                column apart.
        """
        require_context(context)
        passes = min(features, self.passes or features)
        require_width(self.hidden, passes)
        each = math.ceil(features / passes)  # columns of one pass
        order = torch.arange(features).div(each, rounding_mode="floor")
        transforms = []
        for _ in range(self.transforms):
            transforms.append(self._transform(order, context))
            order = order.flip(0)
        temperatures = {"one": 0, "fitted": 1, "columns": features}[self.temperature]
        flow = NSF(transforms, temperatures=temperatures)
        if not self.linear:
            return flow
        return LinearFirst(flow, features, context, mixes=passes > 1)

    def _transform(self, order: Tensor, context: int) -> MaskedTransform:
        """One transform whose columns are computed in this order (D,), the identity as yet."""
        before = order[:, None] > order
        adjacency = torch.cat([before, torch.ones(len(order), context, dtype=torch.bool)], 1)
        rows = 3 * self.bins - 1 + 2 * self.affine
        network = MaskedMLP(adjacency.repeat_interleave(rows, dim=0), self.hidden)
        layers = [layer for layer in network if isinstance(layer, MaskedLinear)]
        for parameter in layers[-1].parameters():
            nn.init.zeros_(parameter)
        return MaskedTransform(layers, order, _ACTIVATIONS[self.activation])
