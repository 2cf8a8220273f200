"""Posterior z-score against contraction.

Is the posterior centred on the truth, and what did the data teach?

    z = (mean(draws) - theta*) / sd(draws),    contraction = 1 - Var_post / Var_prior
                                               (or 1 - sd_post / sd_prior)

per test pair and parameter, the sd with ddof 1, z signed, contraction not clipped: a negative one
says that the posterior is wider than the prior. Contraction near 0 means that the data did not
identify the parameter.

Warning: other packages report |z| (sbi), or the other definition of contraction. Halving the sd is
0.75 in variances and 0.50 in sds; the name of the value says which.

References:
    Betancourt 2018, Calibrating model-based inferences and decisions,
    https://arxiv.org/abs/1803.08393.
    Schad, Betancourt, Vasishth 2021, Toward a principled Bayesian workflow,
    https://arxiv.org/abs/1904.12765.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, DiagnosticResult, OutputKind
from sbiwb.diagnostics import _inputs
from sbiwb.evidence import Draws, Rule, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 1000  # in a panel
Z_MEAN, Z_SD, LEAKED_SHARE = "z_mean", "z_sd", "leaked_share"
HEADING = "z-score and contraction: centred on the truth, and better than the prior?"


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

    @property
    def contraction_name(self) -> str:
        """The name of the value, which says the definition."""
        return f"contraction_{self.definition}_median"


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """z-scores and contraction of D parameters.

    Args:
        names: D names.
        definition: Of contraction: `variance` or `sd`.
        z: (N, D); NaN where the draws have no spread.
        contraction: (N, D); NaN where the prior has no spread.
        prior_source: Where the prior's variance comes from, D entries.
        troubles: Why a parameter was not judged, else None, D entries.
        values: `z_mean`, `z_sd` and `contraction_<definition>_median` of each parameter, and
            `leaked_share` where known.
    """

    names: tuple[str, ...]
    definition: str
    z: np.ndarray
    contraction: np.ndarray
    prior_source: tuple[str, ...]
    troubles: tuple[str | None, ...]
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        Z_MEAN: (
            "mean over test pairs of z = (mean(draws) - theta*) / sd(draws), ddof 1, signed "
            "[Schad et al. 2021]"
        ),
        Z_SD: (
            "sd over test pairs of the same z; about 1 where calibrated and near normal "
            "[Schad et al. 2021]"
        ),
        "contraction_variance_median": (
            "median over test pairs of 1 - Var_post / Var_prior, not clipped [Betancourt 2018]"
        ),
        "contraction_sd_median": (
            "median over test pairs of 1 - sd_post / sd_prior, not clipped "
            "[sd version of Betancourt 2018]"
        ),
        LEAKED_SHARE: "share of draws outside the prior's support",
    }


def compute(draws: Draws, config: Config) -> Result:
    """z-score and contraction per test pair, and their summaries."""
    mean, variance = _inputs.moments(draws.draws)
    prior, source = _inputs.prior_variance(draws)
    z = _z_scores(mean, variance, draws.theta)
    contraction = _contraction(variance, prior, config.definition)
    troubles = _troubles(draws, variance)
    values: list[Value] = []
    for d, name in enumerate(draws.names):
        values += _z_values(name, z[:, d], troubles[d])
        values.append(_contraction_value(name, contraction[:, d], source[d], troubles[d], config))
    values += _leaked_values(draws, config)
    return Result(draws.names, config.definition, z, contraction, source, troubles, tuple(values))


def _z_scores(mean: np.ndarray, variance: np.ndarray, theta: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        z = (mean - theta) / np.sqrt(variance)
    z[variance == 0] = np.nan
    return z


def _contraction(variance: np.ndarray, prior: np.ndarray, definition: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        ratio = variance / np.where(prior > 0, prior, np.nan)
    if definition == "sd":
        ratio = np.sqrt(ratio)
    return 1 - ratio


def _troubles(draws: Draws, variance: np.ndarray) -> tuple[str | None, ...]:
    """Why each column cannot be judged: its own trouble, or draws without spread."""
    columns = zip(_inputs.troubles(draws), variance.T, strict=True)
    return tuple(own or _spread_trouble(column, draws.s) for own, column in columns)


def _spread_trouble(variance: np.ndarray, s: int) -> str | None:
    if s < 2:
        return "a single draw has no spread"
    flat = int((variance == 0).sum())
    if flat:
        return f"all draws are equal in {flat} of {len(variance)} test pairs"
    return None


def _z_values(name: str, z: np.ndarray, trouble: str | None) -> list[Value]:
    if trouble:
        return [Value(label, name, None, reason=trouble) for label in (Z_MEAN, Z_SD)]
    return [
        Value(Z_MEAN, name, _inputs.finite(z.mean())),
        Value(Z_SD, name, _inputs.finite(z.std(ddof=1))),
    ]


def _contraction_value(
    name: str, contraction: np.ndarray, source: str, trouble: str | None, config: Config
) -> Value:
    label = config.contraction_name
    if trouble:
        return Value(label, name, None, reason=trouble)
    median = _inputs.finite(np.median(contraction))
    if median is None:
        return Value(label, name, None, reason=_inputs.NO_SPREAD)
    origin = f"against the variance of the {source}"
    if median >= config.unidentified_below:
        return Value(label, name, median, reason=origin)
    reason = f"{origin}; below {config.unidentified_below:g}: the data say little about {name}"
    return Value(label, name, median, warning=Rule.UNIDENTIFIED, reason=reason)


def _leaked_values(draws: Draws, config: Config) -> list[Value]:
    if draws.leaked is None:
        return []
    shares = zip(draws.names, map(float, draws.leaked), strict=True)
    return [_leaked_value(name, share, config.most_leaked) for name, share in shares]


def _leaked_value(name: str, share: float, most: float) -> Value:
    if not np.isfinite(share):
        return Value(LEAKED_SHARE, name, None, reason="unknown")
    if share <= most:
        return Value(LEAKED_SHARE, name, share)
    reason = f"{share:.1%} of the draws lie outside the prior's support"
    return Value(LEAKED_SHARE, name, share, warning=Rule.LEAKED, reason=reason)


def plot(result: Result) -> Figure:
    """z-score against contraction, one dot a test pair.

    Contraction is cut to [0, 1] here and nowhere else.
    """
    from sbiwb.diagnostics import _grid

    note = f"contraction by {result.definition}, cut to [0, 1] in this picture; shaded: |z| below 2"
    return _grid.by_cell(len(result.names), partial(_panel, result), HEADING, note)


def _panel(result: Result, axes: Axes, d: int) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, result.names[d])
    axes.set(xlabel="contraction", ylabel="posterior z-score (sd)", xlim=(-0.04, 1.04))
    if result.troubles[d]:
        return _grid.message(axes, result.troubles[d])
    rows = _grid.sample(len(result.z), MAX_POINTS)
    _scatter(axes, result.contraction[rows, d], result.z[rows, d])


def _scatter(axes: Axes, contraction: np.ndarray, z: np.ndarray) -> None:
    from sbiwb.diagnostics import _grid

    contraction = np.clip(contraction, 0, 1)
    axes.axhspan(-2, 2, color=_grid.GREY, alpha=0.25, lw=0)
    axes.axhline(0, color=_grid.INK, lw=0.6)
    axes.scatter(contraction, z, s=7, color=_grid.BLUE, alpha=0.35, lw=0, clip_on=False)
    reach = max(4.0, 1.05 * float(np.abs(axes.dataLim.intervaly).max()))
    axes.set_ylim(-reach, reach)
