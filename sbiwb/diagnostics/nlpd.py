"""NLPD: the negative log density that the posterior gives to the truth.

    nlpd = -mean log q(theta* | x)

in nats, in the units of theta (Jacobians included): the one number that ranks posteriors of the
same problem. Lower is better; the expectation is lowest for the exact posterior, as the score is
proper [Gneiting, Raftery 2007].

Warning: the number has no zero of its own and changes with the units: compare it only between
posteriors of the same theta on the same test pairs. A few truths far out in the tails may rule the
mean, so look at the worst pairs.

References:
    Gneiting, Raftery 2007, Strictly proper scoring rules, prediction, and estimation,
    https://doi.org/10.1198/016214506000001437.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, DiagnosticResult
from sbiwb.diagnostics import _inputs
from sbiwb.evidence import Draws, Rule, Value
from sbiwb.families import Count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "nlpd"
UNKNOWN = "log q at the truth is not known"
HEADING = "NLPD: what density does the posterior give to the truth?"
DEFINITION = (
    "-mean log q(theta*|x) over test pairs, in nats, in the units of theta, Jacobians included "
    "[Gneiting, Raftery 2007]"
)


class Config(DiagnosticPart):
    """Options of the negative log density."""

    worst: Count = Field(
        5, ge=0, le=20, description="How many test pairs of the lowest density the picture names."
    )


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """The density at the truth.

    Args:
        losses: -log q(theta* | x) in nats, (N,); empty where q is not known.
        worst: Test pairs with the largest finite losses, the worst first.
        trouble: Why there is no number, else None.
        values: `nlpd`.
    """

    losses: np.ndarray
    worst: tuple[int, ...]
    trouble: str | None
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {NAME: DEFINITION}


def compute(draws: Draws, config: Config) -> Result:
    """Mean of -log q at the truth, with its standard error in words."""
    if draws.log_prob_theta is None:
        return Result(np.empty(0), (), UNKNOWN, (_missing(np.empty(0), UNKNOWN),))
    losses = -np.asarray(draws.log_prob_theta, float)
    worst = _worst(losses, config.worst)
    trouble = _trouble(losses)
    if trouble:
        return Result(losses, worst, trouble, (_missing(losses, trouble),))
    return Result(losses, worst, None, (_value(losses),))


def _worst(losses: np.ndarray, count: int) -> tuple[int, ...]:
    """Pairs with the largest finite losses."""
    finite = np.flatnonzero(np.isfinite(losses))
    order = finite[np.argsort(-losses[finite], kind="stable")]
    return tuple(order[:count].tolist())


def _trouble(losses: np.ndarray) -> str | None:
    n = len(losses)
    if n < 2:
        return _inputs.too_few(n)
    broken = int((np.isnan(losses) | np.isneginf(losses)).sum())
    if broken:
        return f"log q at the truth is not a number in {broken} of {n} test pairs"
    zero = int(np.isposinf(losses).sum())
    if zero:
        return f"q is zero at the truth in {zero} of {n} test pairs"
    return None


def _missing(losses: np.ndarray, trouble: str) -> Value:
    """No number; a warning where q excludes the truth."""
    if np.isposinf(losses).any():
        return Value(NAME, _inputs.ALL, None, warning=Rule.TRUTH_EXCLUDED, reason=trouble)
    return Value(NAME, _inputs.ALL, None, reason=trouble)


def _value(losses: np.ndarray) -> Value:
    error = losses.std(ddof=1) / np.sqrt(len(losses))
    reason = f"± {error:.2g} nats (standard error over {len(losses)} test pairs)"
    return Value(NAME, _inputs.ALL, float(losses.mean()), reason=reason)


def plot(result: Result) -> Figure:
    """Histogram of -log q at the truth, its mean, and the worst pairs by their number."""
    from sbiwb.diagnostics import _grid

    losses = result.losses[np.isfinite(result.losses)]
    if not len(losses):
        return _grid.empty(HEADING, result.trouble or "no finite number")
    figure, axes = _grid.panels(1)
    _histogram(axes[0, 0], losses, result)
    note = (
        f"{len(losses)} test pairs; orange: their mean; red: the worst, by their row (from 0); "
        "those far out stand at the right end"
    )
    if result.trouble:
        note += f"; left out: {result.trouble}"
    _grid.finish(figure, HEADING, note)
    return figure


def _histogram(axes: Axes, losses: np.ndarray, result: Result) -> None:
    from sbiwb.diagnostics import _grid

    axes.set(xlabel="-log q(truth | x) in nats", ylabel="test pairs")
    top = _shown_end(losses)
    axes.hist(np.minimum(losses, top), bins=40, color=_grid.SKY)
    _mark_mean(axes, result.values[0].value, top)
    if result.worst:
        _mark_worst(axes, result, top)


def _shown_end(losses: np.ndarray) -> float:
    """Where the histogram ends: a single loss of 1e6 would leave none to see."""
    low, high = np.quantile(losses, [0.25, 0.75])
    return min(float(losses.max()), float(high + 10 * (high - low)))


def _mark_mean(axes: Axes, mean: float | None, top: float) -> None:
    from sbiwb.diagnostics import _grid

    if mean is None:
        return _grid.title(axes, _inputs.ALL)
    _grid.title(axes, _inputs.ALL, f"{mean:.3g} nats")
    if mean <= top:
        axes.axvline(mean, color=_grid.ORANGE, lw=1.4)


def _mark_worst(axes: Axes, result: Result, top: float) -> None:
    from sbiwb.diagnostics import _grid

    at = np.minimum(result.losses[list(result.worst)], top)
    axes.plot(at, np.zeros(len(at)), "|", color=_grid.VERMILLION, ms=9, clip_on=False)
    words = textwrap.fill(f"worst pairs: {', '.join(map(str, result.worst))}", 24)
    _grid.write(axes, 0.98, 0.96, words, ha="right", va="top", color=_grid.VERMILLION)
