"""Data budget: would more simulations help?

The same network, trained on growing parts of the simulations, is judged on the same N validation
pairs, so that differences are paired. The mean losses are fitted by least squares with a falling
curve

    loss(n) = a + b n^-c,    b >= 0,

c = 1 for two trainings (the rate of a well-specified network of fixed size), c in [0.2, 1] from
three on. The gain of doubling the simulations is b n^-c (1 - 2^-c) at the largest n. Its interval
comes from 1,000 bootstrap samples of the validation pairs.

Warning: the interval knows of the validation pairs, not of the luck of each training (initial
weights, order of the batches); a single training may be off by a few hundredths of a nat. And the
curve tells of this network: a larger one may gain more from the same data.

References:
    Hestness et al. 2017, Deep learning scaling is predictable, empirically,
    https://arxiv.org/abs/1712.00409.
    Kaplan et al. 2020, Scaling laws for neural language models, https://arxiv.org/abs/2001.08361.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, DiagnosticResult
from sbiwb.diagnostics import _inputs
from sbiwb.evidence import Budget, EvidenceKind, Rule, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAIN, LAST = "doubling_gain", "last_gain"
EXPONENTS = np.linspace(0.2, 1.0, 33)
BOOTSTRAPS = 1_000
MIN_PAIRS = 20  # validation pairs
GAIN_ERRORS = 2.0  # standard errors from which a gain is sure
MAX_NATS = 1e12  # of one pair; squares of more than that would drown the others
HEADING = "Data budget: would more simulations help?"
NOTE = (
    "bars: two standard errors of the paired difference to the last training; line: "
    "loss = a + b n^-c fitted, and what it expects of twice the simulations; grey: its central "
    "95 % over validation pairs"
)


class Config(DiagnosticPart):
    """Options of the data budget."""

    takes: ClassVar[EvidenceKind] = EvidenceKind.BUDGET

    worth_nats: float = Field(
        0.05,
        ge=0,
        description="Gain of doubling the simulations, in nats, from which we advise to do so.",
    )


@dataclass(frozen=True)
class BudgetCurve:
    """loss(n) = a + b n^-c of several samples at once; each (R,)."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def at(self, pairs: np.ndarray) -> np.ndarray:
        """Losses at numbers of training pairs (P,), (R, P)."""
        return self.a[:, None] + self.b[:, None] * pairs ** -self.c[:, None]

    def gain(self, pairs: float) -> np.ndarray:
        """What doubling that number of pairs takes off the loss, (R,), in nats."""
        return self.b * pairs**-self.c * (1 - 2**-self.c)


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """Loss against training pairs.

    Args:
        pairs: Training pairs, (B,).
        loss: Mean validation loss, in nats, (B,).
        error: Standard error of its paired difference to the last one, (B,).
        fit: Pairs (P,) up to twice the largest number, and the fitted losses there, (2, P).
        interval: Central 95 % of the fitted losses over bootstrap samples, as differences to the
            last training's loss, (2, P).
        values: `doubling_gain` and `last_gain`.
    """

    pairs: np.ndarray
    loss: np.ndarray
    error: np.ndarray
    fit: np.ndarray
    interval: np.ndarray
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        GAIN: (
            "expected fall of the validation loss (-log q(theta* | x), nats) if the training "
            "simulations were doubled, from loss = a + b n^-c fitted to trainings on parts of them "
            "[Hestness et al. 2017]"
        ),
        LAST: "validation loss of the last training but one less that of the last, nats, paired",
    }


def compute(budget: Budget, config: Config) -> Result:
    """Paired differences, the fitted curve, and the gain it promises."""
    trouble = _trouble(budget)
    if trouble:
        return _unjudged(trouble)
    pairs = budget.pairs.astype(float)
    loss = budget.losses.mean(axis=1)
    error = _paired_errors(budget.losses)
    resampled = _resampled(budget.losses)
    curve = fit(pairs, loss[None])
    samples = fit(pairs, resampled)
    grid = np.geomspace(pairs[0], 2 * pairs[-1], 60)
    differences = samples.at(grid) - resampled[:, -1:]
    interval = loss[-1] + np.quantile(differences, [0.025, 0.975], axis=0)
    gain = _gain_value(curve.gain(pairs[-1])[0], samples.gain(pairs[-1]), pairs[-1], config)
    fitted = np.stack([grid, curve.at(grid)[0]])
    return Result(
        budget.pairs, loss, error, fitted, interval, (gain, _last_value(pairs, loss, error))
    )


def _unjudged(trouble: str) -> Result:
    nothing, no_curve = np.zeros(0), np.zeros((2, 0))
    values = tuple(Value(name, "training pairs", None, reason=trouble) for name in (GAIN, LAST))
    return Result(nothing, nothing, nothing, no_curve, no_curve, values)


def _paired_errors(losses: np.ndarray) -> np.ndarray:
    """Standard error of each training's difference to the last, (B,)."""
    differences = losses - losses[-1]
    return differences.std(axis=1, ddof=1) / np.sqrt(losses.shape[1])


def _trouble(budget: Budget) -> str | None:
    b, n = budget.losses.shape
    if b < 2:
        return f"{_inputs.counted(b, 'training')}: a curve needs two, three are better"
    if n < MIN_PAIRS:
        return _inputs.too_few(n, "validation pair")
    if not (budget.pairs[0] > 0 and np.all(np.diff(budget.pairs) > 0)):
        numbers = ", ".join(map(str, budget.pairs.tolist()))
        return f"the numbers of training pairs do not rise: {numbers}"
    bad = int((~(np.abs(budget.losses) < MAX_NATS)).any(axis=0).sum())
    if bad:
        beyond = f"beyond {MAX_NATS:g} nats, in {bad} of {n} validation pairs"
        return f"the loss is not finite, or {beyond}"
    return None


def _resampled(losses: np.ndarray) -> np.ndarray:
    """Mean losses of bootstrap samples of the validation pairs, (R, B).

    The seed is not of a run: the same losses give the same numbers.
    """
    rng = generator(0, "bands", 1)
    n = losses.shape[1]
    samples = np.empty((BOOTSTRAPS, len(losses)))
    for sample in samples:
        counts = np.bincount(rng.integers(n, size=n), minlength=n)
        sample[:] = losses @ counts
    return samples / n


def fit(pairs: np.ndarray, losses: np.ndarray) -> BudgetCurve:
    """Least squares of loss = a + b n^-c for R samples of losses (R, B) at pairs (B,).

    Example:
        >>> curve = fit(np.array([100.0, 200.0]), np.array([[1.5, 1.0]]))
        >>> curve.gain(200.0).round(9).tolist()
        [0.25]
    """
    exponents = EXPONENTS
    if len(pairs) <= 2:
        exponents = np.ones(1)
    unit_pairs = (pairs / pairs[-1])[None]  # in units of the largest number, for the digits' sake
    power = unit_pairs ** -exponents[:, None]  # (E, B)
    centred = power - power.mean(axis=1, keepdims=True)
    mean = losses.mean(axis=1)
    slope = np.maximum(0.0, losses @ centred.T / (centred**2).sum(axis=1))  # (R, E)
    left = ((losses - mean[:, None])[:, None] - slope[:, :, None] * centred) ** 2
    best = left.sum(axis=2).argmin(axis=1)
    c = exponents[best]
    b = slope[np.arange(len(losses)), best]
    return BudgetCurve(mean - b * power.mean(axis=1)[best], b * pairs[-1] ** c, c)


def _gain_value(gain: float, samples: np.ndarray, pairs: float, config: Config) -> Value:
    low, high = np.quantile(samples, [0.025, 0.975])
    where = f"{pairs:,.0f} pairs"
    interval = f"(95 %: {low:.3f} to {high:.3f})"
    reason = f"doubling {where} is expected to lower the loss by {gain:.3f} nats {interval}"
    if gain > max(config.worth_nats, GAIN_ERRORS * samples.std(ddof=1)):
        return Value(GAIN, where, float(gain), warning=Rule.MORE_SIMULATIONS, reason=reason)
    return Value(GAIN, where, float(gain), reason=reason)


def _last_value(pairs: np.ndarray, loss: np.ndarray, error: np.ndarray) -> Value:
    span = f"{pairs[-2]:,.0f} to {pairs[-1]:,.0f} pairs"
    reason = f"± {error[-2]:.3f} nats (standard error)"
    return Value(LAST, span, float(loss[-2] - loss[-1]), reason=reason)


def plot(result: Result) -> Figure:
    """Validation loss against training pairs, with the fitted curve up to twice their number."""
    from sbiwb.diagnostics import _grid

    if not len(result.pairs):
        return _grid.empty(HEADING, result.values[0].reason)
    figure, axes = _grid.panels(1)
    figure.set_size_inches(6.0, 3.8)
    _draw(axes[0, 0], result)
    _grid.finish(figure, HEADING, NOTE)
    return figure


def _draw(panel: Axes, result: Result) -> None:
    from sbiwb.diagnostics import _grid

    grid, fitted = result.fit
    _grid.band(panel, grid, *result.interval)
    panel.plot(grid, fitted, color=_grid.INK, lw=0.8, ls="--")
    panel.errorbar(
        result.pairs, result.loss, 2 * result.error, fmt="o", color=_grid.BLUE, ms=5, lw=1.2
    )
    panel.set(xlabel="training pairs", ylabel="validation loss (nats)")
    _mark_pairs(panel, result.pairs)


def _mark_pairs(panel: Axes, pairs: np.ndarray) -> None:
    """Ticks at the trainings and at twice the last."""
    ticks = [*pairs.tolist(), 2 * int(pairs[-1])]
    panel.set_xscale("log")
    panel.set_xticks(ticks, [f"{tick:,}" for tick in ticks], minor=False)
    panel.set_xticks([], minor=True)
