"""Posterior predictive: which statistics of the test data do simulations from it reproduce?

For each test pair and statistic, the rank of the observed value among R simulations from the
posterior of that pair's data:

    p = min(1, 2 min{ (1 + #{replicate <= observed}), (1 + #{replicate >= observed}) } / (R + 1)),
    outside where p <= 0.05.

The data come from the same simulator, so a statistic that is not reproduced accuses the network: it
did not learn what this statistic says of the parameters.

Warning: posterior predictive p-values are conservative, crowded around the middle, as the data have
been used to fit. Hence no p-value and no verdict: up to 5 % outside is expected, and far fewer are
no fault and no praise.

References:
    Meng 1994, Posterior predictive p-values, https://doi.org/10.1214/aos/1176325622.
    Gelman, Meng, Stern 1996, Posterior predictive assessment of model fitness via realized
    discrepancies, https://sites.stat.columbia.edu/gelman/research/published/A6n41.pdf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, DiagnosticResult
from sbiwb.diagnostics import _inputs
from sbiwb.evidence import EvidenceKind, PredictiveReplicates, Rule, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "predictive_outside_95"
EXPECTED_OUTSIDE = 0.05
MIN_REPLICATES = 39  # of which the smallest two-sided p is 0.05
WARNING_ALPHA = 0.01  # chance over all statistics that sampling noise alone makes a warning
DEFINITION = (
    "share of test pairs whose observed statistic lies outside the central 95 % interval of "
    "simulations from the posterior; at most about 5 % are expected, often far fewer "
    "[Meng 1994; Gelman, Meng, Stern 1996]"
)
HEADING = "Posterior predictive: which statistics are reproduced?"
X_LABEL = (
    "% of test pairs below (left) and above (right) the central 95 % interval of their simulations"
)
CONSTANT = "it is the same in all test data and simulations: nothing to compare"


class Config(DiagnosticPart):
    """Options of the posterior predictive check."""

    takes: ClassVar[EvidenceKind] = EvidenceKind.REPLICAS

    margin: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Share of test pairs beyond 5 % that may lie outside before we warn.",
    )


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """How well K statistics are reproduced.

    Args:
        names: K names.
        below: Share of judged test pairs whose observed value lies below the central 95 % interval
            of its replicates, (K,).
        above: The same above it, (K,).
        judged: Test pairs with enough replicates, (K,).
        troubles: Why a statistic was not judged, else None, K entries.
        values: `predictive_outside_95` of each statistic.
    """

    names: tuple[str, ...]
    below: np.ndarray
    above: np.ndarray
    judged: np.ndarray
    troubles: tuple[str | None, ...]
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {NAME: DEFINITION}


@dataclass(frozen=True)
class OutsideShare:
    """Shares of test pairs below and above the interval, and of how many pairs."""

    below: float
    above: float
    n: int

    @property
    def total(self) -> float:
        return float(self.below + self.above)

    def side(self) -> str:
        """Where the data lie, in words."""
        if self.below > 3 * self.above:
            return "the data lie below"
        if self.above > 3 * self.below:
            return "the data lie above"
        return "the data lie on both sides of"


def compute(replicates: PredictiveReplicates, config: Config) -> Result:
    """Share of test pairs outside the interval of their replicates, per statistic."""
    if not replicates.names:
        return _nothing()
    shares, troubles, values = [], [], []
    for column, name in enumerate(replicates.names):
        share = _outside(replicates.observed[:, column], replicates.replicated[:, :, column])
        trouble = _trouble(replicates, column, share.n)
        shares.append(share)
        troubles.append(trouble)
        values.append(_value(name, share, trouble, config.margin, len(replicates.names)))
    return Result(
        replicates.names,
        np.array([share.below for share in shares]),
        np.array([share.above for share in shares]),
        np.array([share.n for share in shares]),
        tuple(troubles),
        tuple(values),
    )


def _nothing() -> Result:
    empty = np.zeros(0)
    value = Value(NAME, "all statistics", None, reason="there are no statistics")
    return Result((), empty, empty, empty, (), (value,))


def _outside(observed: np.ndarray, replicated: np.ndarray) -> OutsideShare:
    """Of one statistic, observed (N,) and replicated (N, R)."""
    count = (~np.isnan(replicated)).sum(axis=1)
    usable = (count >= MIN_REPLICATES) & np.isfinite(observed)
    n = int(usable.sum())
    if not n:
        return OutsideShare(0.0, 0.0, 0)
    at_most = (1 + (replicated <= observed[:, None]).sum(axis=1)) / (count + 1)
    at_least = (1 + (replicated >= observed[:, None]).sum(axis=1)) / (count + 1)
    below = usable & (2 * at_most <= EXPECTED_OUTSIDE)
    above = usable & (2 * at_least <= EXPECTED_OUTSIDE)
    return OutsideShare(float(below.sum() / n), float(above.sum() / n), n)


def _trouble(replicates: PredictiveReplicates, column: int, judged: int) -> str | None:
    n, r = replicates.replicated.shape[:2]
    observed = replicates.observed[:, column]
    if n < 2:
        return f"{_inputs.counted(n, 'test pair')}: judging needs dozens"
    bad = int((~np.isfinite(observed)).sum())
    if bad:
        return f"the test data's value is not finite in {bad} of {n} test pairs"
    if not judged:
        return (
            f"no test pair has {MIN_REPLICATES} valid simulations from its posterior, which a "
            f"95 % interval needs ({r} were made)"
        )
    if _is_constant(observed, replicates.replicated[:, :, column]):
        return CONSTANT
    return None


def _is_constant(observed: np.ndarray, replicated: np.ndarray) -> bool:
    """Whether all test data and valid simulations have the same value."""
    same = (replicated == observed[0]) | np.isnan(replicated)
    return bool(np.all(same)) and np.ptp(observed) == 0


def _value(name: str, share: OutsideShare, trouble: str | None, margin: float, tests: int) -> Value:
    if trouble:
        return Value(NAME, name, None, reason=trouble)
    outside = share.total
    reason = f"outside in {outside:.1%} of {share.n} test data sets, at most about 5 % expected"
    least = _lower_bound(round(outside * share.n), share.n, WARNING_ALPHA / tests)
    if least <= EXPECTED_OUTSIDE + margin:
        return Value(NAME, name, outside, reason=reason)
    reason += f"; {share.side()} the simulations"
    return Value(NAME, name, outside, warning=Rule.NOT_REPRODUCED, reason=reason)


def _lower_bound(hits: int, n: int, alpha: float) -> float:
    """Lower end of the one-sided Clopper-Pearson interval of a share, at 1 - alpha."""
    from scipy.stats import beta

    if not hits:
        return 0.0
    return float(beta.ppf(alpha, hits, n - hits + 1))


def plot(result: Result) -> Figure:
    """Share outside the interval per statistic, below to the left and above to the right."""
    from sbiwb.diagnostics import _grid

    judged = np.flatnonzero([trouble is None for trouble in result.troubles])
    if not len(judged):
        return _grid.empty(HEADING, result.values[0].reason)
    shares = result.below + result.above
    shown = _grid.most_extreme(judged, -shares[judged])
    figure, axes = _grid.rows([result.names[j] for j in shown])
    _draw(axes, result, shown)
    note = "dashed: where 5 % would lie outside, fewer are usual; red: not reproduced"
    _grid.finish(figure, HEADING, note + _grid.left_out(len(shown), len(judged), "worst"))
    return figure


def _draw(axes: Axes, result: Result, shown: np.ndarray) -> None:
    """A bar to each side for each of the shown statistics."""
    from sbiwb.diagnostics import _grid

    colors = _grid.warned_colors([result.values[j].warning is not None for j in shown])
    below, above = 100 * result.below[shown], 100 * result.above[shown]
    at = np.arange(len(shown))
    axes.barh(at, -below, color=colors, height=0.7)
    axes.barh(at, above, color=colors, height=0.7)
    _draw_axis(axes, max(5.0, 1.1 * float(np.maximum(below, above).max())))


def _draw_axis(axes: Axes, reach: float) -> None:
    """To the same length on both sides, with the expected share marked."""
    from sbiwb.diagnostics import _grid

    axes.axvline(0, color=_grid.INK, lw=0.6)
    for edge in (-2.5, 2.5):
        axes.axvline(edge, color=_grid.FAINT, lw=0.8, ls="--")
    axes.set(xlim=(-reach, reach), xlabel=X_LABEL)
    axes.xaxis.set_major_formatter(lambda share, _: f"{abs(share):g}")
