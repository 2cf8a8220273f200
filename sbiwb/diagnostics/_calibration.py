"""What calibration checks share: options of the verdict, and the shape of a miscalibration in plain words."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, Level
from sbiwb.diagnostics import _ecdf
from sbiwb.diagnostics._ecdf import Uniformity
from sbiwb.evidence import Value

SURE = 3.0  # standard errors from which a shape is named

# How reasons begin, or go on after " and ": advice reads them.
BIASED_LOW, BIASED_HIGH, OVERCONFIDENT, UNDERCONFIDENT = (
    "biased low",
    "biased high",
    "overconfident",
    "underconfident",
)
PRIOR_LIKE, OVERREACTING = "follows the data too little", "follows the data too much"


class CalibrationConfig(DiagnosticPart):
    """Options of a check with a p-value."""

    alpha: float = Field(
        0.05,
        ge=0.001,
        le=0.5,
        description="False alarms accepted over all calibration checks together.",
    )
    tolerance: float = Field(
        0.03,
        ge=0,
        le=1,
        description="Largest max |ECDF - z| that warns only, where a check rejects.",
    )

    @property
    def level(self) -> Level:
        return Level(self.alpha, self.tolerance)


def value(name: str, parameter: str, test: Uniformity, column: int, *, reason: str) -> Value:
    """One calibration number of one column of ranks."""
    low, high = test.interval[column]
    return Value(
        name,
        parameter,
        float(test.log_gamma[column]),
        p=float(test.p[column]),
        effect=float(test.effect[column]),
        effect_interval=(float(low), float(high)),
        reason=reason,
    )


def missing(name: str, parameter: str, reason: str) -> Value:
    """A number that cannot be had, and why."""
    return Value(name, parameter, None, reason=reason)


def central_coverage(ranks: np.ndarray, s: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels (K,), rising, that S draws can form, and the share of central intervals that hold the truth, (D, K), by ranks (N, D)."""
    counts = _ecdf.counts_below(_ecdf.fold_ranks(ranks, s), s, fold=2)
    return 1 - _ecdf.grid(s, 2)[::-1], 1 - counts[:, ::-1] / max(1, len(ranks))


def nearest(levels: np.ndarray, wanted: float | np.ndarray) -> np.ndarray:
    """Positions of the levels (K,) nearest to the wanted ones."""
    return np.abs(levels - np.asarray(wanted)[..., None]).argmin(axis=-1)


def shape(ranks: np.ndarray, s: int) -> str:
    """What non-uniform ranks (N,) of a parameter say of its posterior, strongest first.

    High ranks: most draws lie below the truth, the posterior is too low. Ranks at both ends: too narrow.
    """
    shift, width = moments(ranks, s)
    words = {
        f"{BIASED_LOW} (most draws lie below the truth)": shift,
        f"{BIASED_HIGH} (most draws lie above the truth)": -shift,
        f"{OVERCONFIDENT} (posterior too narrow)": width,
        f"{UNDERCONFIDENT} (posterior too wide)": -width,
    }
    named = sorted((word for word in words if words[word] > SURE), key=lambda word: -words[word])
    return (
        " and ".join(named) if named else "wrong in shape, neither shifted nor of the wrong width"
    )


def data_shape(ranks: np.ndarray, s: int) -> str | None:
    """What ranks (N,) of theta_j * h_j(x) say that those of theta_j do not; None where they say no more.

    High ranks: most draws fall short of the truth in the direction in which the data point.
    """
    shift, _ = moments(ranks, s)
    if abs(shift) <= SURE:
        return None
    if shift > 0:
        return f"{PRIOR_LIKE} (the truth lies farther to where the data point than most draws: the posterior is close to the prior)"
    return f"{OVERREACTING} (most draws lie farther to where the data point than the truth)"


def density_shape(ranks: np.ndarray, s: int) -> str:
    """The same for ranks (N,) of log q(truth) among log q(draws): low ranks put the truth too far out."""
    shift, _ = moments(ranks, s)
    if abs(shift) <= SURE:
        return "wrong in shape, right on average"
    if shift < 0:
        return f"{OVERCONFIDENT} (the truth lies where q is too low)"
    return f"{UNDERCONFIDENT} (the truth lies where q is too high)"


def moments(ranks: np.ndarray, s: int) -> tuple[float, float]:
    """Mean and spread of ranks (N,) against uniform ones, in standard errors.

    Ranks that are all at one end are shifted, not spread out: there is too much spread only where it stays around their own mean.
    """
    u = (ranks + 0.5) / (s + 1) - 0.5
    variance, scale = (1 - (s + 1.0) ** -2) / 12, np.sqrt(180 * len(u))
    about_middle, about_mean = np.mean(u**2) - variance, np.var(u) - variance
    width = about_middle if about_middle < 0 else max(about_mean, 0.0)
    return float(u.mean() * np.sqrt(12 * len(u))), float(width * scale)
