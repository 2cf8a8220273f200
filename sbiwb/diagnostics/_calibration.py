"""What calibration checks share: options of the verdict, and the shape of a miscalibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import DiagnosticPart, Level
from sbiwb.diagnostics import _ecdf
from sbiwb.diagnostics._ecdf import Uniformity
from sbiwb.evidence import Shape, Value

SHAPE_ERRORS = 3.0  # standard errors from which a shape is named
MARGINAL_WORDS = {
    Shape.BIASED_LOW: "most draws lie below the truth",
    Shape.BIASED_HIGH: "most draws lie above the truth",
    Shape.OVERCONFIDENT: "posterior too narrow",
    Shape.UNDERCONFIDENT: "posterior too wide",
}


class CalibrationConfig(DiagnosticPart):
    """Options of a check with a p-value."""

    calibrates: ClassVar[bool] = True

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


@dataclass(frozen=True)
class Finding:
    """What a calibration check says of a posterior.

    Args:
        reason: In words.
        shapes: What is wrong, the strongest first; none where nothing is.
    """

    reason: str
    shapes: tuple[Shape, ...] = ()

    @classmethod
    def of(cls, shape: Shape, words: str) -> Finding:
        """One shape, and what shows it."""
        return cls(f"{shape} ({words})", (shape,))

    def noted(self, note: str) -> Finding:
        """The same with a clause at its end."""
        return Finding(self.reason + note, self.shapes)


WRONG_JOINT_SHAPE = Finding("wrong in shape, right on average", (Shape.WRONG_IN_SHAPE,))
WRONG_MARGINAL_SHAPE = Finding(
    "wrong in shape, neither shifted nor of the wrong width", (Shape.WRONG_IN_SHAPE,)
)


def value(name: str, parameter: str, test: Uniformity, column: int, finding: Finding) -> Value:
    """One calibration number of one column of ranks."""
    low, high = test.interval[column]
    return Value(
        name,
        parameter,
        float(test.log_gamma[column]),
        p=float(test.p[column]),
        effect=float(test.effect[column]),
        effect_interval=(float(low), float(high)),
        reason=finding.reason,
        shapes=finding.shapes,
    )


def missing(name: str, parameter: str, reason: str) -> Value:
    """A number that cannot be had, and why."""
    return Value(name, parameter, None, reason=reason)


def central_coverage(ranks: np.ndarray, s: int) -> tuple[np.ndarray, np.ndarray]:
    """How often central intervals hold the truth.

    Args:
        ranks: (N, D).
        s: Draws of each test pair.

    Returns:
        Levels that S draws can form, rising, (K,), and the share of intervals that hold the truth,
        (D, K).
    """
    counts = _ecdf.counts_below(_ecdf.fold_ranks(ranks, s), s, fold=2)
    return 1 - _ecdf.grid(s, 2)[::-1], 1 - counts[:, ::-1] / max(1, len(ranks))


def nearest(levels: np.ndarray, wanted: float | np.ndarray) -> np.ndarray:
    """Positions of the levels (K,) nearest to the wanted ones."""
    return np.abs(levels - np.asarray(wanted)[..., None]).argmin(axis=-1)


def marginal_finding(ranks: np.ndarray, s: int) -> Finding:
    """What non-uniform ranks (N,) of a parameter say of its posterior, strongest first.

    High ranks: most draws lie below the truth, the posterior is too low. Ranks at both ends: too
    narrow.

    Example:
        >>> marginal_finding(np.full(100, 9), 9).shapes[0]
        <Shape.BIASED_LOW: 'biased low'>
    """
    shift, width = moments(ranks, s)
    strength = {
        Shape.BIASED_LOW: shift,
        Shape.BIASED_HIGH: -shift,
        Shape.OVERCONFIDENT: width,
        Shape.UNDERCONFIDENT: -width,
    }
    strongest = sorted(strength, key=lambda shape: -strength[shape])
    shapes = tuple(shape for shape in strongest if strength[shape] > SHAPE_ERRORS)
    if not shapes:
        return WRONG_MARGINAL_SHAPE
    words = [f"{shape} ({MARGINAL_WORDS[shape]})" for shape in shapes]
    return Finding(" and ".join(words), shapes)


def data_finding(ranks: np.ndarray, s: int) -> Finding | None:
    """What ranks (N,) of theta_j * h_j(x) say that those of theta_j do not; None for no more.

    High ranks: most draws fall short of the truth in the direction in which the data point.
    """
    shift, _ = moments(ranks, s)
    if shift > SHAPE_ERRORS:
        return Finding.of(
            Shape.PRIOR_LIKE,
            "the truth lies farther to where the data point than most draws: "
            "the posterior is close to the prior",
        )
    if shift < -SHAPE_ERRORS:
        return Finding.of(
            Shape.OVERREACTING, "most draws lie farther to where the data point than the truth"
        )
    return None


def density_finding(ranks: np.ndarray, s: int) -> Finding:
    """What ranks (N,) of log q(truth) say: low ones put the truth too far out."""
    shift, _ = moments(ranks, s)
    if shift < -SHAPE_ERRORS:
        return Finding.of(Shape.OVERCONFIDENT, "the truth lies where q is too low")
    if shift > SHAPE_ERRORS:
        return Finding.of(Shape.UNDERCONFIDENT, "the truth lies where q is too high")
    return WRONG_JOINT_SHAPE


def moments(ranks: np.ndarray, s: int) -> tuple[float, float]:
    """Mean and spread of ranks (N,) against uniform ones, in standard errors.

    Ranks that are all at one end are shifted, not spread out: there is too much spread only where
    it stays around their own mean.
    """
    u = (ranks + 0.5) / (s + 1) - 0.5
    uniform_variance = (1 - (s + 1.0) ** -2) / 12
    width = float(np.mean(u**2) - uniform_variance)
    if width >= 0:
        width = max(float(np.var(u) - uniform_variance), 0.0)
    return float(u.mean() * np.sqrt(12 * len(u))), float(width * np.sqrt(180 * len(u)))
