"""Normalised root mean square error: how far are draws, and their mean, from the truth?

Compared with knowing nothing but the prior:

    nrmse_draws = median over pairs of sqrt(mean_s (draw_s - theta*)²), over the same for draws from
                  the prior     (1: learned nothing)
    nrmse_mean  = sqrt(mean over pairs of (mean(draws) - theta*)²) / sd(prior)

Warning: other packages divide by the range or the sd of the test set, and one name hides two
numbers: draws scatter around the truth by sqrt(2) more than the posterior mean does, at best.
Neither says whether the posterior is calibrated.

References:
    Radev et al. 2020, BayesFlow: learning complex stochastic models with invertible neural
    networks, https://arxiv.org/abs/2003.06281.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, DiagnosticResult, OutputKind
from sbiwb.diagnostics import _calibration, _inputs
from sbiwb.evidence import Draws, Rule, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWS, MEAN = "nrmse_draws", "nrmse_mean"
HEADING = "NRMSE: how much nearer to the truth than the prior?"


class Config(DiagnosticPart):
    """Options of the normalised error."""

    needs: ClassVar[OutputKind] = OutputKind.ESTIMATE

    little_above: float = Field(
        0.9, ge=0, description="nrmse_draws above which we warn: learned little."
    )


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """Errors of D parameters.

    Args:
        names: D names.
        errors: sqrt(mean_s (draw - theta*)²) of each pair, over the median of the same for draws
            from the prior, (N, D).
        troubles: Why a parameter was not judged, else None, D entries.
        values: `nrmse_draws` and `nrmse_mean` of each parameter.
    """

    names: tuple[str, ...]
    errors: np.ndarray
    troubles: tuple[str | None, ...]
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        DRAWS: (
            "median over test pairs of sqrt(mean_s (draw - theta*)^2), over the same for draws "
            "from the prior; 1: learned nothing"
        ),
        MEAN: (
            "root mean square error of the posterior mean over the prior sd "
            "[Radev et al. 2020, with the prior's sd]"
        ),
    }


def compute(draws: Draws, config: Config) -> Result:
    """Errors of draws and of their mean; neither has a unit."""
    troubles = _inputs.troubles(draws)
    unit = _units(draws, troubles)
    of_draws, of_mean = _errors(draws, unit)
    with np.errstate(all="ignore"):
        errors = _over_prior(of_draws, draws, unit)
        mean_errors = _relative_mean_errors(of_mean, draws, unit)
    values: list[Value] = []
    for d in range(len(draws.names)):
        values += _values(draws, d, troubles[d], errors[:, d], mean_errors[d], config)
    return Result(draws.names, errors, troubles, tuple(values))


def _values(
    draws: Draws,
    d: int,
    trouble: str | None,
    errors: np.ndarray,
    mean_error: float,
    config: Config,
) -> list[Value]:
    """Both numbers of one parameter, by the errors of its draws (N,) and of their mean."""
    name = draws.names[d]
    if trouble:
        return [_calibration.missing(label, name, trouble) for label in (DRAWS, MEAN)]
    source = _inputs.prior_variance(draws)[1][d]
    return [
        _draws_value(name, float(np.median(errors)), _prior_origin(draws), config),
        _mean_value(name, mean_error, source),
    ]


def _units(draws: Draws, troubles: tuple[str | None, ...]) -> np.ndarray:
    """The range of each column's truths (D,), so that squares cannot overflow; 1 where unjudged."""
    if not draws.n:
        return np.ones(len(draws.names))
    judged = np.array([trouble is None for trouble in troubles])
    return np.where(judged, np.ptp(draws.theta, axis=0), 1.0)


def _errors(draws: Draws, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the draws from the truth (root mean square), and that of their mean.

    Args:
        draws: Of N test pairs.
        unit: Of each column, (D,).

    Returns:
        (N, D) each, in these units.
    """
    spread = np.full(draws.theta.shape, np.nan)
    centre = np.full(draws.theta.shape, np.nan)
    with np.errstate(all="ignore"):
        for rows, block in _inputs.blocks(draws.draws):
            gap = block / unit[:, None] - (draws.theta[rows] / unit)[:, :, None]
            spread[rows] = np.sqrt(np.einsum("nds,nds->nd", gap, gap) / draws.s)
            centre[rows] = gap.mean(axis=2)
    return spread, np.abs(centre)


def _over_prior(errors: np.ndarray, draws: Draws, unit: np.ndarray) -> np.ndarray:
    """Errors (N, D) over the median of those of draws from the prior."""
    if not draws.n:
        return errors
    return errors / np.median(_prior_errors(draws, unit), axis=0)


def _prior_errors(draws: Draws, unit: np.ndarray) -> np.ndarray:
    """Distance of draws from the prior, by their mean and variance, (N, D).

    The test set's own parameters are such draws too.
    """
    cloud = draws.prior_draws
    if cloud is None:
        cloud = draws.theta
    cloud = cloud / unit
    return np.sqrt(cloud.var(axis=0) + (cloud.mean(axis=0) - draws.theta / unit) ** 2)


def _prior_origin(draws: Draws) -> str:
    if draws.prior_draws is None:
        return "the test set's parameters"
    return "draws from the prior"


def _relative_mean_errors(errors: np.ndarray, draws: Draws, unit: np.ndarray) -> np.ndarray:
    """Root mean square error of the posterior mean over the prior's sd, (D,)."""
    if not draws.n:
        return np.full(len(draws.names), np.nan)
    variance, _ = _inputs.prior_variance(draws)
    root_mean_squares = [np.sqrt(np.mean(column**2)) for column in errors.T]
    return np.array(root_mean_squares) / (np.sqrt(variance) / unit)


def _draws_value(name: str, error: float, origin: str, config: Config) -> Value:
    finite_error = _inputs.finite(error)
    if finite_error is None:
        return _calibration.missing(DRAWS, name, _inputs.NO_SPREAD)
    reason = f"draws are {finite_error:.2g} times as far from the truth as {origin}"
    if finite_error > config.little_above:
        return Value(DRAWS, name, finite_error, warning=Rule.LEARNED_LITTLE, reason=reason)
    return Value(DRAWS, name, finite_error, reason=reason)


def _mean_value(name: str, error: float, source: str) -> Value:
    finite_error = _inputs.finite(error)
    if finite_error is None:
        return _calibration.missing(MEAN, name, _inputs.NO_SPREAD)
    return Value(MEAN, name, finite_error, reason=f"against the sd of the {source}")


def plot(result: Result) -> Figure:
    """How the errors of the draws are spread over test pairs, for every parameter."""
    from sbiwb.diagnostics import _grid

    note = (
        f"{len(result.errors)} test pairs; orange: their median, which is nrmse_draws; "
        "black: draws from the prior"
    )
    return _grid.by_cell(len(result.names), partial(_panel, result), HEADING, note)


def _panel(result: Result, axes: Axes, d: int) -> None:
    from sbiwb.diagnostics import _grid

    errors = result.errors[:, d]
    axes.set(xlabel="error of the draws over the prior's", ylabel="test pairs")
    if result.troubles[d] or not np.isfinite(errors).all():
        _grid.title(axes, result.names[d])
        return _grid.message(axes, result.troubles[d] or _inputs.NO_SPREAD)
    _grid.title(axes, result.names[d], f"median {np.median(errors):.2f}")
    _histogram(axes, errors)


def _histogram(axes: Axes, errors: np.ndarray) -> None:
    from sbiwb.diagnostics import _grid

    top = max(1.1, float(np.quantile(errors, 0.99)) * 1.1)
    axes.hist(np.minimum(errors, top), bins=30, range=(0, top), color=_grid.SKY)
    axes.axvline(1.0, color=_grid.INK, lw=0.8)
    axes.axvline(float(np.median(errors)), color=_grid.VERMILLION, lw=1.4)
    axes.set_xlim(0, top)
