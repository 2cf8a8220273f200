"""Normalised root mean square error: how far are draws, and their mean, from the truth, compared with knowing nothing but the prior?

    nrmse_draws = median over pairs of sqrt(mean_s (draw_s - theta*)²), over the same for draws from the prior     (1: learned nothing)
    nrmse_mean  = sqrt(mean over pairs of (mean(draws) - theta*)²) / sd(prior)

Warning: other packages divide by the range or the sd of the test set, and one name hides two numbers: draws scatter around the truth
by sqrt(2) more than the posterior mean does, at best. Neither says whether the posterior is calibrated.

References:
    Radev et al. 2020, BayesFlow: learning complex stochastic models with invertible neural networks, https://arxiv.org/abs/2003.06281.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, OutputKind
from sbiwb.diagnostics import _calibration, _inputs
from sbiwb.evidence import Draws, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWS, MEAN = "nrmse_draws", "nrmse_mean"


class Config(DiagnosticPart):
    """Options of the normalised error."""

    needs: ClassVar[OutputKind] = OutputKind.ESTIMATE

    little_above: float = Field(
        0.9, ge=0, description="nrmse_draws above which we warn: learned little."
    )


@dataclass(frozen=True)
class Result:
    """Errors of D parameters.

    Args:
        names: D names.
        errors: sqrt(mean_s (draw - theta*)²) of each pair, over the median of the same for draws from the prior, (N, D).
        troubles: Why a parameter was not judged, else None, D entries.
        values: `nrmse_draws` and `nrmse_mean` of each parameter.
    """

    names: tuple[str, ...]
    errors: np.ndarray
    troubles: tuple[str | None, ...]
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        DRAWS: "median over test pairs of sqrt(mean_s (draw - theta*)^2), over the same for draws from the prior; 1: learned nothing",
        MEAN: "root mean square error of the posterior mean over the prior sd [Radev et al. 2020, with the prior's sd]",
    }


def compute(draws: Draws, config: Config) -> Result:
    """Errors of draws and of their mean; neither has a unit."""
    troubles = _inputs.troubles(draws)
    unit = np.where(
        [trouble is None for trouble in troubles],
        np.ptp(draws.theta, axis=0) if draws.n else 1.0,
        1.0,
    )
    of_draws, of_mean = _errors(draws, unit)
    prior, origin = _prior_errors(draws, unit)
    variance, source = _inputs.prior_variance(draws)
    values: list[Value] = []
    with np.errstate(all="ignore"):
        errors, sd = (
            of_draws / np.median(prior, axis=0) if draws.n else of_draws,
            np.sqrt(variance) / unit,
        )
        for d, (name, trouble) in enumerate(zip(draws.names, troubles, strict=True)):
            if trouble:
                values += [
                    _calibration.missing(DRAWS, name, trouble),
                    _calibration.missing(MEAN, name, trouble),
                ]
                continue
            values.append(_draws_value(name, float(np.median(errors[:, d])), origin, config))
            values.append(
                _mean_value(name, float(np.sqrt(np.mean(of_mean[:, d] ** 2)) / sd[d]), source[d])
            )
    return Result(draws.names, errors, troubles, tuple(values))


def _errors(draws: Draws, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square distance of the draws from the truth, and that of their mean, (N, D) each, in the given units (D,)."""
    spread, centre = np.full(draws.theta.shape, np.nan), np.full(draws.theta.shape, np.nan)
    with np.errstate(all="ignore"):
        for rows, block in _inputs.blocks(draws.draws):
            gap = block / unit[:, None] - (draws.theta[rows] / unit)[:, :, None]
            spread[rows], centre[rows] = (
                np.sqrt(np.einsum("nds,nds->nd", gap, gap) / draws.s),
                gap.mean(axis=2),
            )
    return spread, np.abs(centre)


def _prior_errors(draws: Draws, unit: np.ndarray) -> tuple[np.ndarray, str]:
    """The same for draws from the prior, by their mean and variance; the test set's own parameters are such draws too."""
    origin = "the test set's parameters" if draws.prior_draws is None else "draws from the prior"
    cloud = (draws.theta if draws.prior_draws is None else draws.prior_draws) / unit
    with np.errstate(all="ignore"):
        return (
            np.sqrt(cloud.var(axis=0) + (cloud.mean(axis=0) - draws.theta / unit) ** 2)
            if len(cloud)
            else draws.theta
        ), origin


def _draws_value(name: str, value: float, origin: str, config: Config) -> Value:
    found = _inputs.finite(value)
    if found is None:
        return _calibration.missing(DRAWS, name, "the prior has no spread to compare with")
    said = f"draws are {found:.2g} times as far from the truth as {origin}"
    return Value(
        DRAWS,
        name,
        found,
        warning="learned little" if found > config.little_above else None,
        reason=said,
    )


def _mean_value(name: str, value: float, source: str) -> Value:
    found = _inputs.finite(value)
    if found is None:
        return _calibration.missing(MEAN, name, "the prior has no spread to compare with")
    return Value(MEAN, name, found, reason=f"against the sd of the {source}")


def plot(result: Result) -> Figure:
    """How the errors of the draws are spread over test pairs, for every parameter."""
    from sbiwb.diagnostics import _grid

    figure, axes = _grid.panels(len(result.names))
    for d, (panel,) in enumerate(axes):
        _histogram(panel, result, d)
    note = f"{len(result.errors)} test pairs; orange: their median, which is nrmse_draws; black: draws from the prior"
    _grid.finish(figure, "NRMSE: how much nearer to the truth than the prior?", note)
    return figure


def _histogram(axes: Axes, result: Result, d: int) -> None:
    from sbiwb.diagnostics import _grid

    errors = result.errors[:, d]
    axes.set(xlabel="error of the draws over the prior's", ylabel="test pairs")
    if result.troubles[d] or not np.isfinite(errors).all():
        _grid.title(axes, result.names[d])
        return _grid.message(axes, result.troubles[d] or "the prior has no spread to compare with")
    _grid.title(axes, result.names[d], f"median {np.median(errors):.2f}")
    top = max(1.1, float(np.quantile(errors, 0.99)) * 1.1)
    axes.hist(np.minimum(errors, top), bins=30, range=(0, top), color=_grid.SKY)
    axes.axvline(1.0, color=_grid.INK, lw=0.8)
    axes.axvline(float(np.median(errors)), color=_grid.VERMILLION, lw=1.4)
    axes.set_xlim(0, top)
