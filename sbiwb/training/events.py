"""Events of a training while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from sbiwb.errors import Stopped
from sbiwb.training.facts import TrainingFacts


@dataclass(frozen=True)
class Stepped:
    """One optimiser step was issued."""

    step: int


@dataclass(frozen=True)
class RolledBack:
    """The weights of an earlier step are back and the learning rate is halved.

    The loss had become NaN or infinite in many steps in a row.

    Args:
        step: Steps done.
        to: The step whose weights are back.
        rate_scale: Of the schedule's learning rate, from here on.
    """

    step: int
    to: int
    rate_scale: float


@dataclass(frozen=True)
class Validated:
    """One validation of the averaged weights.

    Args:
        step: Steps done.
        train_loss: Mean over the steps since the last validation, in nats per pair, of z.
        validation_loss: Over all validation pairs, likewise.
        penalties: What the training loss has besides, by name.
        learning_rate: Of the last step.
        gradient_norm: Of the last step.
        skipped: Steps so far whose loss was not finite.
        improved: Whether this is the best so far.
    """

    step: int
    train_loss: float
    validation_loss: float
    penalties: dict[str, float]
    learning_rate: float
    gradient_norm: float
    skipped: int
    improved: bool

    def numbers(self) -> dict[str, float]:
        """Everything that is a curve over the steps, by name."""
        return {
            "train_loss": self.train_loss,
            "validation_loss": self.validation_loss,
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
            "skipped": float(self.skipped),
            **self.penalties,
        }


@dataclass(frozen=True)
class Finished:
    """The end."""

    facts: TrainingFacts


@dataclass(frozen=True)
class Stopping:
    """One of the processes was asked to stop, and all are at this step."""

    step: int


Event = Stepped | Stopping | RolledBack | Validated | Finished


class StepInterrupted(Stopped):
    """A step could not be computed, as its compiler was told to stop; no step was done."""
