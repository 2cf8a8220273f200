"""What a training tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stepped:
    """One optimiser step was issued."""

    step: int


@dataclass(frozen=True)
class RolledBack:
    """The weights of an earlier step are back, and the learning rate is halved, because the loss was no number again and again."""

    step: int
    to: int
    rate_scale: float


@dataclass(frozen=True)
class Validated:
    """One validation of the averaged weights; losses in nats per pair, of z, and what the training loss has besides, by name."""

    step: int
    train_loss: float
    validation_loss: float
    penalties: dict[str, float]
    learning_rate: float
    gradient_norm: float
    skipped: int
    improved: bool


@dataclass(frozen=True)
class Finished:
    """The end: at which step, why, and whether the validation loss was still falling."""

    step: int
    reason: str
    best_step: int
    best_loss: float
    still_falling: bool
    gap: float


@dataclass(frozen=True)
class Stopping:
    """One of the processes was asked to stop, and all are at this step."""

    step: int


Event = Stepped | Stopping | RolledBack | Validated | Finished
