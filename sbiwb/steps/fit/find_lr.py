"""`train --find-lr`: a learning-rate range test on the training pairs, with a picture."""

from __future__ import annotations

from sbiwb.contracts import Reporter
from sbiwb.files import put
from sbiwb.report import rates_picture, to_png
from sbiwb.rundir import RunDir
from sbiwb.stopping import Flag, watch_signals
from sbiwb.training.loop import Trainer
from sbiwb.training.range_test import RangeTest, range_test

STEPS = 400


def find_rate(trainer: Trainer, run: RunDir, reporter: Reporter) -> RangeTest:
    """Tries learning rates from 1e-6 to 1 and suggests one.

    Args:
        trainer: At its beginning; its weights are spoilt afterwards.
        run: Keeps the picture.
        reporter: Where progress goes.

    Raises:
        Stopped: A signal came.
    """
    flag = Flag()
    with watch_signals(flag), reporter.task("rates", STEPS, unit="steps") as ticker:

        def on_step(loss: float) -> None:
            ticker.advance(loss=f"{loss:.3f}")
            flag.check()

        rates = range_test(trainer, STEPS, on_step, lambda: flag.should_stop)
    picture = rates_picture(rates.rates, rates.losses, rates.suggestion)
    put(run.learning_rates_picture, to_png(picture))
    reporter.say(f"The picture is {run.learning_rates_picture}.")
    return rates
