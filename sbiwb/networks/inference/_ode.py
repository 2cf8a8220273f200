"""Ordinary differential equations solved row by row: explicit Runge-Kutta methods, with fixed steps
or with each row's own.

No row of a batch influences another: in the adaptive method each row has its own time and step, and
leaves the batch when it arrives. (zuko's `odeint` takes one step for the whole batch, so that a
draw would depend on its neighbours.) Everything is differentiable by autograd; the step sizes are
constants to it.

References:
    Hairer, Norsett & Wanner (1993), Solving Ordinary Differential Equations I, II.4
    Dormand & Prince (1980), https://doi.org/10.1016/0771-050X(80)90013-3
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

Field = Callable[[Tensor, Tensor, Tensor], Tensor]
"""dy/dt (R, C) at times t (R, 1) and states y (R, C) of the rows numbered by integers (R,)."""

FIRST_STEP = 0.05  # of the span
# of the span; such a step is taken whatever its error, so that every row arrives
SMALLEST_STEP = 1e-4
SAFETY, SLOWER, FASTER = 0.9, 0.2, 5.0  # factors from one step to the next


@dataclass(frozen=True)
class Tableau:
    """A Runge-Kutta method of J stages.

    Args:
        times: When each stage after the first is evaluated, as a share of the step, J - 1 of them.
        stages: Weights of the earlier slopes in each of those stages.
        weights: Of all slopes in the step.
    """

    times: Sequence[float]
    stages: Sequence[Sequence[float]]
    weights: Sequence[float]


TABLEAUS = {
    "euler": Tableau((), (), (1,)),
    "midpoint": Tableau((1 / 2,), ((1 / 2,),), (0, 1)),
    "rk4": Tableau(
        (1 / 2, 1 / 2, 1), ((1 / 2,), (0, 1 / 2), (0, 0, 1)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    ),
}
DORMAND_PRINCE = Tableau(
    (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1),
    (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0),
)
FOURTH_ORDER = (5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
ERROR = [fifth - fourth for fifth, fourth in zip(DORMAND_PRINCE.weights, FOURTH_ORDER, strict=True)]


Solver = Literal["adaptive", "rk4", "midpoint", "euler"]


def solve(
    field: Field,
    y: Tensor,
    start: float,
    end: float,
    *,
    solver: Solver,
    steps: int,
    tolerance: float,
) -> Tensor:
    """The state at `end` of y (R, C) at `start`, by either way."""
    if solver == "adaptive":
        return adaptive(field, y, start, end, tolerance=tolerance)
    return fixed(field, y, start, end, method=solver, steps=steps)


def fixed(field: Field, y: Tensor, start: float, end: float, *, method: str, steps: int) -> Tensor:
    """The state at `end` of y (R, C) at `start`, in equal steps.

    Args:
        field: Slopes.
        y: States at `start`.
        start: Time.
        end: Time, before or after `start`.
        method: A key of `TABLEAUS`.
        steps: How many.
    """
    rows = torch.arange(len(y), device=y.device)
    length, tableau = (end - start) / steps, TABLEAUS[method]
    step = y.new_full((len(y), 1), length)
    for number in range(steps):
        t = torch.full_like(step, start + number * length)
        slopes = _slopes(field, rows, t, y, step, tableau, field(t, y, rows))
        y = y + step * _mixed(slopes, tableau.weights)
    return y


def adaptive(field: Field, y: Tensor, start: float, end: float, *, tolerance: float) -> Tensor:
    """The state at `end` of y (R, C) at `start`, by Dormand and Prince's method of order 5.

    Each row goes in steps of its own. The error of a step, estimated by the method of order 4
    within, is at most `tolerance` (1 + |y|) in each column. A state that is NaN or infinite stays
    so, and its row leaves at once.

    Args:
        field: Slopes.
        y: States at `start`.
        start: Time.
        end: Time, before or after `start`.
        tolerance: Relative and absolute error of one step.
    """
    if len(y) == 0:
        return y
    going = _Going.begin(field, y, start)
    span = end - start
    arrived: list[tuple[Tensor, Tensor]] = []
    while len(going.rows):
        going = _step(field, going, start, span, tolerance)
        goes_on = ((going.done < 1) & going.y.detach().isfinite().all(1, keepdim=True))[:, 0]
        if not goes_on.all():
            arrived.append((going.rows[~goes_on], going.y[~goes_on]))
            going = going.where(goes_on)
    order = torch.cat([rows for rows, _ in arrived]).argsort()
    return torch.cat([states for _, states in arrived])[order]


class _Going(NamedTuple):
    """Rows on their way.

    Args:
        rows: Their numbers, (R,).
        y: Their states, (R, C).
        slope: dy/dt there.
        done: Share of the span behind each, (R, 1).
        step: The next one, as a share of the span, (R, 1).
    """

    rows: Tensor
    y: Tensor
    slope: Tensor
    done: Tensor
    step: Tensor

    @classmethod
    def begin(cls, field: Field, y: Tensor, start: float) -> Self:
        rows, done = torch.arange(len(y), device=y.device), y.new_zeros(len(y), 1)
        slope = field(torch.full_like(done, start), y, rows)
        return cls(rows, y, slope, done, torch.full_like(done, FIRST_STEP))

    def where(self, mask: Tensor) -> Self:
        """The rows of a mask (R,)."""
        return type(self)(*(values[mask] for values in self))


def _step(field: Field, going: _Going, start: float, span: float, tolerance: float) -> _Going:
    """Each row after its next step, or where it was with a smaller one to come."""
    rows, y, slope, done, step = going
    step = torch.minimum(step, 1 - done)
    slopes = _slopes(field, rows, start + span * done, y, span * step, DORMAND_PRINCE, slope)
    after = y + span * step * _mixed(slopes, DORMAND_PRINCE.weights)
    largest = torch.maximum(y.abs(), after.abs()).detach()
    error = (span * step * _mixed(slopes, ERROR)).detach().abs() / (tolerance * (1 + largest))
    error = error.amax(1, keepdim=True).nan_to_num(nan=torch.inf, posinf=torch.inf)
    taken = (error <= 1) | (step <= SMALLEST_STEP)
    factor = (SAFETY * error.clamp(min=1e-9) ** -0.2).clamp(SLOWER, FASTER)
    return _Going(
        rows,
        torch.where(taken, after, y),
        torch.where(taken, slopes[-1], slope),
        torch.where(taken, done + step, done),
        (step * factor).clamp(min=SMALLEST_STEP),
    )


def _slopes(
    field: Field, rows: Tensor, t: Tensor, y: Tensor, step: Tensor, tableau: Tableau, first: Tensor
) -> list[Tensor]:
    """The slopes of all stages, the first one given."""
    slopes = [first]
    for share, weights in zip(tableau.times, tableau.stages, strict=True):
        slopes.append(field(t + share * step, y + step * _mixed(slopes, weights), rows))
    return slopes


def _mixed(slopes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The sum of slopes (R, C) times their weights."""
    terms = []
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            terms.append(weight * slope)
    if len(terms) == 1:
        return terms[0]
    return torch.stack(terms).sum(0)
