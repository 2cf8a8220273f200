"""Posterior z-score against contraction: is the posterior centred on the truth, and what did the data teach?

    z = (mean(draws) - theta*) / sd(draws),    contraction = 1 - Var_post / Var_prior    (or 1 - sd_post / sd_prior)

per test pair and parameter, the sd with ddof 1, z signed, contraction not clipped: a negative one says that the posterior is wider
than the prior. Contraction near 0 means that the data did not identify the parameter.

Warning: other packages report |z| (sbi), or the other definition of contraction. Halving the sd is 0.75 in variances and 0.50 in
sds; the name of the value says which.

References:
    Betancourt 2018, Calibrating model-based inferences and decisions, https://arxiv.org/abs/1803.08393.
    Schad, Betancourt, Vasishth 2021, Toward a principled Bayesian workflow, https://arxiv.org/abs/1904.12765.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, OutputKind
from sbiwb.diagnostics import _inputs
from sbiwb.evidence import Draws, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 1000  # in a panel


class Config(DiagnosticPart):
    """Options of z-score and contraction."""

    needs: ClassVar[OutputKind] = OutputKind.MARGINALS

    definition: Literal["variance", "sd"] = Field(
        "variance", description="Whether contraction compares variances or sds."
    )
    unidentified_below: float = Field(
        0.1, ge=0, le=1, description="Median contraction below which we warn: unidentified."
    )
    most_leaked: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of draws outside the prior's support above which we warn.",
    )


@dataclass(frozen=True)
class Result:
    """z-scores and contraction of D parameters.

    Args:
        names: D names.
        definition: Of contraction: `variance` or `sd`.
        z: (N, D); NaN where the draws have no spread.
        contraction: (N, D); NaN where the prior has no spread.
        prior_source: Where the prior's variance comes from, D entries.
        troubles: Why a parameter was not judged, else None, D entries.
        values: `z_mean`, `z_sd` and `contraction_<definition>_median` of each parameter, and `leaked_share` where known.
    """

    names: tuple[str, ...]
    definition: str
    z: np.ndarray
    contraction: np.ndarray
    prior_source: tuple[str, ...]
    troubles: tuple[str | None, ...]
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        "z_mean": "mean over test pairs of z = (mean(draws) - theta*) / sd(draws), ddof 1, signed [Schad et al. 2021]",
        "z_sd": "sd over test pairs of the same z; about 1 where calibrated and near normal [Schad et al. 2021]",
        "contraction_variance_median": "median over test pairs of 1 - Var_post / Var_prior, not clipped [Betancourt 2018]",
        "contraction_sd_median": "median over test pairs of 1 - sd_post / sd_prior, not clipped [sd version of Betancourt 2018]",
        "leaked_share": "share of draws outside the prior's support",
    }


def compute(draws: Draws, config: Config) -> Result:
    """z-score and contraction per test pair, and their summaries."""
    mean, variance = _inputs.moments(draws.draws)
    prior, source = _inputs.prior_variance(draws)
    with np.errstate(all="ignore"):
        z = (mean - draws.theta) / np.sqrt(variance)
        ratio = variance / np.where(prior > 0, prior, np.nan)
    z[variance == 0] = np.nan
    contraction = 1 - (ratio if config.definition == "variance" else np.sqrt(ratio))
    troubles = tuple(
        trouble or _spread_trouble(variance[:, d], draws.s)
        for d, trouble in enumerate(_inputs.troubles(draws))
    )
    values: list[Value] = []
    for d, (name, trouble) in enumerate(zip(draws.names, troubles, strict=True)):
        values += _z_values(name, z[:, d], trouble)
        values.append(_contraction_value(name, contraction[:, d], source[d], trouble, config))
    return Result(
        draws.names,
        config.definition,
        z,
        contraction,
        source,
        troubles,
        (*values, *_leaked(draws, config)),
    )


def _spread_trouble(variance: np.ndarray, s: int) -> str | None:
    if s < 2:
        return "a single draw has no spread"
    flat = int((variance == 0).sum())
    return f"all draws are equal in {flat} of {len(variance)} test pairs" if flat else None


def _z_values(name: str, z: np.ndarray, trouble: str | None) -> tuple[Value, Value]:
    if trouble:
        return Value("z_mean", name, None, reason=trouble), Value(
            "z_sd", name, None, reason=trouble
        )
    return Value("z_mean", name, _inputs.finite(z.mean())), Value(
        "z_sd", name, _inputs.finite(z.std(ddof=1))
    )


def _contraction_value(
    name: str, contraction: np.ndarray, source: str, trouble: str | None, config: Config
) -> Value:
    label = f"contraction_{config.definition}_median"
    median = None if trouble else _inputs.finite(np.median(contraction))
    if median is None:
        return Value(label, name, None, reason=trouble or "the prior has no spread to compare with")
    origin = f"against the variance of the {source}"
    if median >= config.unidentified_below:
        return Value(label, name, median, reason=origin)
    reason = f"{origin}; below {config.unidentified_below:g}: the data say little about {name}"
    return Value(label, name, median, warning="unidentified", reason=reason)


def _leaked(draws: Draws, config: Config) -> tuple[Value, ...]:
    if draws.leaked is None:
        return ()
    return tuple(
        _leaked_value(name, float(share), config)
        for name, share in zip(draws.names, draws.leaked, strict=True)
    )


def _leaked_value(name: str, share: float, config: Config) -> Value:
    if not np.isfinite(share):
        return Value("leaked_share", name, None, reason="unknown")
    if share <= config.most_leaked:
        return Value("leaked_share", name, share)
    return Value(
        "leaked_share",
        name,
        share,
        warning="leaked",
        reason=f"{share:.1%} of the draws lie outside the prior's support",
    )


def plot(result: Result) -> Figure:
    """z-score against contraction, one dot a test pair; contraction is cut to [0, 1] here and nowhere else."""
    from sbiwb.diagnostics import _grid

    figure, axes = _grid.panels(len(result.names))
    for d, (panel,) in enumerate(axes):
        _scatter(panel, result, d)
    note = f"contraction by {result.definition}, cut to [0, 1] in this picture; shaded: |z| below 2"
    _grid.finish(
        figure, "z-score and contraction: centred on the truth, and better than the prior?", note
    )
    return figure


def _scatter(axes: Axes, result: Result, d: int) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, result.names[d])
    axes.set(xlabel="contraction", ylabel="posterior z-score (sd)", xlim=(-0.04, 1.04))
    if result.troubles[d]:
        return _grid.message(axes, result.troubles[d])
    rows = _grid.sample(len(result.z), MOST_POINTS)
    axes.axhspan(-2, 2, color=_grid.GREY, alpha=0.25, lw=0)
    axes.axhline(0, color=_grid.INK, lw=0.6)
    axes.scatter(
        np.clip(result.contraction[rows, d], 0, 1),
        result.z[rows, d],
        s=7,
        color=_grid.BLUE,
        alpha=0.35,
        lw=0,
        clip_on=False,
    )
    reach = max(4.0, 1.05 * float(np.abs(axes.dataLim.intervaly).max()))
    axes.set_ylim(-reach, reach)
