"""Epistemic share: how much of the posterior's variance comes from not knowing the weights?

    share = max(0, B) / (max(0, B) + mean_w Var_w),    B = Var_w(mean_w) - mean_w(Var_w) / n

for W weight draws, or members of an ensemble, with n posterior draws each; both variances with ddof
1. The means of n draws scatter even where all weights agree; the last term takes that out (20
weight draws of 50 draws each would show 2 % where there is none). Where the shares w of the
posterior were fitted and differ, its networks are no sample of others, and the share is that of
this very mixture: B = sum w (m - mean)^2 - sum w (1 - w) Var_w / n. The value is the median over
test pairs, of shares that may be negative, so that noise around 0 does not add up; below 0 the
median is told as 0.

Warning: B scatters by a factor 1 ± sqrt(2 / (W - 1)); take 10 weight draws or more. A large share
says that more training data, or better ones, would change the posterior; it is no sign that the
posterior is wrong.

References:
    Depeweg, Hernández-Lobato, Doshi-Velez, Udluft 2018, Decomposition of uncertainty in Bayesian
    deep learning for efficient and risk-sensitive learning, https://arxiv.org/abs/1710.07283.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, DiagnosticResult, OutputKind
from sbiwb.evidence import EvidenceKind, Rule, Value, WeightDraws

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "epistemic_share"
QUANTILE_LEVELS = (0.05, 0.5, 0.95)
EQUAL_SHARES = 1e-6  # range of shares below which members count alike
DEFINITION = (
    "median over test pairs of (variance over weight draws of the posterior mean - mean variance / "
    "draws per weight draw) / total variance, not below 0 [Depeweg et al. 2018, with the "
    "correction for finitely many draws]"
)
HEADING = "Epistemic share: how much uncertainty would more training remove?"


class Config(DiagnosticPart):
    """Options of the epistemic share."""

    takes: ClassVar[EvidenceKind] = EvidenceKind.WEIGHT_DRAWS
    needs: ClassVar[OutputKind] = OutputKind.ESTIMATE

    most: float = Field(
        0.2, ge=0, le=1, description="Median share of the posterior's variance above which we warn."
    )


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """Epistemic share of D parameters.

    Args:
        names: D names.
        share: Of each test pair, not cut at 0, (N, D); NaN where the posterior has no variance.
        quantiles: 5, 50 and 95 % over test pairs, cut at 0, (3, D); NaN where not judged.
        most: Above it we warn.
        values: `epistemic_share` of each parameter.
    """

    names: tuple[str, ...]
    share: np.ndarray
    quantiles: np.ndarray
    most: float
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {NAME: DEFINITION}


def compute(weights: WeightDraws, config: Config) -> Result:
    """Share of each test pair, and its median."""
    share = shares(weights)
    quantiles = np.full((len(QUANTILE_LEVELS), len(weights.names)), np.nan)
    values = []
    for d, name in enumerate(weights.names):
        trouble = _trouble(weights, share[:, d], d)
        if not trouble:
            quantiles[:, d] = _quantiles(share[:, d])
        values.append(_value(name, quantiles[1, d], trouble, config.most))
    return Result(weights.names, share, quantiles, config.most, tuple(values))


def _quantiles(share: np.ndarray) -> np.ndarray:
    """5, 50 and 95 % of shares (N,), cut at 0."""
    return np.maximum(0.0, np.quantile(share[~np.isnan(share)], QUANTILE_LEVELS))


def shares(weights: WeightDraws) -> np.ndarray:
    """Epistemic share of each test pair and parameter, not cut at 0.

    Returns:
        (N, D); NaN where it cannot be had.
    """
    n, w, d = weights.mean.shape
    if w < 2 or weights.draws < 2:
        return np.full((n, d), np.nan)
    share = _member_shares(weights)
    with np.errstate(all="ignore"):
        variance = weights.variance.astype(float)
        within = (share * variance).sum(axis=1)
        spread = _spread_of_means(weights.mean.astype(float), share)
        noise = (share * (1 - share) * variance).sum(axis=1) / weights.draws
        between = (spread - noise) / _freedom(share)
        return between / (np.maximum(0.0, between) + within)


def _member_shares(weights: WeightDraws) -> np.ndarray:
    """The share of each weight draw in the posterior, (W, 1)."""
    w = weights.mean.shape[1]
    if weights.shares is None:
        return np.full((w, 1), 1 / w)
    return np.asarray(weights.shares, float)[:, None]


def _spread_of_means(mean: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Variance of means (N, W, D) over weight draws, (N, D); exactly 0 where all are equal."""
    centre = (share * mean).sum(axis=1, keepdims=True)
    spread = (share * (mean - centre) ** 2).sum(axis=1)
    return np.where(np.ptp(mean, axis=1) == 0, 0.0, spread)


def _freedom(share: np.ndarray) -> float:
    """1 - 1/W for members of equal share, which are a sample of all that could be; else 1."""
    if np.ptp(share) < EQUAL_SHARES:
        return 1 - 1 / len(share)
    return 1.0


def _trouble(weights: WeightDraws, share: np.ndarray, d: int) -> str | None:
    n, w = weights.mean.shape[:2]
    if w < 2:
        return "the network has one set of weights, so nothing is known of their uncertainty"
    if weights.draws < 2:
        return "a single draw for each weight draw has no variance"
    if not n:
        return "there is no test pair"
    finite = np.isfinite(weights.mean[:, :, d]) & np.isfinite(weights.variance[:, :, d])
    bad = int((~finite).any(axis=1).sum())
    if bad:
        return f"mean or variance of the draws is not finite in {bad} of {n} test pairs"
    if np.isnan(share).all():
        return "the posterior's variance is 0, or too large for a number, in all test pairs"
    return None


def _value(name: str, share: float, trouble: str | None, most: float) -> Value:
    if trouble:
        return Value(NAME, name, None, reason=trouble)
    if share <= most:
        return Value(NAME, name, float(share))
    reason = (
        f"{share:.0%} of the variance of {name} comes from uncertain weights: more training data "
        "would narrow it"
    )
    return Value(NAME, name, float(share), warning=Rule.UNCERTAIN_WEIGHTS, reason=reason)


def plot(result: Result) -> Figure:
    """Median and spread of the share over test pairs, per parameter."""
    from sbiwb.diagnostics import _grid

    judged = np.flatnonzero(np.isfinite(result.quantiles[1]))
    if not len(judged):
        return _grid.empty(HEADING, _first_reason(result))
    shown = _grid.most_extreme(judged, -result.quantiles[1, judged])
    figure, axes = _grid.rows([result.names[d] for d in shown])
    _draw(axes, result, shown)
    note = (
        f"dots: median over {len(result.share)} test pairs; lines: 5 to 95 % of them; "
        "dashed: we warn above"
    )
    _grid.finish(figure, HEADING, note)
    return figure


def _draw(axes: Axes, result: Result, shown: np.ndarray) -> None:
    from sbiwb.diagnostics import _grid

    at = np.arange(len(shown))
    low, middle, high = 100 * result.quantiles[:, shown]
    axes.hlines(at, low, high, color=_grid.SKY, lw=2)
    _grid.dots(axes, middle, [result.values[d].warning is not None for d in shown])
    axes.axvline(100 * result.most, color=_grid.FAINT, lw=0.8, ls="--")
    reach = max(110 * result.most, 1.05 * float(high.max()), 5.0)
    axes.set(xlim=(0, reach), xlabel="% of the posterior's variance")


def _first_reason(result: Result) -> str:
    if not result.values:
        return "there are no parameters"
    return result.values[0].reason
