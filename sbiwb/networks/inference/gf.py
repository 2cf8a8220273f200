r"""Gaussianization flow: each column becomes normal by the distribution function of a mixture of
normals, between rotations.

    u_d = Phi^-1( (1/K) sum_k Phi(exp(a_dk) x_d + b_dk) ),   x -> R u,   (a, b) = network(h)

The rotations R are learned and the same for all data sets, so the first transform of all is an
affine masked autoregressive one, which takes correlations that depend on the data, and posteriors
much narrower than their priors. Everything is evaluated through logarithms of distribution
functions, finite far out. Draws are found numerically, to rounding.

References:
    Chen & Gopinath (2000), Gaussianization, https://papers.nips.cc/paper/1856-gaussianization
    Meng, Song, Song & Ermon (2020), Gaussianization Flows, https://arxiv.org/abs/2003.01941
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Transform, constraints
from zuko.flows.gaussianization import ElementWiseTransform
from zuko.lazy import LazyTransform, UnconditionalTransform
from zuko.transforms import RotationTransform

from sbiwb.networks.inference._monotone import differentiable, solve
from sbiwb.networks.inference._zuko import (
    ACTIVATIONS,
    LEAST_SLOPE,
    Flow,
    FlowConfig,
    UnivariateMap,
    begin_near_zero,
    log_normal,
)

QUANTILE_STEPS = 6  # Newton steps to the quantile of a normal


class Gaussianization(Transform):
    """y = Phi^-1 of the mean of Phi(exp(a) x + b).

    Args:
        shift: b, (..., D, K).
        scale: a before it is bounded, (..., D, K).
    """

    domain = codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.shift, self.log_scale = shift, scale / (1 + (scale / math.log(LEAST_SLOPE)).abs())

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = x[..., None] * self.log_scale.exp() + self.shift
        below = _log_mean(torch.special.log_ndtr(u))
        above = _log_mean(torch.special.log_ndtr(-u))
        left = below < above
        quantile = _log_quantile(torch.where(left, below, above))
        y = torch.where(left, quantile, -quantile)
        return y, _log_mean(log_normal(u) + self.log_scale) - log_normal(y)

    def _inverse(self, y: Tensor) -> Tensor:
        with torch.no_grad():
            # where single terms have it; x is among them
            ends = (y[..., None] - self.shift) * (-self.log_scale).exp()
            x = solve(self._curve, y, ends.amin(-1), ends.amax(-1))
        return differentiable(self.call_and_ladj, x, y)

    def _curve(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = self.call_and_ladj(x)
        return y, log_slope.exp()


def _log_mean(terms: Tensor) -> Tensor:
    return terms.logsumexp(-1) - math.log(terms.shape[-1])


def _log_quantile(log_p: Tensor) -> Tensor:
    """x with log Phi(x) = log_p, at most log 1/2.

    By Newton's method, which stays on one side since log Phi is concave.
    """
    with torch.no_grad():
        x = -(-2 * log_p).sqrt()
        for _ in range(QUANTILE_STEPS):
            x = _newton(x, log_p)
    return _newton(x, log_p)


def _newton(x: Tensor, log_p: Tensor) -> Tensor:
    log_cdf = torch.special.log_ndtr(x)
    return x - (log_cdf - log_p) * (log_cdf - log_normal(x)).exp()


class Config(FlowConfig):
    """Mixtures, and the networks that set them."""

    transforms: int = Field(
        3, ge=1, le=64, description="Gaussianizing transforms, a rotation between each two."
    )
    components: int = Field(8, ge=1, le=256, description="Normals in the mixture of each column.")

    def make(self, features: int, context: int) -> Flow:
        transforms = [self.masked(features, context, reverse=False, univariate=UnivariateMap())]
        for step in range(self.transforms):
            if step:
                rotation = torch.randn(features, features)
                transforms.append(UnconditionalTransform(RotationTransform, A=rotation))
            transforms.append(self._gaussianizing(features, context))
        return Flow(transforms)

    def _gaussianizing(self, columns: int, context: int) -> LazyTransform:
        transform = ElementWiseTransform(
            columns,
            context,
            univariate=Gaussianization,
            shapes=[(self.components,), (self.components,)],
            hidden_features=self.hidden,
            activation=ACTIVATIONS[self.activation],
        )
        begin_near_zero(transform.hyper[-1], columns, 0)
        return transform
