"""Posterior predictive: which statistics of the test data do simulations from their posteriors reproduce?

For each test pair and statistic, the rank of the observed value among R simulations from the posterior of that pair's data:

    p = min(1, 2 min{ (1 + #{replicate <= observed}), (1 + #{replicate >= observed}) } / (R + 1)),    outside where p <= 0.05.

The data come from the same simulator, so a statistic that is not reproduced accuses the network: it did not learn what this statistic
says of the parameters.

Warning: posterior predictive p-values are conservative, crowded around the middle, as the data have been used to fit. Hence no p-value
and no verdict: up to 5 % outside is expected, and far fewer are no fault and no praise.

References:
    Meng 1994, Posterior predictive p-values, https://doi.org/10.1214/aos/1176325622.
    Gelman, Meng, Stern 1996, Posterior predictive assessment of model fitness via realized discrepancies,
    https://sites.stat.columbia.edu/gelman/research/published/A6n41.pdf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart
from sbiwb.evidence import EvidenceKind, PredictiveReplicates, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "predictive_outside_95"
EXPECTED = 0.05
FEWEST = 39  # replicates of which the smallest two-sided p is 0.05
SURE = 0.01  # chance over all statistics together that sampling noise alone makes a warning


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
class Result:
    """How well K statistics are reproduced.

    Args:
        names: K names.
        below: Share of judged test pairs whose observed value lies below the central 95 % interval of its replicates, (K,).
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

    definitions: ClassVar[dict[str, str]] = {
        NAME: (
            "share of test pairs whose observed statistic lies outside the central 95 % interval of simulations from the posterior; "
            "at most about 5 % are expected, often far fewer [Meng 1994; Gelman, Meng, Stern 1996]"
        )
    }


def compute(replicas: PredictiveReplicates, config: Config) -> Result:
    """Share of test pairs outside the interval of their replicates, per statistic."""
    k = len(replicas.names)
    if not k:
        nothing = np.zeros(0)
        return Result(
            (),
            nothing,
            nothing,
            nothing,
            (),
            (Value(NAME, "all statistics", None, reason="there are no statistics"),),
        )
    columns = [_outside(replicas.observed[:, j], replicas.replicated[:, :, j]) for j in range(k)]
    below, above, judged = (np.array(row) for row in zip(*columns, strict=True))
    troubles = tuple(_trouble(replicas, j, int(judged[j])) for j in range(k))
    values = tuple(
        _value(name, below[j], above[j], int(judged[j]), troubles[j], config, k)
        for j, name in enumerate(replicas.names)
    )
    return Result(replicas.names, below, above, judged, troubles, values)


def _outside(observed: np.ndarray, replicated: np.ndarray) -> tuple[float, float, int]:
    """Shares below and above the interval, and of how many test pairs."""
    valid = ~np.isnan(replicated)
    count = valid.sum(axis=1)
    usable = (count >= FEWEST) & np.isfinite(observed)
    if not usable.any():
        return 0.0, 0.0, 0
    at_most = (1 + (replicated <= observed[:, None]).sum(axis=1)) / (count + 1)
    at_least = (1 + (replicated >= observed[:, None]).sum(axis=1)) / (count + 1)
    below, above = (usable & (2 * side <= EXPECTED) for side in (at_most, at_least))
    n = int(usable.sum())
    return float(below.sum() / n), float(above.sum() / n), n


def _trouble(replicas: PredictiveReplicates, column: int, judged: int) -> str | None:
    n, r = replicas.replicated.shape[:2]
    observed = replicas.observed[:, column]
    if n < 2:
        return f"{n} test pair{'' if n == 1 else 's'}: judging needs dozens"
    bad = int((~np.isfinite(observed)).sum())
    if bad:
        return f"the test data's value is not finite in {bad} of {n} test pairs"
    if not judged:
        return f"no test pair has {FEWEST} valid simulations from its posterior, which a 95 % interval needs ({r} were made)"
    made = replicas.replicated[:, :, column]
    if np.all((made == observed[0]) | np.isnan(made)) and np.ptp(observed) == 0:
        return "it is the same in all test data and simulations: nothing to compare"
    return None


def _value(
    name: str, below: float, above: float, n: int, trouble: str | None, config: Config, tests: int
) -> Value:
    if trouble:
        return Value(NAME, name, None, reason=trouble)
    share = float(below + above)
    reason = f"outside in {share:.1%} of {n} test data sets, at most about 5 % expected"
    if _lower_bound(round(share * n), n, SURE / tests) <= EXPECTED + config.margin:
        return Value(NAME, name, share, reason=reason)
    return Value(
        NAME,
        name,
        share,
        warning="not reproduced",
        reason=f"{reason}; {_side(below, above)} the simulations",
    )


def _side(below: float, above: float) -> str:
    if below > 3 * above:
        return "the data lie below"
    return "the data lie above" if above > 3 * below else "the data lie on both sides of"


def _lower_bound(hits: int, n: int, alpha: float) -> float:
    """Lower end of the one-sided Clopper-Pearson interval of a share, at 1 - alpha."""
    from scipy.stats import beta

    return float(beta.ppf(alpha, hits, n - hits + 1)) if hits else 0.0


def plot(result: Result) -> Figure:
    """Share outside the interval per statistic, below to the left and above to the right."""
    from sbiwb.diagnostics import _grid

    heading = "Posterior predictive: which statistics are reproduced?"
    judged = [j for j, trouble in enumerate(result.troubles) if trouble is None]
    if not judged:
        return _grid.empty(heading, result.values[0].reason)
    shares = result.below + result.above
    shown = sorted(sorted(judged, key=lambda j: -shares[j])[: _grid.MOST_ROWS])
    figure, axes = _grid.rows([result.names[j] for j in shown])
    at = np.arange(len(shown))
    colors = [_grid.VERMILLION if result.values[j].warning else _grid.BLUE for j in shown]
    axes.barh(at, -100 * result.below[shown], color=colors, height=0.7)
    axes.barh(at, 100 * result.above[shown], color=colors, height=0.7)
    axes.axvline(0, color=_grid.INK, lw=0.6)
    for edge in (-2.5, 2.5):
        axes.axvline(edge, color=_grid.FAINT, lw=0.8, ls="--")
    reach = max(5.0, 110 * float(np.maximum(result.below, result.above)[shown].max()))
    axes.set(
        xlim=(-reach, reach),
        xlabel="% of test pairs below (left) and above (right) the central 95 % interval of their simulations",
    )
    axes.xaxis.set_major_formatter(lambda share, _: f"{abs(share):g}")
    left = f"; the {len(shown)} worst of {len(judged)}" if len(shown) < len(judged) else ""
    _grid.finish(
        figure,
        heading,
        f"dashed: where 5 % would lie outside, fewer are usual; red: not reproduced{left}",
    )
    return figure
