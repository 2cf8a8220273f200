"""Coverage curves, in numbers and in words; see `coverage`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb.diagnostics import _calibration
from sbiwb.diagnostics._calibration import Finding
from sbiwb.evidence import Shape, Value

SPOKEN_LEVEL = 0.9  # the level whose coverage the verdict's reason gives


@dataclass(frozen=True)
class Curves:
    """Coverage at K levels, and where an exact posterior's would be.

    Args:
        levels: Rising, (K,).
        coverage: Share of test pairs whose truth lies inside, a row for each curve, (Q, K).
        lower: Lower end of the simultaneous band, (K,).
        upper: Upper end, (K,).
        pointwise_lower: Lower end of the 95 % range of each level alone, (K,).
        pointwise_upper: Upper end, (K,).
    """

    levels: np.ndarray
    coverage: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    pointwise_lower: np.ndarray
    pointwise_upper: np.ndarray


def exact_range(n: int, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the coverage that N pairs show lies with 95 % for an exact posterior.

    Returns:
        Lower and upper end, (K,) each.
    """
    from scipy.stats import binom

    return binom.ppf(0.025, n, levels) / n, binom.ppf(0.975, n, levels) / n


@dataclass(frozen=True)
class CoverageCurve:
    """One coverage curve in words and values.

    Args:
        parameter: Whose.
        n: Test pairs.
        levels: Rising, (K,).
        coverage: (K,).
        prefix: Of the values' names.
        what: What holds the truth.
    """

    parameter: str
    n: int
    levels: np.ndarray
    coverage: np.ndarray
    prefix: str = "coverage"
    what: str = "intervals"

    def sentence(self, level: float) -> str:
        """What a user can act on."""
        at = _calibration.nearest(self.levels, level)
        low, high = exact_range(self.n, self.levels[at])
        return (
            f"your {percent(self.levels[at])} % {self.what} hold the truth "
            f"{percent(self.coverage[at])} % of the time "
            f"(an exact posterior: {percent(low)} to {percent(high)} %)"
        )

    def finding(self, rejected: bool, levels: Sequence[float]) -> Finding:
        """What the curve says as a whole."""
        spoken = min(levels, key=lambda level: abs(level - SPOKEN_LEVEL))
        sentence = self.sentence(spoken)
        if not rejected:
            return Finding(sentence)
        return tendency(self.coverage - self.levels).noted(f": {sentence}")

    def shares(self, levels: Sequence[float]) -> list[Value]:
        """The coverage at each level that was asked for."""
        return [self._share(level) for level in levels]

    def _share(self, level: float) -> Value:
        at = _calibration.nearest(self.levels, level)
        sentence = self.sentence(level)
        if not np.isclose(self.levels[at], level):
            formed = f"the draws can form no {percent(level)} % {self.what}"
            sentence += f"; {formed}, these are the nearest"
        name = f"{self.prefix}_{percent(level)}"
        return Value(name, self.parameter, float(self.coverage[at]), reason=sentence)


def percent(share: float | np.ndarray) -> str:
    """A share in per cent, three digits at most.

    Example:
        >>> percent(0.9), percent(0.8437)
        ('90', '84.4')
    """
    return f"{100 * float(share):.3g}"


def tendency(error: np.ndarray) -> Finding:
    """What coverage minus level (K,) says, by its largest error."""
    if error[np.abs(error).argmax()] < 0:
        return Finding.of(Shape.OVERCONFIDENT, "intervals too narrow")
    return Finding.of(Shape.UNDERCONFIDENT, "intervals too wide")
