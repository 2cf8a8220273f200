"""Successive halving: all candidates train a little, the better half three times as long.

References:
    Karnin, Koren & Somekh (2013), Almost Optimal Exploration in Multi-Armed Bandits, ICML
    Jamieson & Talwalkar (2016), Non-stochastic Best Arm Identification and Hyperparameter
    Optimization, https://arxiv.org/abs/1502.07943
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sbiwb.project.choices import TrialResult

FACTOR = 3  # steps of a round, in those of the round before
MIN_STEPS = 200
MAX_STEPS = 1_500  # of the first round
NEEDED_ERRORS = 2.0


@dataclass
class Tournament:
    """Trials of the networks of one input.

    Args:
        input: Its name.
        candidates: Names, the likeliest first.
        losses: Trains a candidate for so many steps; -log q of each pair held out, (N,).
        steps: That all trials together may take.
        needed_errors: Standard errors by which the less likely of the last two must win.
        results: What was tried, in order.
    """

    input: str
    candidates: Sequence[str]
    losses: Callable[[str, int], Sequence[float]]
    steps: int
    needed_errors: float = NEEDED_ERRORS
    results: list[TrialResult] = field(default_factory=list)

    def play(self) -> str:
        """The winner: of the last two the one that was listed first, unless it is beaten by that
        many standard errors."""
        left, steps, number = list(self.candidates), self.first_steps, 1
        while True:
            measured = {name: np.asarray(self.losses(name, steps), float) for name in left}
            ranked = sorted(left, key=lambda name: _mean(measured[name]))
            self._note(number, steps, ranked, measured)
            if len(ranked) <= 2:
                return self._preferred(ranked, measured)
            left = ranked[: math.ceil(len(ranked) / 2)]
            steps, number = FACTOR * steps, number + 1

    @property
    def first_steps(self) -> int:
        """Steps of the first round, such that all rounds keep to the budget."""
        count, weight, total = len(self.candidates), 1, 0
        while True:
            total += weight * count
            if count <= 2:
                break
            count, weight = math.ceil(count / 2), FACTOR * weight
        return max(MIN_STEPS, min(MAX_STEPS, self.steps // total))

    def _note(
        self, number: int, steps: int, ranked: Sequence[str], measured: dict[str, np.ndarray]
    ) -> None:
        best = measured[ranked[0]]
        for name in ranked:
            behind, error = _compared(measured[name], best)
            loss = _mean(measured[name])
            self.results.append(TrialResult(self.input, name, number, steps, loss, behind, error))

    def _preferred(self, ranked: Sequence[str], measured: dict[str, np.ndarray]) -> str:
        likelier = min(ranked, key=self.candidates.index)
        behind, error = _compared(measured[likelier], measured[ranked[0]])
        if behind > self.needed_errors * error:
            return ranked[0]
        return likelier


def _mean(losses: np.ndarray) -> float:
    """A training that failed comes last."""
    mean = float(losses.mean())
    if math.isnan(mean):
        return math.inf
    return mean


def _compared(losses: np.ndarray, best: np.ndarray) -> tuple[float, float]:
    """Mean difference and its standard error; of trainings that failed (inf, 0)."""
    differences = losses - best
    if not np.isfinite(differences).all():
        return math.inf, 0.0
    return float(differences.mean()), float(differences.std() / math.sqrt(len(differences)))
