"""The density network and its training, from the number of pairs, the inputs and the effort.

The numbers come from trials on the benchmark's tasks by -log q of fresh pairs, told in README.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Plain = dict[str, object]


@dataclass(frozen=True)
class Effort:
    """What training may cost.

    Args:
        members: Networks of an ensemble on vectors.
        members_of_sets: The same where members, steps or cells are read.
        transforms: Of the flow.
        steps: Optimiser steps at most.
        patience: Validations without improvement.
        trial_share: Of the steps of all networks, what a trial of summary networks may take.
    """

    members: int
    members_of_sets: int
    transforms: int
    steps: int
    patience: int
    trial_share: float


EFFORTS = {
    "quick": Effort(1, 1, 3, 5_000, 20, 0.0),
    "standard": Effort(5, 1, 5, 24_000, 60, 0.2),
    "best": Effort(10, 4, 6, 36_000, 80, 0.1),
}
TRAIN_KEYS = ("steps", "batch_size", "learning_rate", "weight_decay", "validate_every", "patience")
MANY = 30_000  # pairs from which steps are taken in larger batches
VERY_MANY = 150_000
DECAY_AT = 10_000  # pairs for which weight decay is largest
MAX_DECAY, MIN_DECAY = 0.2, 1e-3
LONG = 200  # members beyond which steps are fewer
MIN_WIDTH, MAX_WIDTH = 64, 256


@dataclass(frozen=True)
class Task:
    """What a network has to learn.

    Args:
        parameters: D.
        pairs: Training pairs, N.
        members: Members, steps or cells of the largest input; 1 where all are vectors.
        attentive: Whether a summary network attends.
        effort: Asked for.
    """

    parameters: int
    pairs: int
    members: int
    attentive: bool
    effort: str

    @property
    def _allowed(self) -> Effort:
        return EFFORTS[self.effort]

    @property
    def _is_vector(self) -> bool:
        return self.members == 1

    @property
    def networks(self) -> int:
        """Networks of the ensemble; 1: none."""
        if not self._is_vector:
            return self._allowed.members_of_sets
        if self.pairs >= VERY_MANY:
            return math.ceil(self._allowed.members / 2.5)
        return self._allowed.members

    def inference(self) -> Plain:
        width = max(MIN_WIDTH, min(MAX_WIDTH, 4 * self.parameters))
        hidden = [width, width]
        return {"kind": "nsf", "transforms": self._allowed.transforms, "hidden": hidden}

    def uncertainty(self) -> Plain:
        if self.networks == 1:
            return {"kind": "none"}
        return {"kind": "ensemble", "members": self.networks}

    def train(self) -> Plain:
        """The keys of the section `train` that are chosen."""
        every = 50
        if not self._is_vector:
            every = 100
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self._rate,
            "weight_decay": self._decay,
            "validate_every": every,
            "patience": self._allowed.patience,
        }

    @property
    def batch_size(self) -> int:
        size = 64
        if self._is_vector:
            size = 128
        if self.effort == "quick" or self.pairs >= MANY:
            size *= 2
        if self.pairs >= VERY_MANY:
            size *= 2
        return size

    @property
    def steps(self) -> int:
        steps = self._allowed.steps
        if self.pairs >= VERY_MANY or not self._is_vector:
            steps = steps * 5 // 8
        if self.members > LONG:
            steps = max(steps // 4, round(steps * LONG / self.members))
        return steps

    @property
    def _rate(self) -> float:
        if self.attentive:
            return 1e-3
        if not self._is_vector:
            return 2e-3
        return 3e-3

    @property
    def _decay(self) -> float:
        decay = MAX_DECAY * min(1.0, DECAY_AT / self.pairs)
        return float(f"{max(MIN_DECAY, decay):.2g}")
