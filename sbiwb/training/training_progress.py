"""How far a training is: the plain numbers that every checkpoint holds beside the tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from sbiwb.training.schedule import Anneal


@dataclass
class Progress:
    """Everything that changes besides tensors.

    Args:
        step: Steps done.
        best_loss: Lowest validation loss, in nats per pair.
        best_step: Where it was.
        waited: Validations since then.
        read: The step up to which losses were read from the device.
        loss_sums: Since the last validation: of the loss, and of each penalty.
        loss_count: Finite losses in them.
        skipped: Steps whose loss or gradient was not finite; they changed no weight.
        bad_in_a_row: Of these, the latest without a finite one between.
        rate_scale: Of the learning rate, halved after a rollback and on a plateau.
        good_step: The last finite validation.
        times_back: Rollbacks.
        seconds: Of training, over all starts.
        anneal: The last stretch, once it has begun.
        ending: Why it began.
        losses: Step, training loss and validation loss of each validation.
        finished: Why training ended; empty while it runs.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    waited: int = 0
    read: int = 0
    loss_sums: list[float] = field(default_factory=list)
    loss_count: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    rate_scale: float = 1.0
    good_step: int = 0
    times_back: int = 0
    seconds: float = 0.0
    anneal: dict[str, float] | None = None
    ending: str = ""
    losses: list[list[float]] = field(default_factory=list)
    finished: str = ""

    def count_step(self, losses: Sequence[float]) -> None:
        """Counts the loss and the penalties of one step, or a step that was skipped."""
        if not math.isfinite(sum(losses)):
            self.skipped += 1
            self.bad_in_a_row += 1
            return
        self.bad_in_a_row = 0
        self.loss_count += 1
        sums = self.loss_sums or [0.0] * len(losses)
        self.loss_sums = [total + loss for total, loss in zip(sums, losses, strict=True)]

    def take_means(self, terms: int) -> list[float]:
        """Means of the loss and of each penalty since the last time; NaN where no step counted."""
        count = self.loss_count or math.nan
        means = [total / count for total in self.loss_sums or [0.0] * (1 + terms)]
        self.loss_sums, self.loss_count = [], 0
        return means

    def note_validation(self, train_loss: float, loss: float) -> bool:
        """Notes a validation at this step; whether it is the best so far."""
        self.losses.append([self.step, train_loss, loss])
        if math.isfinite(loss):
            self.good_step = self.step
        if not loss < self.best_loss:
            self.waited += 1
            return False
        self.best_loss, self.best_step, self.waited = loss, self.step, 0
        return True

    @property
    def is_validated(self) -> bool:
        """Whether this very step is: a run may resume from a checkpoint just before that."""
        return bool(self.losses) and self.losses[-1][0] == self.step

    @property
    def last_stretch(self) -> Anneal | None:
        if self.anneal is None:
            return None
        return Anneal(
            int(self.anneal["start"]), int(self.anneal["length"]), float(self.anneal["rate"])
        )
