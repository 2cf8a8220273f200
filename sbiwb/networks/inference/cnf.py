r"""Continuous normalizing flow: a vector field carries z to noise, trained by maximum likelihood.

    dx/dt = v(t, x; h),   x(0) = exp(a) z + m,
    log q(z | h) = log N(x(1)) + integral of trace(dv/dx) dt + sum a

with the exact trace. The affine map is masked autoregressive, so that the field meets a narrow or
correlated posterior at unit size. Each step of training solves the equation: `flow_matching`
reaches a like network without, and is the first choice for many parameters. An untrained flow is
the standard normal.

References:
    Chen, Rubanova, Bettencourt & Duvenaud (2018), Neural Ordinary Differential Equations,
    https://arxiv.org/abs/1806.07366
    Grathwohl et al. (2018), FFJORD, https://arxiv.org/abs/1810.01367
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from zuko.lazy import LazyTransform
from zuko.nn import MLP, Linear

from sbiwb.networks.inference import _ode
from sbiwb.networks.inference._zuko import (
    ACTIVATIONS,
    Flow,
    FlowConfig,
    UnivariateMap,
    begin_at_zero,
)

Slope = Callable[[Tensor, Tensor, Tensor], Tensor]
"""d state / dt of times, states and features."""

FREQUENCIES = 3  # of the time
FAR = 20.0  # the field sees |x| squashed below it, so that it stays finite


class AugmentedField(nn.Module):
    """v(t, x; h) and its trace, by a perceptron of the columns, the time and the features.

    Args:
        columns: D.
        context: H.
        hidden: Width of each hidden layer.
        activation: After each of them.
    """

    frequencies: Tensor

    def __init__(self, columns: int, context: int, hidden: list[int], activation: str) -> None:
        super().__init__()
        self.columns, self.activation = columns, ACTIVATIONS[activation]()
        inputs = columns + 2 * FREQUENCIES + context
        self.net = MLP(inputs, columns, hidden, activation=ACTIVATIONS[activation])
        frequencies = math.pi * torch.arange(1.0, FREQUENCIES + 1)
        self.register_buffer("frequencies", frequencies, persistent=False)
        begin_at_zero(self.net[-1], 1, columns)

    def forward(self, t: Tensor, x: Tensor, features: Tensor) -> Tensor:
        """v (R, D) at times (R, 1) and states (R, D), given features (R, H)."""
        return self.net(self._inputs(t, x, features)[0])

    def with_trace(self, t: Tensor, x: Tensor, features: Tensor) -> Tensor:
        """v and the trace of its Jacobian by x, (R, D + 1).

        The derivatives by all columns go through the layers beside the values.
        """
        value, slopes = self._inputs(t, x, features)
        first, *others = [layer for layer in self.net if isinstance(layer, Linear)]
        value = first(value)
        jacobian = slopes[:, :, None] * first.weight.t()[: self.columns]
        for layer in others:
            value, slope = self._activated(value)
            value, jacobian = layer(value), (jacobian * slope[:, None]) @ layer.weight.t()
        return torch.cat([value, jacobian.diagonal(dim1=1, dim2=2).sum(-1, keepdim=True)], 1)

    def _activated(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """The activation, and its slope."""
        results = torch.func.jvp(self.activation, (value,), (torch.ones_like(value),))
        return results[0], results[1]

    def _inputs(self, t: Tensor, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees, and the derivatives (R, D) of its first columns by x."""
        waves, shrink = t * self.frequencies, (1 + (x / FAR).square()).rsqrt()
        return torch.cat([x * shrink, waves.cos(), waves.sin(), features], 1), shrink**3


class Continuous(LazyTransform):
    """The way from time 0 to 1 along a field.

    Args:
        field: Its slopes.
        config: How the equation is solved.
    """

    def __init__(self, field: AugmentedField, config: Config) -> None:
        super().__init__()
        self.field, self.config = field, config

    def forward(self, c: Tensor) -> Transform:
        return Path(self.field, c, self.config)


class Path(Transform):
    """x (..., D) at time 1 of x at time 0, given features that broadcast to (..., H)."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, field: AugmentedField, features: Tensor, config: Config) -> None:
        super().__init__()
        self.field, self.features, self.config = field, features, config

    def _call(self, x: Tensor) -> Tensor:
        return self._solve(self.field, x, 0.0, 1.0)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._solve(self.field, y, 1.0, 0.0)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        def slope(t: Tensor, state: Tensor, features: Tensor) -> Tensor:
            return self.field.with_trace(t, state[:, :-1], features)

        state = self._solve(slope, torch.cat([x, torch.zeros_like(x[..., :1])], -1), 0.0, 1.0)
        return state[..., :-1], state[..., -1]

    def _solve(self, slope: Slope, x: Tensor, start: float, end: float) -> Tensor:
        features = self.features.expand(*x.shape[:-1], -1).flatten(0, -2)

        def field(t: Tensor, state: Tensor, rows: Tensor) -> Tensor:
            if len(rows) == len(features):
                return slope(t, state, features)
            return slope(t, state, features[rows])

        options = self.config
        arrived = _ode.solve(
            field,
            x.flatten(0, -2),
            start,
            end,
            solver=options.solver,
            steps=options.steps,
            tolerance=options.tolerance,
        )
        return arrived.view(x.shape)


class Config(FlowConfig):
    """The field's network and the solver."""

    activation: Literal["elu", "silu", "gelu", "tanh"] = Field(
        "silu", description="After each hidden layer; smooth ones need fewer steps."
    )
    solver: Literal["adaptive", "rk4", "midpoint", "euler"] = Field(
        "rk4",
        description=(
            "Equal steps, or Dormand-Prince with each row's own steps by tolerance (slower, exact "
            "for any field)."
        ),
    )
    steps: int = Field(10, ge=1, le=10_000, description="Equal steps of rk4, midpoint and euler.")
    tolerance: float = Field(
        1e-5,
        ge=1e-10,
        le=0.1,
        description=(
            "Error of one adaptive step, relative and absolute; single precision ends at 1e-6."
        ),
    )

    def make(self, features: int, context: int) -> Flow:
        affine = self.masked(features, context, reverse=False, univariate=UnivariateMap())
        field = AugmentedField(features, context, self.hidden, self.activation)
        return Flow([affine, Continuous(field, self)])
