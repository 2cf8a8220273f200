r"""Neural circular spline flow: angles by splines of the circle, other parameters by splines of the
line, each depending on the others.

    angles:  u_d = spline(2 arg(exp(i z_d) - w_d) - z_d - t_d)
    others:  u_d = spline(exp(a_d) z_d + m_d)

with parameters that depend on the features and on the columns before, seen as cos and sin where
they are angles. The spline of an angle maps [-pi, pi] to itself with slope 1 at both ends, where
the circle closes: densities go on across the seam, and the turn t_d puts it anywhere. The map
before it (Moebius') stretches the circle around the angle of w_d, as the affine map does the line:
an angle known very well is brought to the spline at unit size. Noise is uniform for an angle,
normal for the others; an untrained flow is just that.

References:
    Rezende et al. (2020), Normalizing Flows on Tori and Spheres, https://arxiv.org/abs/2002.02428
    Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from zuko.lazy import LazyTransform
from zuko.nn import MaskedMLP
from zuko.transforms import (
    AutoregressiveTransform,
    ComposedTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
)
from zuko.utils import broadcast, unpack

from sbiwb.contracts.network_modules import InferenceModule
from sbiwb.errors import ConfigError
from sbiwb.networks.inference._sizes import require_context, require_width
from sbiwb.networks.inference._zuko import (
    ACTIVATIONS,
    LEAST_SLOPE,
    FlowConfig,
    begin_at_zero,
    from_noise,
    log_normal,
    to_noise,
)

MOVES = 3  # numbers of the map before a spline: two for the pole and the turn, or shift and scale
TINY = 1e-12  # keeps the length of a pole at 0 differentiable


class CircularFlow(InferenceModule):
    """Density of z (B, D) given features (B, H), some of its columns angles in [-pi, pi).

    Args:
        transforms: From z to noise.
        circle: Which columns are angles, (D,).
    """

    circle: Tensor

    def __init__(self, transforms: list[SplineTransform], circle: Tensor) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)
        self.register_buffer("circle", circle, persistent=False)

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,), the same at z and a whole turn further."""
        z = torch.where(self.circle, wrapped(z), z)
        noise, log_det = to_noise(self.transforms, z, features)
        log_noise = torch.where(self.circle, -math.log(2 * math.pi), log_normal(noise))
        return log_det + log_noise.sum(-1)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H); angles in [-pi,
        pi).
        """
        uniform = math.pi * torch.special.erf(noise / math.sqrt(2))  # 2 pi Phi(noise) - pi
        z = from_noise(self.transforms, torch.where(self.circle, uniform, noise), features)
        return torch.where(self.circle, wrapped(z), z)


class SplineTransform(LazyTransform):
    """One masked autoregressive transform whose network sees angles as cos and sin.

    Args:
        order: When each column is computed, (D,).
        circle: Which columns are angles, (D,).
        context: H.
        config: Bins, and the network's layers.
    """

    def __init__(self, order: Tensor, circle: Tensor, context: int, config: Config) -> None:
        super().__init__()
        self.shapes = [(MOVES,), (config.bins,), (config.bins,), (config.bins - 1,)]
        self.total, self.columns = MOVES + 3 * config.bins - 1, len(order)
        self.register_buffer("circle", circle, persistent=False)
        before = order[:, None] > order
        always = torch.ones(len(order), context, dtype=torch.bool)
        inputs = torch.cat([before, before[:, circle], always], 1)
        adjacency = inputs.repeat_interleave(self.total, dim=0)
        activation = ACTIVATIONS[config.activation]
        self.hyper = MaskedMLP(adjacency, config.hidden, activation=activation)
        begin_at_zero(self.hyper[-1], len(order), self.total)

    def forward(self, c: Tensor) -> Transform:
        return AutoregressiveTransform(partial(self._given, c), passes=self.columns)

    def _given(self, features: Tensor, x: Tensor) -> Transform:
        """The transform of each column, given those before it."""
        inputs = torch.cat([torch.where(self.circle, x.cos(), x), x[..., self.circle].sin()], -1)
        phi = self.hyper(torch.cat(broadcast(inputs, features, ignore=1), -1))
        phi = phi.unflatten(-1, (self.columns, self.total))
        return CircularCoupling(self.circle, *unpack(phi, self.shapes))


class CircularCoupling(Transform):
    """A spline of the circle or of the line for each column.

    Args:
        circle: Which columns are angles, (D,).
        moves: Numbers of the map before, (..., D, 3).
        spline: Widths, heights and slopes, (..., D, K) each, one slope less.
    """

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, circle: Tensor, moves: Tensor, *spline: Tensor) -> None:
        super().__init__()
        self.parts: list[tuple[Tensor, ComposedTransform]] = []
        for mask, make in ((circle, _arc), (~circle, _line)):
            columns = mask.nonzero()[:, 0]
            if len(columns):
                numbers = [values[..., columns, :] for values in (moves, *spline)]
                self.parts.append((columns, make(*numbers)))
        self.back = torch.cat([columns for columns, _ in self.parts]).argsort()

    def _call(self, x: Tensor) -> Tensor:
        return self._joined([part(x[..., columns]) for columns, part in self.parts])

    def _inverse(self, y: Tensor) -> Tensor:
        return self._joined([part.inv(y[..., columns]) for columns, part in self.parts])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        results = [part.call_and_ladj(x[..., columns]) for columns, part in self.parts]
        log_slope = self._joined([log_slope for _, log_slope in results])
        return self._joined([y for y, _ in results]), log_slope.sum(-1)

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, -1)[..., self.back]


def _arc(moves: Tensor, *spline: Tensor) -> ComposedTransform:
    """The circle to itself."""
    before = Moebius(moves[..., :2], moves[..., 2])
    after = MonotonicRQSTransform(*spline, bound=math.pi, slope=LEAST_SLOPE)
    return ComposedTransform(before, after)


def _line(moves: Tensor, *spline: Tensor) -> ComposedTransform:
    """The line to itself; one of the moves stays unused."""
    shift, scale, _ = moves.unbind(-1)
    before = MonotonicAffineTransform(shift, scale, slope=LEAST_SLOPE)
    return ComposedTransform(before, MonotonicRQSTransform(*spline, slope=LEAST_SLOPE))


class Moebius(Transform):
    """The circle mapped to itself, stretched by a factor around one angle, then turned.

        y = 2 arg(exp(i x) - w) - x - turn,   dy/dx = (1 - |w|^2) / |exp(i x) - w|^2

    With -w in place of w it is undone. The angle of w is what is stretched, by (1 + |w|) / (1 -
    |w|); at w = 0 there is nothing special.

    Args:
        pole: w before it is bounded, (..., 2): its length is the logarithm of the factor.
        turn: The angle by which everything is turned.
    """

    domain = codomain = constraints.interval(-math.pi, math.pi)
    bijective = True

    def __init__(self, pole: Tensor, turn: Tensor) -> None:
        super().__init__()
        length = (pole.square().sum(-1) + TINY).sqrt()
        half = 0.5 * length / (1 - length / math.log(LEAST_SLOPE))
        self.pole, self.turn = pole * (half.tanh() / length)[..., None], turn
        self.log_area = -2 * half.cosh().log()  # of 1 - |w|^2

    def _call(self, x: Tensor) -> Tensor:
        return wrapped(_stretched(x, self.pole) - self.turn)

    def _inverse(self, y: Tensor) -> Tensor:
        return wrapped(_stretched(y + self.turn, -self.pole))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        distance = (x.cos() - self.pole[..., 0]).square() + (x.sin() - self.pole[..., 1]).square()
        return self.log_area - distance.log()


def _stretched(x: Tensor, pole: Tensor) -> Tensor:
    return 2 * torch.atan2(x.sin() - pole[..., 1], x.cos() - pole[..., 0]) - x


def wrapped(x: Tensor) -> Tensor:
    """The same angle in [-pi, pi), to rounding too."""
    turned = x - 2 * math.pi * torch.floor((x + math.pi) / (2 * math.pi)).detach()
    return torch.where(turned >= math.pi, turned - 2 * math.pi, turned).clamp(min=-math.pi)


class Config(FlowConfig):
    """Transforms, and the network that sets their knots."""

    circular: ClassVar[bool] = True

    transforms: int = Field(
        4,
        ge=1,
        le=64,
        description="Spline transforms, the order of the columns reversed after each.",
    )
    bins: int = Field(8, ge=2, le=256, description="Bins of each spline.")

    def build_circular(self, features: int, context: int, circular: Sequence[int]) -> CircularFlow:
        """The flow of D columns given H features.

        Args:
            features: D.
            context: H.
            circular: Columns that are angles in [-pi, pi).

        Raises:
            ConfigError: If there is no context, a layer is too narrow, or a circular column does
                not exist.
        """
        require_context(context)
        if not set(circular) <= set(range(features)):
            what = f"circular columns {sorted(circular)} of {features}"
            raise ConfigError(what, where="inference", todo="Columns are counted from 0.")
        return self._make(features, context, circular)

    def make(self, features: int, context: int) -> CircularFlow:
        return self._make(features, context, ())

    def _make(self, features: int, context: int, circular: Sequence[int]) -> CircularFlow:
        require_width(self.hidden, features)
        circle = torch.tensor([column in circular for column in range(features)])
        order = torch.arange(features)
        transforms = []
        for _ in range(self.transforms):
            transforms.append(SplineTransform(order, circle, context, self))
            order = order.flip(0)
        return CircularFlow(transforms, circle)
