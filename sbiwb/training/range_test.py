"""Learning-rate range test: losses under a rate that grows at each step, and what they suggest.

References:
    Smith (2017), Cyclical Learning Rates for Training Neural Networks,
        https://arxiv.org/abs/1506.01186
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sbiwb.errors import TrainingError
from sbiwb.training.loop import Trainer
from sbiwb.training.schedule import Ramp

MIN_RATE, MAX_RATE = 1e-6, 1.0
EXPLODED_NATS = 2.0  # above the best smoothed loss, where the test ends
SMOOTHING = 0.95


@dataclass(frozen=True)
class RangeTest:
    """What growing rates did.

    Args:
        rates: Learning rate of each step, (n,).
        losses: Loss of each step, smoothed, in nats, (n,).
        suggestion: A third of the rate with the lowest smoothed loss: beyond it the loss rises,
            and AdamW trains well somewhat below.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float

    def lines(self) -> Iterator[str]:
        """The result in words."""
        best = int(self.losses.argmin())
        yield (
            f"From {self.rates[0]:.0e} to {self.rates[-1]:.1e} the loss fell from "
            f"{self.losses[0]:.2f} to {self.losses[best]:.2f}, lowest at {self.rates[best]:.1e}."
        )
        yield f"A learning rate of about {self.suggestion:.1g} should do."


def range_test(
    trainer: Trainer,
    steps: int,
    on_step: Callable[[float], None] = lambda loss: None,
    stopping: Callable[[], bool] = lambda: False,
) -> RangeTest:
    """Trains with growing rates until the loss explodes or the steps are done.

    Args:
        trainer: At its beginning; its weights are spoilt afterwards.
        steps: From the lowest rate to the highest.
        on_step: Called with the smoothed loss of each step; may raise to stop.
        stopping: Whether this process was asked to stop, for a step that fails.

    Raises:
        TrainingError: The very first loss is NaN or infinite.
    """
    trainer.schedule = Ramp(MIN_RATE, MAX_RATE, steps)
    rates, losses, mean = list[float](), list[float](), 0.0
    for step in range(steps):
        rates.append(trainer.schedule.rate(step))
        trainer.step(stopping)
        loss = trainer.last_loss()
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        losses.append(mean / (1 - SMOOTHING ** (step + 1)))
        if not math.isfinite(loss) or losses[-1] > min(losses) + EXPLODED_NATS:
            break
        on_step(losses[-1])
    return _suggested(np.array(rates), np.array(losses))


def _suggested(rates: np.ndarray, losses: np.ndarray) -> RangeTest:
    finite = np.isfinite(losses)
    if not finite.any():
        raise TrainingError(
            "the first loss is NaN or infinite",
            where="train --find-lr",
            todo="Add a transform such as log or standardize.",
        )
    best = rates[finite][losses[finite].argmin()]
    return RangeTest(rates[finite], losses[finite], float(best) / 3)
