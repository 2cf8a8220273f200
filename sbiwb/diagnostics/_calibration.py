"""What calibration checks share: options of the verdict, and the shape of a miscalibration in plain words."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sbiwb.diagnostics._ecdf import Uniformity
from sbiwb.evidence import Value
from sbiwb.families import Part

SURE = 3.0  # standard errors from which a shape is named


class CalibrationConfig(Part):
    """Options of a check with a p-value."""

    alpha: float = Field(0.05, ge=0.001, le=0.5, description="False alarms accepted over all calibration checks together.")
    tolerance: float = Field(0.03, ge=0, le=1, description="Largest max |ECDF - z| that warns only, where a check rejects.")


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


def shape(ranks: np.ndarray, s: int) -> str:
    """What non-uniform ranks (N,) of a parameter say of its posterior, strongest first.

    High ranks: most draws lie below the truth, the posterior is too low. Ranks at both ends: too narrow.
    """
    shift, width = _moments(ranks, s)
    words = {
        "biased low (most draws lie below the truth)": shift,
        "biased high (most draws lie above the truth)": -shift,
        "overconfident (posterior too narrow)": width,
        "underconfident (posterior too wide)": -width,
    }
    named = sorted((word for word in words if words[word] > SURE), key=lambda word: -words[word])
    return " and ".join(named) if named else "wrong in shape, neither shifted nor of the wrong width"


def density_shape(ranks: np.ndarray, s: int) -> str:
    """The same for ranks (N,) of log q(truth) among log q(draws): low ranks put the truth too far out."""
    shift, _ = _moments(ranks, s)
    if abs(shift) <= SURE:
        return "wrong in shape, right on average"
    if shift < 0:
        return "overconfident (the truth lies where q is too low)"
    return "underconfident (the truth lies where q is too high)"


def _moments(ranks: np.ndarray, s: int) -> tuple[float, float]:
    """Mean and spread of ranks against uniform ones, in standard errors."""
    u = (ranks + 0.5) / (s + 1) - 0.5
    variance = (1 - (s + 1.0) ** -2) / 12
    return float(u.mean() * np.sqrt(12 * len(u))), float((np.mean(u**2) - variance) * np.sqrt(180 * len(u)))
