"""Learning rate: linear warm-up and a cosine to zero; or, once patience has ended, a straight line to zero."""

from __future__ import annotations

import math
from dataclasses import dataclass

ANNEAL_SHARE = 0.1


@dataclass(frozen=True)
class Anneal:
    """The last stretch after patience has ended: `length` steps from `start`, beginning at `rate`."""

    start: int
    length: int
    rate: float

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True)
class Schedule:
    """Rate at each step.

    Args:
        peak: Highest rate.
        steps: Length of the whole cosine.
        warmup: Share of the steps in which the rate rises.
    """

    peak: float
    steps: int
    warmup: float

    def rate(self, step: int, anneal: Anneal | None = None) -> float:
        if anneal is not None:
            return anneal.rate * max(0.0, 1 - (step - anneal.start) / anneal.length)
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.peak * (step + 1) / rising
        return self.peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, self.steps - rising)))

    def anneal(self, step: int) -> Anneal:
        """The stretch that begins now: a tenth of the steps done, and no longer than what is left."""
        return Anneal(step, max(1, min(round(ANNEAL_SHARE * step), self.steps - step)), self.rate(step))
