"""Recovery: true parameters against posterior medians with central 95 % intervals.

    r = corr(median, theta*),    R² = 1 - Σ(theta* - median)² / Σ(theta* - mean(theta*))²,
    slope of median on theta*

A slope below 1 is no fault: a posterior from weak data shrinks toward the prior, as it should. A
discrete parameter with few levels, a model index say, is a label: it is judged by the probabilities
of its levels instead, see `_levels`.

References:
    Radev et al. 2020, BayesFlow: learning complex stochastic models with invertible neural
    networks, https://arxiv.org/abs/2003.06281.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sbiwb.contracts import DiagnosticPart, DiagnosticResult, OutputKind
from sbiwb.diagnostics import _inputs, _levels
from sbiwb.diagnostics._levels import LevelPosterior
from sbiwb.evidence import Draws, Value
from sbiwb.row_arrays import RowArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 200  # in a panel
INTERVAL_LEVELS = (0.025, 0.5, 0.975)
R, R2, SLOPE = "recovery_r", "recovery_r2", "recovery_slope"
FLAT = "the posterior median is the same in every test pair"
HEADING = "Recovery: does the posterior find the truth?"
LEVELS_NOTE = (
    "; matrices: mean probability of each level, for each true one; lines beside them: how often a "
    "level is true where it has that probability, bars 95 %"
)


class Config(DiagnosticPart):
    """Options of recovery: none."""

    needs: ClassVar[OutputKind] = OutputKind.ESTIMATE


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """Truth and posterior of D parameters.

    Args:
        names: D names.
        theta: Truth, (N, D).
        median: Posterior median, (N, D).
        low: 2.5 % quantile, (N, D).
        high: 97.5 % quantile, (N, D).
        troubles: Why a parameter was not judged, else None, D entries.
        values: `recovery_r`, `recovery_r2` and `recovery_slope` of each parameter; of a discrete
            one its accuracy, scores and level errors.
        levels: What the posterior says of each discrete parameter that was judged, by its name.
    """

    names: tuple[str, ...]
    theta: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    troubles: tuple[str | None, ...]
    values: tuple[Value, ...]
    levels: Mapping[str, LevelPosterior]

    definitions: ClassVar[dict[str, str]] = {
        R: "Pearson correlation of posterior median and theta* [Radev et al. 2020]",
        R2: (
            "1 - sum((theta* - median)^2) / sum((theta* - mean)^2), negative if worse than the "
            "mean [Radev et al. 2020]"
        ),
        SLOPE: "least-squares slope of the posterior median on theta* (1: no shrinkage)",
        **_levels.DEFINITIONS,
    }

    def value(self, name: str, parameter: str) -> float | None:
        """One number."""
        for value in self.values:
            if (value.name, value.parameter) == (name, parameter):
                return value.value
        return None


def compute(draws: Draws, config: Config) -> Result:
    """Medians, intervals, and how well they follow the truth."""
    low, median, high = quantiles(draws.draws, INTERVAL_LEVELS)
    troubles = _inputs.troubles(draws)
    levels = _level_posteriors(draws, troubles)
    values: list[Value] = []
    for d, name in enumerate(draws.names):
        if name in levels:
            values += _levels.level_values(levels[name])
        elif is_label(draws, name):
            values += _levels.missing_values(name, troubles[d] or "unknown")
        else:
            values += _values(name, draws.theta[:, d], median[:, d], troubles[d])
    return Result(draws.names, draws.theta, median, low, high, troubles, tuple(values), levels)


def is_label(draws: Draws, name: str) -> bool:
    """Whether a column is discrete and has few levels."""
    return name in draws.levels and len(draws.levels[name]) <= _levels.MAX_LEVELS


def _level_posteriors(draws: Draws, troubles: tuple[str | None, ...]) -> dict[str, LevelPosterior]:
    """Of every discrete column that can be judged."""
    posteriors = {}
    for d, name in enumerate(draws.names):
        if is_label(draws, name) and troubles[d] is None:
            posteriors[name] = _levels.level_posterior(
                name, np.asarray(draws.levels[name]), draws.theta[:, d], draws.draws, d
            )
    return posteriors


def quantiles(draws: RowArray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantiles of draws (N, S, D) over S, interpolated as `numpy.quantile` does, in one sort.

    Returns:
        (len(levels), N, D).
    """
    n, s, d = draws.shape
    position = np.asarray(levels) * (s - 1)
    floor = np.floor(position).astype(int)
    ceiling = np.minimum(floor + 1, s - 1)
    weight = position - floor
    result = np.empty((n, d, len(levels)))
    with np.errstate(all="ignore"):
        for rows, block in _inputs.blocks(draws):
            block.sort(axis=2)
            result[rows] = block[..., floor] * (1 - weight) + block[..., ceiling] * weight
    return np.moveaxis(result, -1, 0)


def _values(name: str, theta: np.ndarray, median: np.ndarray, trouble: str | None) -> list[Value]:
    """How medians (N,) follow truths (N,); none of the numbers has a unit."""
    if trouble:
        return [Value(label, name, None, reason=trouble) for label in (R, R2, SLOPE)]
    unit = np.ptp(theta)  # squares could overflow
    theta, median = theta / unit, median / unit
    truth, centred, error = theta - theta.mean(), median - median.mean(), theta - median
    total, cross, spread = truth @ truth, truth @ centred, centred @ centred
    return [
        _correlation(name, cross, total * spread),
        Value(R2, name, float(1 - error @ error / total)),
        Value(SLOPE, name, float(cross / total)),
    ]


def _correlation(name: str, cross: float, squares: float) -> Value:
    if squares > 0:
        return Value(R, name, float(cross / np.sqrt(squares)))
    return Value(R, name, None, reason=FLAT)


def plot(result: Result) -> Figure:
    """Posterior median and interval against the truth, at most 200 test pairs a panel.

    A discrete parameter has its confusion matrix, and beside it how often a level is the truth
    where the posterior gives it that probability.
    """
    from sbiwb.diagnostics import _grid

    figure, axes = _grid.panels(len(result.names) + len(result.levels))
    rows = _grid.sample(len(result.theta), MAX_POINTS)
    panels = iter(axes[:, 0])
    for d, name in enumerate(result.names):
        if name in result.levels:
            _draw_levels(next(panels), next(panels), result, name)
        else:
            _bars(next(panels), result, d, rows)
    note = (
        f"{len(rows)} of {len(result.theta)} test pairs; bars: central 95 % intervals; "
        "line: perfect recovery"
    )
    if result.levels:
        note += LEVELS_NOTE
    _grid.finish(figure, HEADING, note)
    return figure


def _draw_levels(confusion: Axes, reliability: Axes, result: Result, name: str) -> None:
    from sbiwb.diagnostics import _levels_picture

    accuracy = result.value(_levels.ACCURACY, name) or 0.0
    _levels_picture.draw_confusion(confusion, result.levels[name], accuracy)
    _levels_picture.draw_reliability(reliability, result.levels[name])


def _bars(axes: Axes, result: Result, d: int, rows: np.ndarray) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, result.names[d], _subtitle(result, result.names[d]))
    axes.set(xlabel="truth", ylabel="posterior median")
    if result.troubles[d]:
        return _grid.message(axes, result.troubles[d])
    _draw_bars(axes, result, d, rows)


def _draw_bars(axes: Axes, result: Result, d: int, rows: np.ndarray) -> None:
    from sbiwb.diagnostics import _grid

    theta = result.theta[rows, d]
    interval = (result.low[rows, d], result.high[rows, d])
    axes.vlines(theta, *interval, color=_grid.SKY, lw=0.8, alpha=0.6)
    axes.scatter(theta, result.median[rows, d], s=9, color=_grid.BLUE, lw=0, zorder=3)
    axes.axline((theta.mean(), theta.mean()), slope=1, color=_grid.INK, lw=0.8)


def _subtitle(result: Result, name: str) -> str:
    r, r2 = result.value(R, name), result.value(R2, name)
    if r is None or r2 is None:
        return ""
    return f"r {r:.2f}, R² {r2:.2f}"
