"""Learning rate at each step: a warm-up, then one of four courses.

cosine      falls to zero along a cosine
one_cycle   rises along a cosine for 30 % of the steps, then falls along one
            (Smith & Topin 2019, https://arxiv.org/abs/1708.07120)
constant    stays
plateau     stays, and is halved after every few validations without improvement

Once patience or time has ended, the rate falls along a straight line to zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

ANNEAL_SHARE = 0.1
ONE_CYCLE_RISE = 0.3


@dataclass(frozen=True)
class Anneal:
    """The last stretch after patience or time has ended.

    Args:
        start: Its first step.
        length: Steps in it.
        rate: Learning rate at its beginning.
    """

    start: int
    length: int
    rate: float

    @property
    def end(self) -> int:
        return self.start + self.length


class HasRate(Protocol):
    """A schedule."""

    def rate(self, step: int, anneal: Anneal | None = None) -> float: ...


@dataclass(frozen=True)
class Schedule:
    """Rate at each step.

    Args:
        kind: `cosine`, `one_cycle`, `constant` or `plateau`.
        peak: Highest rate.
        steps: Length of the whole course.
        warmup: Share of the steps in which the rate rises linearly (not under `one_cycle`).
    """

    kind: str
    peak: float
    steps: int
    warmup: float

    def rate(self, step: int, anneal: Anneal | None = None) -> float:
        """The rate of a step, before any halving that the course of training brought."""
        if anneal is not None:
            return anneal.rate * max(0.0, 1 - (step - anneal.start) / anneal.length)
        if self.kind == "one_cycle":
            return self.peak * self._one_cycle(step)
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.peak * (step + 1) / rising
        if self.kind == "cosine":
            return self.peak * _fall((step - rising) / max(1, self.steps - rising))
        return self.peak

    def _one_cycle(self, step: int) -> float:
        top = ONE_CYCLE_RISE * self.steps
        if step < top:
            return _fall(1 - (step + 1) / (top + 1))
        return _fall((step - top) / (self.steps - top))


def _fall(share: float) -> float:
    """Half a cosine, from 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class Ramp:
    """Rates that grow by the same factor at each step, for the learning-rate range test."""

    low: float
    high: float
    steps: int

    def rate(self, step: int, anneal: Anneal | None = None) -> float:
        return self.low * (self.high / self.low) ** (step / (self.steps - 1))
