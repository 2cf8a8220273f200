"""How a training ended: where it was best, whether it overfits or needs more steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sbiwb.training.training_progress import Progress

STILL_FALLING_NATS = 0.02  # by which the best loss lies below that of the first four fifths
EARLY_SHARE = 0.8
LARGE_GAP_NATS = 0.2  # between training and validation
RISE_NATS = 0.1  # of the validation loss after its best

REASONS = {
    "steps": "all steps are done",
    "patience": "validation stopped improving and the learning rate was annealed to zero",
    "time": "train.max_time_min is spent, and the learning rate was annealed to zero",
}
MORE_PAIRS = (
    "More simulations (simulate.train) help most, and the check data_budget of `sbiwb diagnose` "
    "says how much; so does an ensemble (model.uncertainty: ensemble)."
)


@dataclass(frozen=True)
class TrainingFacts:
    """How a training ended; losses are means over pairs, in nats unless the network has its own.

    Args:
        step: Steps done.
        reason: Why it ended, a key of `REASONS`.
        best_step: Where the validation loss was lowest; the weights of this step are kept.
        best_loss: The validation loss there.
        still_falling: Whether all steps were done, and the loss still fell in the last fifth.
        gap: Validation loss minus training loss at the best step; 0 where the network has a loss
            of its own.
        last_loss: The validation loss at the end.
        last_train_loss: The training loss there.
        overfits: Whether validation rose after its best while training lies well below it.
    """

    step: int
    reason: str
    best_step: int
    best_loss: float
    still_falling: bool
    gap: float
    last_loss: float
    last_train_loss: float
    overfits: bool

    def lines(self) -> Iterator[str]:
        """The facts in words, with what would help."""
        yield f"Stopped at step {self.step:,}: {REASONS[self.reason]}."
        yield f"Best validation loss {self.best_loss:.4f} at step {self.best_step:,}."
        if self.still_falling:
            yield (
                "Validation was still falling in the last fifth: more train.steps would help "
                "(then --fresh)."
            )
        if self.overfits:
            yield (
                f"The network overfits: from step {self.best_step:,} on, validation rose from "
                f"{self.best_loss:.2f} to {self.last_loss:.2f}, and training fell to "
                f"{self.last_train_loss:.2f}. The weights of step {self.best_step:,} are kept. "
                + MORE_PAIRS
            )
        elif self.gap > LARGE_GAP_NATS:
            yield (
                f"Validation lies {self.gap:.2f} nats above training at the best step: the network "
                "begins to overfit. " + MORE_PAIRS
            )


def facts_of(progress: Progress, *, likelihood: bool) -> TrainingFacts:
    """What a training that has ended says.

    Args:
        progress: At its end, with one finite validation at least.
        likelihood: Whether losses are in nats; else thresholds are relative to the best loss.
    """
    unit, gap = abs(progress.best_loss), 0.0
    if likelihood:
        unit, gap = 1.0, _gap(progress)
    _, last_train_loss, last_loss = _last_finite(progress)
    fell = _fall_of_the_end(progress) > STILL_FALLING_NATS * unit
    rose = last_loss - progress.best_loss > RISE_NATS * unit
    return TrainingFacts(
        step=progress.step,
        reason=progress.finished,
        best_step=progress.best_step,
        best_loss=progress.best_loss,
        still_falling=progress.finished == "steps" and fell,
        gap=gap,
        last_loss=last_loss,
        last_train_loss=last_train_loss,
        overfits=rose and last_loss - last_train_loss > LARGE_GAP_NATS * unit,
    )


def _gap(progress: Progress) -> float:
    """Validation loss minus training loss at the best step; 0 where no training loss is known."""
    _, train_loss, loss = _best(progress)
    if not math.isfinite(train_loss):
        return 0.0
    return loss - train_loss


def _fall_of_the_end(progress: Progress) -> float:
    """How much lower the best loss is than that of the first four fifths."""
    border = EARLY_SHARE * progress.step
    early = [loss for step, _, loss in progress.losses if step <= border and math.isfinite(loss)]
    return min(early, default=-math.inf) - progress.best_loss


def _best(progress: Progress) -> list[float]:
    """Step, training loss and validation loss of the best validation."""
    return next(row for row in progress.losses if row[0] == progress.best_step)


def _last_finite(progress: Progress) -> list[float]:
    """The same of the last validation whose losses are finite, else of the best."""
    rows = [row for row in progress.losses if math.isfinite(sum(row))]
    if not rows:
        step, _, loss = _best(progress)
        return [step, loss, loss]
    return rows[-1]
