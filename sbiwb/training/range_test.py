"""Learning-rate range test: losses under a rate that grows at each step; from a trainer to a suggestion.

References:
    Smith (2017), Cyclical Learning Rates for Training Neural Networks, https://arxiv.org/abs/1506.01186
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sbiwb.errors import TrainingError
from sbiwb.training.loop import Trainer
from sbiwb.training.schedule import Ramp

LOW, HIGH = 1e-6, 1.0
WORSE = 2.0  # nats above the best smoothed loss, where the test ends
SMOOTH = 0.95


@dataclass(frozen=True)
class RangeTest:
    """What growing rates did.

    Args:
        rates: Learning rate of each step, (n,).
        losses: Loss of each step, smoothed, in nats, (n,).
        suggestion: A third of the rate with the lowest smoothed loss: beyond it the loss rises, and AdamW trains well somewhat below.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float

    def lines(self) -> Iterator[str]:
        """The result in words."""
        best = int(self.losses.argmin())
        yield (
            f"From {self.rates[0]:.0e} to {self.rates[-1]:.1e} the loss fell from {self.losses[0]:.2f} to {self.losses[best]:.2f}, "
            f"lowest at {self.rates[best]:.1e}."
        )
        yield f"A learning rate of about {self.suggestion:.1g} should do."


def range_test(
    trainer: Trainer, steps: int, seen: Callable[[float], None] = lambda loss: None
) -> RangeTest:
    """Trains with growing rates until the loss explodes or the steps are done.

    Args:
        trainer: At its beginning; its weights are spoilt afterwards.
        steps: From the lowest rate to the highest.
        seen: Hears the smoothed loss of each step.

    Raises:
        TrainingError: The very first loss is no number.
    """
    trainer.schedule = Ramp(LOW, HIGH, steps)
    rates, losses, mean = [], list[float](), 0.0
    for step in range(steps):
        rates.append(trainer.schedule.rate(step))
        loss = trainer.step()
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        losses.append(mean / (1 - SMOOTH ** (step + 1)))
        if not math.isfinite(loss) or losses[-1] > min(losses) + WORSE:
            break
        seen(losses[-1])
    kept = np.isfinite(losses)
    if not kept.any():
        raise TrainingError(
            "the first loss is no number",
            where="train --find-lr",
            todo="Add a transform such as log or standardize.",
        )
    tried, smoothed = np.array(rates)[kept], np.array(losses)[kept]
    return RangeTest(tried, smoothed, float(tried[smoothed.argmin()]) / 3)
