"""What accompanies a training: files, progress, trackers and signals, from the trainer's events."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from sbiwb.contracts import Reporter, Ticker
from sbiwb.errors import Stopped
from sbiwb.project.settings import GB
from sbiwb.steps.fit.assemble import TrainingSession
from sbiwb.steps.fit.outputs import TrainingOutputs
from sbiwb.steps.fit.tracking import Tracking
from sbiwb.stopping import Flag
from sbiwb.training.events import (
    Event,
    Finished,
    RolledBack,
    StepInterrupted,
    Stepped,
    Stopping,
    Validated,
)
from sbiwb.training.facts import TrainingFacts

SHOW_EVERY_S = 0.2
Hook = Callable[[Validated], None]


class TrainingMonitor:
    """Runs a trainer to its end.

    Args:
        session: The trainer at its step.
        reporter: Where progress goes.
        flag: Says when to stop.
        outputs: Where files go; None in a process that writes nothing.
        tracking: Further places for the numbers.
        checkpoint_every_s: Seconds between checkpoints.
        on_validated: Called after each validation.
    """

    def __init__(
        self,
        session: TrainingSession,
        reporter: Reporter,
        flag: Flag,
        *,
        outputs: TrainingOutputs | None,
        tracking: Tracking | None,
        checkpoint_every_s: float,
        on_validated: Hook | None = None,
    ) -> None:
        self.trainer, self.reporter, self.flag = session.trainer, reporter, flag
        self.outputs, self.tracking, self.on_validated = outputs, tracking, on_validated
        self.checkpoint_every_s = checkpoint_every_s
        self.saved_at = time.monotonic()
        self.progress = ProgressLine(session)

    def run(self) -> TrainingFacts:
        """Trains until the end.

        Raises:
            Stopped: It was asked to stop; its state is saved.
        """
        trainer = self.trainer
        if not trainer.progress.step:
            self._save()
        task = self.reporter.task("train", trainer.steps, unit="steps", done=trainer.progress.step)
        with task as ticker:
            try:
                return self._follow(ticker)
            except StepInterrupted:  # in the middle of a step: what is saved is the state before it
                self.flag.check()
                raise
            except Stopped:  # between two steps, while waiting for simulations
                self._save()
                self.flag.check()
                raise

    def _follow(self, ticker: Ticker) -> TrainingFacts:
        for event in self.trainer.run(stopping=lambda: self.flag.should_stop):
            if isinstance(event, Finished):
                self.progress.show(ticker)
                if self.outputs:  # the shares of an ensemble's members are fitted at the end
                    self.outputs.put_best(self.trainer.best, event.facts.best_step)
                self._save()
                return event.facts
            self._take(event, ticker)
        raise RuntimeError("a training ended without its last event")

    def _take(self, event: Event, ticker: Ticker) -> None:
        now = time.monotonic()
        match event:
            case Stepped():
                if now - self.progress.shown_at > SHOW_EVERY_S:
                    self.progress.show(ticker)
            case Validated():
                self._validated(event)
                self.progress.show(ticker)
            case RolledBack():
                self.reporter.warn(
                    f"the loss became NaN or infinite in many steps in a row: at step "
                    f"{event.step:,} the weights of step {event.to:,} are back, and the learning "
                    f"rate is {event.rate_scale:g} of its schedule from here on."
                )
            case Stopping():
                self._stop()
        if now - self.saved_at > self.checkpoint_every_s:
            self._save()

    def _stop(self) -> None:
        self._save()
        self.trainer.ranks.barrier()  # ending while another process still sends would abort it
        self.flag.check()
        raise Stopped(
            "stopped together with another process",
            todo="Run the same command again to continue.",
        )

    def _validated(self, event: Validated) -> None:
        self.progress.take(event, self.trainer.progress.best_loss)
        if self.outputs:
            if event.improved:
                self.outputs.put_best(self.trainer.best, event.step)
            self.outputs.put_metrics(event)
        if self.tracking:
            self.tracking.log(event.step, event.numbers())
        if self.on_validated:
            self.on_validated(event)

    def _save(self) -> None:
        """A checkpoint, by the process that writes."""
        if self.outputs:
            self.outputs.put_checkpoint(self.trainer)
        self.saved_at = time.monotonic()


class ProgressLine:
    """Steps, rates and losses on the running line."""

    def __init__(self, session: TrainingSession) -> None:
        self._trainer, step = session.trainer, session.trainer.progress.step
        self._began, self._first_step, self._shown_step = time.monotonic(), step, step
        self._losses: dict[str, object] = {}
        self.shown_at = self._began

    def take(self, event: Validated, best: float) -> None:
        """Remembers the numbers of a validation."""
        numbers = {"loss": event.train_loss, "validation": event.validation_loss, "best": best}
        self._losses = {}
        for name, value in {**numbers, **event.penalties}.items():
            self._losses[name] = f"{value:.3f}"
        self._losses["gradient"] = f"{event.gradient_norm:.2g}"
        if event.skipped:
            self._losses["skipped"] = event.skipped

    def show(self, ticker: Ticker) -> None:
        """Moves the line to the trainer's step."""
        now, step = time.monotonic(), self._trainer.progress.step
        pairs = (step - self._first_step) * self._trainer.source.batch_size
        facts = {**self._losses, "pairs/s": f"{pairs / max(1e-9, now - self._began):,.0f}"}
        if self._trainer.descent.recent.is_cuda:
            facts["memory"] = f"{torch.cuda.max_memory_allocated() / GB:.1f} GB"
        facts |= self._trainer.source.facts()
        ticker.advance(step - self._shown_step, **facts)
        self.shown_at, self._shown_step = now, step


def announce(session: TrainingSession, reporter: Reporter) -> None:
    """Says what will be trained, on what, and where."""
    trainer, source = session.trainer, session.trainer.source
    pairs, together = "fresh pairs", ""
    if source.pairs:
        pairs = f"{source.pairs:,} pairs ({session.settings.regime})"
    if trainer.ranks.world > 1:
        together = f" in {trainer.ranks.world} processes"
    reporter.say(
        f"{weight_count(trainer.module):,} weights, {pairs}, {trainer.steps:,} steps of "
        f"{source.batch_size} at most on {session.settings.device}{together}."
    )
    for sentence in trainer.module.about:
        reporter.say(sentence)


def weight_count(module: torch.nn.Module) -> int:
    """Trainable numbers in a module."""
    return sum(parameter.numel() for parameter in module.parameters())
