r"""Monotone functions with an inverse on all of R.

zuko's own flows of neural networks and polynomials are inverted by bisection within [-10, 10] and
squash values between transforms, so that a draw which falls outside comes back from very far. Here
a monotone function f is used on [-B, B] only, and continued by straight lines of its end slopes,

    y = f(c) + f'(c) (x - c),   c = clamp(x, -B, B),

which is a bijection of R with a continuous slope; the inverse is Newton's method within a shrinking
bracket.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from zuko.utils import GaussLegendre

BOUND = 5.0
NEWTON_STEPS = 60  # at most; about five are taken

Curve = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Value and slope of an increasing function, elementwise."""


class Monotone(Transform):
    """An increasing function on [-B, B], continued by straight lines.

    Args:
        curve: The function with its slope, both evaluated on [-B, B] only.
    """

    domain = codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, curve: Curve) -> None:
        super().__init__()
        self.curve = curve

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.clamp(-BOUND, BOUND)
        y, slope = self.curve(inside)
        return y + slope * (x - inside), slope.log()

    def _inverse(self, y: Tensor) -> Tensor:
        with torch.no_grad():
            x = self._solve(y)
        return differentiable(self.call_and_ladj, x, y)

    def _solve(self, y: Tensor) -> Tensor:
        low, high = torch.full_like(y, -BOUND), torch.full_like(y, BOUND)
        (y_low, slope_low), (y_high, slope_high) = self.curve(low), self.curve(high)
        x = solve(self.curve, y.clamp(y_low, y_high), low, high)
        x = torch.where(y < y_low, low + (y - y_low) / slope_low, x)
        return torch.where(y > y_high, high + (y - y_high) / slope_high, x)


def solve(curve: Curve, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x between low and high where an increasing curve takes the values y.

    By Newton's method, and by bisection where that is slow or leaves the bracket. Ends with a
    Newton step so small that the next one would be lost in rounding.
    """
    x, before = (low + high) / 2, high - low
    small = torch.finfo(y.dtype).eps ** 0.5
    for _ in range(NEWTON_STEPS):
        value, slope = curve(x)
        low, high = torch.where(value < y, x, low), torch.where(value < y, high, x)
        step = (y - value) / slope
        newton = x + step
        last = step.abs() <= small * (1 + x.abs())
        inside = (newton >= low) & (newton <= high) & (step.abs() <= before / 2)
        after = torch.where(last | inside, newton.clamp(low, high), (low + high) / 2)
        before, x = (after - x).abs(), after
        if last.all():
            break
    return x


def differentiable(call: Curve, x: Tensor, y: Tensor) -> Tensor:
    """x = f^-1(y), found without gradients, with those of the implicit function.

    They come of one more Newton step whose slope is a constant.

    Args:
        call: Value and log-slope of f.
        x: What was found.
        y: What f is to give.
    """
    if not torch.is_grad_enabled():
        return x
    value, log_slope = call(x)
    return x - (value - y) * (-log_slope).exp().detach()


def integral(slope: Callable[[Tensor], Tensor], points: int) -> Curve:
    """The integral from 0 of a positive function by Gauss and Legendre's rule, with its slope."""

    def curve(x: Tensor) -> tuple[Tensor, Tensor]:
        return GaussLegendre.quadrature(slope, torch.zeros_like(x), x, points), slope(x)

    return curve


def with_slope(function: Callable[[Tensor], Tensor]) -> Curve:
    """An elementwise function with its slope by autograd."""

    def curve(x: Tensor) -> tuple[Tensor, Tensor]:
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            if not (graph and x.requires_grad):
                x = x.detach().requires_grad_()
            y = function(x)
            (slope,) = torch.autograd.grad(y.sum(), x, create_graph=graph)
        if not graph:
            y = y.detach()
        return y, slope

    return curve
