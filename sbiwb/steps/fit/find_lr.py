"""`train --find-lr`: a learning-rate range test on the training pairs, with a picture; changes no training."""

from __future__ import annotations

from sbiwb.claims import hold
from sbiwb.contracts import Reporter
from sbiwb.files import put
from sbiwb.project.opening import write_config
from sbiwb.project.project import Project
from sbiwb.report import rates_picture, to_png
from sbiwb.steps.fit.assemble import open_trainer
from sbiwb.stopping import raise_on_signal
from sbiwb.training.range_test import RangeTest, range_test

STEPS = 400


def find_lr(project: Project, reporter: Reporter) -> RangeTest:
    """Tries learning rates from 1e-6 to 1 and suggests one.

    Args:
        project: Its training pairs are simulated.
        reporter: Where progress goes.

    Raises:
        RunError: Simulations are missing.
    """
    with raise_on_signal(), hold(project.run.training_claim, "trains this run", reporter.say):
        write_config(project)
        trainer = open_trainer(project, reporter).trainer
        try:
            with reporter.task("rates", STEPS, unit="steps") as ticker:
                found = range_test(trainer, STEPS, lambda loss: ticker.advance(loss=f"{loss:.3f}"))
        finally:
            trainer.source.close()
    picture = project.run.train / "learning-rates.png"
    put(picture, to_png(rates_picture(found.rates, found.losses, found.suggestion)))
    reporter.say(f"The picture is {picture}.")
    return found
