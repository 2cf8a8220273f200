"""NLPD: the negative log density that the posterior gives to the truth, the one number that ranks posteriors of the same problem.

    nlpd = -mean log q(theta* | x)

in nats, in the units of theta (Jacobians included). Lower is better; the expectation is lowest for the exact posterior, as the score
is proper [Gneiting, Raftery 2007].

Warning: the number has no zero of its own and changes with the units: compare it only between posteriors of the same theta on the same
test pairs. A few truths far out in the tails may rule the mean, so look at the worst pairs.

References:
    Gneiting, Raftery 2007, Strictly proper scoring rules, prediction, and estimation, https://doi.org/10.1198/016214506000001437.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart
from sbiwb.diagnostics import _inputs
from sbiwb.evidence import Draws, Value
from sbiwb.families import Count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "nlpd"
HEADING = "NLPD: what density does the posterior give to the truth?"


class Config(DiagnosticPart):
    """Options of the negative log density."""

    worst: Count = Field(
        5, ge=0, le=20, description="How many test pairs of the lowest density the picture names."
    )


@dataclass(frozen=True)
class Result:
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

    definitions: ClassVar[dict[str, str]] = {
        NAME: "-mean log q(theta*|x) over test pairs, in nats, in the units of theta, Jacobians included [Gneiting, Raftery 2007]"
    }


def compute(draws: Draws, config: Config) -> Result:
    """Mean of -log q at the truth, with its standard error in words."""
    losses = (
        np.empty(0) if draws.log_prob_theta is None else -np.asarray(draws.log_prob_theta, float)
    )
    trouble = (
        "log q at the truth is not known" if draws.log_prob_theta is None else _trouble(losses)
    )
    finite = np.flatnonzero(np.isfinite(losses))
    worst = tuple(
        int(row) for row in finite[np.argsort(-losses[finite], kind="stable")][: config.worst]
    )
    excluded = "truth excluded" if trouble and np.isposinf(losses).any() else None
    value = (
        Value(NAME, _inputs.ALL, None, warning=excluded, reason=trouble)
        if trouble
        else _value(losses)
    )
    return Result(losses, worst, trouble, (value,))


def _trouble(losses: np.ndarray) -> str | None:
    n = len(losses)
    if n < 2:
        return _inputs.few(n)
    broken, zero = (
        int((np.isnan(losses) | np.isneginf(losses)).sum()),
        int(np.isposinf(losses).sum()),
    )
    if broken:
        return f"log q at the truth is not a number in {broken} of {n} test pairs"
    return f"q is zero at the truth in {zero} of {n} test pairs" if zero else None


def _value(losses: np.ndarray) -> Value:
    error = losses.std(ddof=1) / np.sqrt(len(losses))
    return Value(
        NAME,
        _inputs.ALL,
        float(losses.mean()),
        reason=f"± {error:.2g} nats (standard error over {len(losses)} test pairs)",
    )


def plot(result: Result) -> Figure:
    """Histogram of -log q at the truth, its mean, and the worst pairs by their number."""
    from sbiwb.diagnostics import _grid

    losses = result.losses[np.isfinite(result.losses)]
    if not len(losses):
        return _grid.empty(HEADING, result.trouble or "no finite number")
    figure, axes = _grid.panels(1)
    _histogram(axes[0, 0], losses, result)
    note = f"{len(losses)} test pairs; orange: their mean; red: the worst, by their row (from 0); those far out stand at the right end"
    _grid.finish(
        figure, HEADING, note + (f"; left out: {result.trouble}" if result.trouble else "")
    )
    return figure


def _histogram(axes: Axes, losses: np.ndarray, result: Result) -> None:
    from sbiwb.diagnostics import _grid

    mean = result.values[0].value
    _grid.title(axes, _inputs.ALL, "" if mean is None else f"{mean:.3g} nats")
    axes.set(xlabel="-log q(truth | x) in nats", ylabel="test pairs")
    low, high = np.quantile(losses, [0.25, 0.75])
    top = min(
        float(losses.max()), float(high + 10 * (high - low))
    )  # a single loss of 1e6 would leave no histogram to see
    axes.hist(np.minimum(losses, top), bins=40, color=_grid.SKY)
    if mean is not None and mean <= top:
        axes.axvline(mean, color=_grid.ORANGE, lw=1.4)
    if result.worst:
        at = np.minimum(result.losses[list(result.worst)], top)
        axes.plot(at, np.zeros(len(at)), "|", color=_grid.VERMILLION, ms=9, clip_on=False)
        said = textwrap.fill(f"worst pairs: {', '.join(map(str, result.worst))}", 24)
        axes.text(
            0.98,
            0.96,
            said,
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontsize=7,
            color=_grid.VERMILLION,
        )
