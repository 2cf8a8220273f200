"""The density network and its training, from the number of pairs, the inputs and the effort.

The numbers come from trials on the benchmark's tasks by -log q of fresh pairs, told in
`sbiwb guide benchmark`.
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
DECAY, DECAY_AT = 0.2, 10_000  # weight decay that suits so many pairs
MIN_DECAY, MAX_DECAY = 1e-3, 2.0
TRIED_DECAYS = (1.0, 1 / 3, 3.0)  # in units of the likeliest, which comes first
MIN_DECAY_PAIRS, MAX_DECAY_PAIRS = 500, 4_000  # beyond, a trial is too short to show it
FULL_COURSE, LEAST_COURSE = 10_000, 0.2  # pairs below which the rate falls sooner; to which share
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

    @property
    def may_be_linear(self) -> bool:
        """Whether a linear regression ahead of the flow is worth a trial."""
        return self._is_vector and MIN_DECAY_PAIRS <= self.pairs < VERY_MANY

    def inference(self, kind: str, *, linear: bool | None = None) -> Plain:
        """The keys of a flow of this kind, `nsf` or `ncsf`.

        Args:
            kind: Of the flow.
            linear: Whether a linear regression comes first; None: where it is likely to help.
        """
        if linear is None:
            linear = self._is_vector
        width = max(MIN_WIDTH, min(MAX_WIDTH, 4 * self.parameters))
        plain: Plain = {
            "kind": kind,
            "transforms": self._allowed.transforms,
            "hidden": [width, width],
        }
        if kind == "nsf":
            plain["temperature"] = "fitted" if self._is_vector else "columns"
            if linear:
                plain["linear"] = True
        return plain

    def uncertainty(self) -> Plain:
        if self.networks == 1:
            return {"kind": "none"}
        return {"kind": "ensemble", "members": self.networks}

    def train(self, decay: float | None = None) -> Plain:
        """The keys of the section `train` that are chosen.

        Args:
            decay: Weight decay that did best in a trial; None for the likeliest.
        """
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self._rate,
            "weight_decay": self._decay if decay is None else decay,
            "validate_every": self._validate_every,
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
        if self.pairs < FULL_COURSE and self._is_vector:
            share = max(LEAST_COURSE, math.sqrt(self.pairs / FULL_COURSE))
            steps = 100 * round(steps * share / 100)
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
        share = DECAY_AT / self.pairs
        if self.pairs < DECAY_AT:
            share = math.sqrt(share)
        return _rounded(max(MIN_DECAY, min(MAX_DECAY, DECAY * share)))

    def decays(self) -> tuple[float, ...]:
        """Weight decays worth a trial, the likeliest first; none where one is known to do.

        Of few pairs the best is ten times another problem's, and as much as a nat better. More is
        not tried: a single network of a part of the pairs, as in a trial, wants more than an
        ensemble of all (on slcp it asks for 8, where 3 is best and 8 half a nat behind).
        """
        if not self._is_vector or not MIN_DECAY_PAIRS <= self.pairs <= MAX_DECAY_PAIRS:
            return ()
        return tuple(_rounded(factor * self._decay) for factor in TRIED_DECAYS)

    @property
    def decay_trial_steps(self) -> int:
        """Steps that a trial of decays may take: a quarter of the least that training takes."""
        return self.networks * self._least_steps // 4

    @property
    def linear_trial_steps(self) -> int:
        """Steps that a trial of a regression ahead of the flow may take, likewise."""
        return self.networks * self._least_steps // 5

    @property
    def _least_steps(self) -> int:
        """That training takes however soon it ends."""
        return min(self.steps, self._allowed.patience * self._validate_every)

    @property
    def _validate_every(self) -> int:
        if self._is_vector:
            return 50
        return 100


def _rounded(decay: float) -> float:
    return float(f"{decay:.2g}")
