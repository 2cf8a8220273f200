"""Recovery: true parameters against posterior medians with central 95 % intervals.

    r = corr(median, theta*),    R² = 1 - Σ(theta* - median)² / Σ(theta* - mean(theta*))²,    slope of median on theta*

A slope below 1 is no fault: a posterior from weak data shrinks toward the prior, as it should.

References:
    Radev et al. 2020, BayesFlow: learning complex stochastic models with invertible neural networks, https://arxiv.org/abs/2003.06281.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sbiwb.contracts import DiagnosticPart, OutputKind
from sbiwb.diagnostics import _inputs
from sbiwb.evidence import Draws, RowArray, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 200  # in a panel
QUANTILES = (0.025, 0.5, 0.975)
NAMES = ("recovery_r", "recovery_r2", "recovery_slope")


class Config(DiagnosticPart):
    """Options of recovery: none."""

    needs: ClassVar[OutputKind] = OutputKind.ESTIMATE


@dataclass(frozen=True)
class Result:
    """Truth and posterior of D parameters.

    Args:
        names: D names.
        theta: Truth, (N, D).
        median: Posterior median, (N, D).
        low: 2.5 % quantile, (N, D).
        high: 97.5 % quantile, (N, D).
        troubles: Why a parameter was not judged, else None, D entries.
        values: `recovery_r`, `recovery_r2` and `recovery_slope` of each parameter.
    """

    names: tuple[str, ...]
    theta: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    troubles: tuple[str | None, ...]
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        "recovery_r": "Pearson correlation of posterior median and theta* [Radev et al. 2020]",
        "recovery_r2": "1 - sum((theta* - median)^2) / sum((theta* - mean)^2), negative if worse than the mean [Radev et al. 2020]",
        "recovery_slope": "least-squares slope of the posterior median on theta* (1: no shrinkage)",
    }


def compute(draws: Draws, config: Config) -> Result:
    """Medians, intervals, and how well they follow the truth."""
    low, median, high = quantiles(draws.draws, QUANTILES)
    troubles = _inputs.troubles(draws)
    values = tuple(
        value
        for d, name in enumerate(draws.names)
        for value in _values(name, draws.theta[:, d], median[:, d], troubles[d])
    )
    return Result(draws.names, draws.theta, median, low, high, troubles, values)


def quantiles(draws: RowArray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantiles of draws (N, S, D) over S, (len(levels), N, D), interpolated as `numpy.quantile` does, in one sort."""
    n, s, d = draws.shape
    position = np.asarray(levels) * (s - 1)
    floor = np.floor(position).astype(int)
    ceiling, weight = np.minimum(floor + 1, s - 1), position - floor
    found = np.empty((n, d, len(levels)))
    with np.errstate(all="ignore"):
        for rows, block in _inputs.blocks(draws):
            block.sort(axis=2)
            found[rows] = block[..., floor] * (1 - weight) + block[..., ceiling] * weight
    return np.moveaxis(found, -1, 0)


def _values(
    name: str, theta: np.ndarray, median: np.ndarray, trouble: str | None
) -> tuple[Value, ...]:
    if trouble:
        return tuple(Value(label, name, None, reason=trouble) for label in NAMES)
    theta, median = (
        theta / np.ptp(theta),
        median / np.ptp(theta),
    )  # none of the numbers has a unit; squares could overflow
    truth, ridge_prediction, error = theta - theta.mean(), median - median.mean(), theta - median
    total, cross, spread = (
        truth @ truth,
        truth @ ridge_prediction,
        ridge_prediction @ ridge_prediction,
    )
    flat = "the posterior median is the same in every test pair"
    r = (
        Value(NAMES[0], name, float(cross / np.sqrt(total * spread)))
        if spread > 0
        else Value(NAMES[0], name, None, reason=flat)
    )
    return (
        r,
        Value(NAMES[1], name, float(1 - error @ error / total)),
        Value(NAMES[2], name, float(cross / total)),
    )


def plot(result: Result) -> Figure:
    """Posterior median and interval against the truth, at most 200 test pairs a panel."""
    from sbiwb.diagnostics import _grid

    figure, axes = _grid.panels(len(result.names))
    rows = _grid.sample(len(result.theta), MOST_POINTS)
    for d, (panel,) in enumerate(axes):
        _bars(panel, result, d, rows)
    note = f"{len(rows)} of {len(result.theta)} test pairs; bars: central 95 % intervals; line: perfect recovery"
    _grid.finish(figure, "Recovery: does the posterior find the truth?", note)
    return figure


def _bars(axes: Axes, result: Result, d: int, rows: np.ndarray) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, result.names[d], _subtitle(result, d))
    axes.set(xlabel="truth", ylabel="posterior median")
    if result.troubles[d]:
        return _grid.message(axes, result.troubles[d])
    theta, median = result.theta[rows, d], result.median[rows, d]
    axes.vlines(
        theta, result.low[rows, d], result.high[rows, d], color=_grid.SKY, lw=0.8, alpha=0.6
    )
    axes.scatter(theta, median, s=9, color=_grid.BLUE, lw=0, zorder=3)
    axes.axline((theta.mean(), theta.mean()), slope=1, color=_grid.INK, lw=0.8)


def _subtitle(result: Result, d: int) -> str:
    found = {
        value.name: value.value for value in result.values if value.parameter == result.names[d]
    }
    r, r2 = found.get(NAMES[0]), found.get(NAMES[1])
    return "" if r is None or r2 is None else f"r {r:.2f}, R² {r2:.2f}"
