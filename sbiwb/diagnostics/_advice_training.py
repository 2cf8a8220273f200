"""What the end of a training points to: too short, or too few pairs."""

from __future__ import annotations

from dataclasses import dataclass

from sbiwb.diagnostics import _advice_patterns as patterns
from sbiwb.diagnostics._advice_patterns import TrainingSign

LARGE_GAP_NATS = 0.2  # between training and validation from which we speak of overfitting


@dataclass(frozen=True)
class Training:
    """How the training ended; losses in nats.

    Args:
        still_falling: Whether the validation loss was falling in the last fifth, or was measured
            too seldom to know.
        gap: Validation loss minus training loss at the best step.
        overfits: Whether validation rose after its best while training fell well below it.
        best_step: Where the validation loss was lowest.
        best_loss: The validation loss there, where it is known.
        last_loss: The validation loss at the end, where it is known.
        last_train_loss: The training loss there.
    """

    still_falling: bool
    gap: float
    overfits: bool = False
    best_step: int = 0
    best_loss: float | None = None
    last_loss: float | None = None
    last_train_loss: float | None = None

    @property
    def signs(self) -> frozenset[TrainingSign]:
        """What its end points to."""
        signs = set()
        if self.still_falling:
            signs.add(TrainingSign.TOO_SHORT)
        if self.overfits or self.gap > LARGE_GAP_NATS:
            signs.add(TrainingSign.OVERFITS)
        return frozenset(signs)

    def todo(self) -> list[str]:
        """What its end says to do."""
        if self.overfits:
            return [f"Simulate more: {self.rise()}. {patterns.RAISE_TRAIN.words}"]
        if self.still_falling:
            return [
                "Train longer: the validation loss had not settled at the end. Raise train.steps, "
                "then `sbiwb run CONFIG --fresh`."
            ]
        if self.gap > LARGE_GAP_NATS:
            return [
                f"Simulate more: validation lies {self.gap:.2f} nats above training. "
                "Raise simulate.train."
            ]
        return []

    def rise(self) -> str:
        """How the validation loss rose, in numbers where they are known."""
        losses = (self.best_loss, self.last_loss, self.last_train_loss)
        if None in losses:
            return "the validation loss rose after its best while the training loss fell"
        return (
            f"the validation loss rose from {self.best_loss:.2f} at step {self.best_step:,} to "
            f"{self.last_loss:.2f}, while the training loss fell to {self.last_train_loss:.2f}"
        )


UNKNOWN_TRAINING = Training(still_falling=False, gap=0.0)
