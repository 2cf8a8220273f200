r"""Neural spline flow: monotone rational-quadratic splines whose knots depend on the features and on the other columns of z.

    log q(z | h) = sum_d log phi(u_d) + log |du/dz|,   u = f_T o ... o f_1 (z; h)

Splines act on [-5, 5], and are the identity beyond: z must be about standard normal, as `ThetaMap` makes it. The last layer of
each hyper-network starts at zero, where a spline is the identity, so that an untrained flow is exactly the standard normal, hence
the prior.

References:
    Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn
from zuko.flows import NSF as ZukoNSF
from zuko.flows.autoregressive import MaskedAutoregressiveTransform

from sbiwb.errors import ConfigError
from sbiwb.families import Part
from sbiwb.networks.inference._masked import forward, inverse

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class NSF(nn.Module):
    """Density of z (B, D) given features (B, H).

    Args:
        transforms: zuko's lazy transforms, from z to noise.
    """

    def __init__(self, transforms: nn.ModuleList) -> None:
        super().__init__()
        self.transforms = transforms

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,)."""
        total = z.new_zeros(len(z))
        for transform in self.transforms:
            z, log_abs_det = forward(transform, z, features)
            total = total + log_abs_det
        return total - 0.5 * (z**2 + math.log(2 * math.pi)).sum(-1)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (B, D) of standard normal noise (B, D): one step a transform where coupling, D steps where autoregressive."""
        for transform in reversed(self.transforms):
            noise = inverse(transform, noise, features)
        return noise


class Config(Part):
    """Transforms, and the network that sets their knots."""

    transforms: int = Field(4, ge=1, le=64, description="Spline transforms, the order of the columns reversed after each.")
    hidden: Annotated[list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=1, max_length=32)] = Field(
        [64, 64], description="Width of each hidden layer of every transform's network."
    )
    bins: int = Field(8, ge=2, le=256, description="Bins of each spline.")
    passes: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Steps to draw a sample: null for one a column (autoregressive), 2 for coupling (faster, less flexible)."
    )
    affine: bool = Field(
        True,
        description="Whether an affine transform comes first: it brings a posterior much narrower than its prior to the splines' domain.",
    )
    activation: Literal["relu", "elu", "silu", "gelu", "tanh"] = Field("relu", description="Function after each hidden layer.")
    residual: bool = Field(False, description="Whether hidden layers are residual blocks.")

    def build(self, features: int, context: int) -> NSF:
        """The flow of D columns given H features.

        Args:
            features: D.
            context: H.

        Raises:
            ConfigError: If there is no context, or a hidden layer is too narrow to hold every column apart.
        """
        if context < 1:
            raise ConfigError("an inference network needs at least one feature", where="inference", todo="Use at least one input.")
        self._check_width(features)
        options: dict[str, Any] = {"residual": self.residual} if features > 1 else {}  # zuko's net for one column has none
        options |= {"passes": self.passes, "hidden_features": self.hidden, "activation": _ACTIVATIONS[self.activation]}
        splines = ZukoNSF(features, context, bins=self.bins, transforms=self.transforms, **options).transform.transforms
        first = [MaskedAutoregressiveTransform(features, context, **options)] if self.affine else []
        transforms = [*first, *splines]
        for transform in transforms:
            _start_at_identity(transform.hyper)
        return NSF(nn.ModuleList(transforms))

    def _check_width(self, features: int) -> None:
        """A masked layer narrower than its groups of columns would drop dependences without a word."""
        groups = min(features, self.passes or features)
        if min(self.hidden) < groups:
            what = f"a hidden layer of width {min(self.hidden)} cannot hold {groups} columns of theta apart"
            raise ConfigError(what, where="inference.hidden", todo=f"Use at least {groups}; 64 or more is usual.")


def _start_at_identity(hyper: nn.Sequential) -> None:
    """Sets the last layer to zero: equal bins and unit slopes, the identity."""
    for parameter in hyper[-1].parameters():
        nn.init.zeros_(parameter)
