r"""Coupling flow: one half of the columns moves the other by affine maps (RealNVP) or shifts
(NICE), the halves taking turns.

    u_b = exp(a(z_a, h)) z_b + m(z_a, h),   u_a = z_a

Draws cost one evaluation whatever the number of columns. First of all each column is standardized
by a scale and a shift that depend on the features alone; in NICE the shifts keep volumes, so that
these are its only scales. An untrained flow is the standard normal.

References:
    Dinh, Krueger & Bengio (2014), NICE: Non-linear Independent Components Estimation,
    https://arxiv.org/abs/1410.8516
    Dinh, Sohl-Dickstein & Bengio (2016), Density estimation using Real NVP,
    https://arxiv.org/abs/1605.08803
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.flows.gaussianization import ElementWiseTransform
from zuko.lazy import LazyTransform
from zuko.transforms import AdditiveTransform

from sbiwb.networks.inference._zuko import (
    ACTIVATIONS,
    Flow,
    FlowConfig,
    UnivariateMap,
    begin_at_zero,
)


class Config(FlowConfig):
    """Coupling transforms, and the networks that set them."""

    transforms: int = Field(
        6,
        ge=1,
        le=64,
        description=(
            "Coupling transforms, each moving the half of the columns that stood still before."
        ),
    )
    coupling: Literal["affine", "additive"] = Field(
        "affine",
        description="Whether a half is shifted and scaled (RealNVP) or only shifted (NICE).",
    )

    def make(self, features: int, context: int) -> Flow:
        transforms = [self._standardizing(features, context)]
        for step in range(self.transforms):
            transforms.append(self._coupling(features, context, step % 2))
        for transform in transforms:
            begin_at_zero(transform.hyper[-1], 1, len(transform.hyper[-1].bias))
        return Flow(transforms)

    def _standardizing(self, columns: int, context: int) -> LazyTransform:
        """A scale and a shift of each column."""
        return ElementWiseTransform(
            columns,
            context,
            univariate=UnivariateMap(),
            hidden_features=self.hidden,
            activation=ACTIVATIONS[self.activation],
        )

    def _coupling(self, columns: int, context: int, turn: int) -> LazyTransform:
        """The columns of one half, 0 or 1, stand still and move the others."""
        univariate: type[AdditiveTransform] | UnivariateMap = UnivariateMap()
        shapes: list[tuple[int, ...]] = [(), ()]
        if self.coupling == "additive":
            univariate, shapes = AdditiveTransform, [()]
        return GeneralCouplingTransform(
            columns,
            context,
            torch.arange(columns) % 2 == turn,
            univariate=univariate,
            shapes=shapes,
            hidden_features=self.hidden,
            activation=ACTIVATIONS[self.activation],
        )
