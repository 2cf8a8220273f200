"""What follows a training: best weights, metrics, checkpoints, progress and signals, from the trainer's events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from sbiwb.contracts import Reporter, Ticker
from sbiwb.errors import DiskError, Stopped
from sbiwb.files import put_text
from sbiwb.project.checkpoint_facts import FACTS, CheckpointFacts
from sbiwb.project.project import Project
from sbiwb.project.settings import GB
from sbiwb.rundir import RunDir
from sbiwb.steps.fit.assemble import TrainingSession
from sbiwb.steps.fit.tracking import Tracking
from sbiwb.stopping import Flag
from sbiwb.training.checkpoint import checkpoint_path, keep_last, put_checkpoint
from sbiwb.training.events import Finished, RolledBack, Stepped, Stopping, Validated

SHOW_EVERY_S = 0.2
Hook = Callable[[Validated], None]


class TrainingMonitor:
    """Follows a trainer's events: best weights, metrics, checkpoints, progress, signals.

    Args:
        project: Where files go.
        opened: The trainer at its step.
        reporter: Where progress goes.
        tracking: Further places for the numbers; None in a process that writes nothing.
        on_validated: Called after each validation.
        check: Called before a checkpoint is written; raises where this process may train no longer.
    """

    def __init__(
        self,
        project: Project,
        opened: TrainingSession,
        reporter: Reporter,
        tracking: Tracking | None,
        on_validated: Hook | None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.check = check
        self.run, self.every_s, self.trainer = (
            project.run,
            project.config.train.checkpoint_every_s,
            opened.trainer,
        )
        self.about, self.reporter, self.tracking, self.on_validated = (
            _facts(project, opened),
            reporter,
            tracking,
            on_validated,
        )
        losses = self.trainer.progress.losses
        self.metrics = (
            _Metrics(self.run.metrics, losses[-1][0] if losses else 0) if tracking else None
        )
        self.saved_at = self.shown_at = self.began = time.monotonic()
        self.first_step = self.shown_step = self.trainer.progress.step
        self.facts: dict[str, object] = {}
        source = self.trainer.source
        pairs = (
            f"{source.pairs:,} pairs ({opened.settings.regime})" if source.pairs else "fresh pairs"
        )
        together = f" in {self.trainer.ranks.world} processes" * (self.trainer.ranks.world > 1)
        reporter.say(
            f"{count(self.trainer.module):,} weights, {pairs}, {self.trainer.steps:,} steps of {source.batch_size} at most "
            f"on {opened.settings.device}{together}."
        )

        for sentence in self.trainer.module.about:
            reporter.say(sentence)

    def follow(self, flag: Flag) -> Finished:
        """Runs the trainer to its end.

        Raises:
            Stopped: It was asked to stop; its state is saved.
        """
        trainer = self.trainer
        if not trainer.progress.step:
            self._save()
        with self.reporter.task(
            "train", trainer.steps, unit="steps", done=trainer.progress.step
        ) as ticker:
            try:
                for event in trainer.run(stopping=lambda: flag.should_stop):
                    if isinstance(event, Finished):
                        self._show(ticker)
                        if (
                            self.tracking
                        ):  # the shares of an ensemble's members are fitted at the end
                            put_best(self.run, trainer.best, self.about, event.best_step)
                        self._save()
                        return event
                    self._take(event, ticker, flag)
            except Stopped:  # between two steps, while waiting for simulations
                self._save()
                flag.check()
                raise
        raise AssertionError("unreachable")

    def _take(
        self, event: Stepped | Stopping | RolledBack | Validated, ticker: Ticker, flag: Flag
    ) -> None:
        now = time.monotonic()
        if isinstance(event, Stepped) and now - self.shown_at > SHOW_EVERY_S:
            self._show(ticker)
        elif isinstance(event, Validated):
            self._validated(event)
            self._show(ticker)
        elif isinstance(event, RolledBack):
            self.reporter.warn(
                f"the loss was no number again and again: at step {event.step:,} the weights of step {event.to:,} are back, and the "
                f"learning rate is {event.rate_scale:g} of its schedule from here on."
            )
        elif isinstance(event, Stopping):
            self._save()
            self.trainer.ranks.barrier()  # ending while another process still sends would abort that one
            flag.check()
            raise Stopped(
                "stopped together with another process",
                todo="Run the same command again to continue.",
            )
        if now - self.saved_at > self.every_s:
            self._save()

    def _show(self, ticker: Ticker) -> None:
        """Progress, rates and losses on the running line."""
        now, step = time.monotonic(), self.trainer.progress.step
        rate = (
            (step - self.first_step) * self.trainer.source.batch_size / max(1e-9, now - self.began)
        )
        memory = (
            {"memory": f"{torch.cuda.max_memory_allocated() / GB:.1f} GB"}
            if self.trainer.recent.is_cuda
            else {}
        )
        ticker.advance(
            step - self.shown_step,
            **self.facts,
            **{"pairs/s": f"{rate:,.0f}"},
            **memory,
            **self.trainer.source.facts(),
        )
        self.shown_at, self.shown_step = now, step

    def _validated(self, event: Validated) -> None:
        best = self.trainer.progress.best_loss
        self.facts = {
            "loss": f"{event.train_loss:.3f}",
            "validation": f"{event.validation_loss:.3f}",
            "best": f"{best:.3f}",
        }
        self.facts |= {name: f"{value:.3f}" for name, value in event.penalties.items()}
        self.facts |= {"gradient": f"{event.gradient_norm:.2g}"} | (
            {"skipped": event.skipped} if event.skipped else {}
        )
        if event.improved and self.tracking:
            put_best(self.run, self.trainer.best, self.about, event.step)
        if self.metrics and self.tracking:
            self.metrics.write(event)
            told = {
                name: value
                for name, value in asdict(event).items()
                if name not in ("step", "improved", "penalties")
            }
            self.tracking.log(
                event.step, {name: float(value) for name, value in (told | event.penalties).items()}
            )
        if self.on_validated:
            self.on_validated(event)

    def _save(self) -> None:
        """A checkpoint, by the process that writes."""
        if self.check:
            self.check()
        if self.tracking:
            put_checkpoint(
                checkpoint_path(self.run.train, self.trainer.progress.step),
                {FACTS: self.about.plain(), "trainer": self.trainer.state()},
            )
            keep_last(self.run.train)
        self.saved_at = time.monotonic()


def _facts(project: Project, opened: TrainingSession) -> CheckpointFacts:
    return CheckpointFacts(
        config=project.config.model_dump(mode="json"),
        adapter=opened.adapter.state(),
        settings=opened.settings,
        identity=project.model_identity,
        data_hash=project.data_hash,
        model_hash=project.model_hash,
    )


def put_best(
    run: RunDir, weights: dict[str, torch.Tensor], facts: CheckpointFacts, step: int
) -> None:
    put_checkpoint(run.best, {FACTS: facts.plain(), "weights": weights, "step": step})


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class _Metrics:
    """Validations as JSON lines; lines after the last validation that a resumed run knows are dropped, for they come again."""

    def __init__(self, path: Path, step: float) -> None:
        self.path, self.start = path, time.monotonic()
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        put_text(path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step))

    def write(self, event: Validated) -> None:
        facts = {**asdict(event), "seconds": round(time.monotonic() - self.start, 3)}
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")
        except OSError as error:
            raise DiskError.of(error, self.path) from error


def _step_of(line: str) -> float:
    """The step of a line; a line cut by a kill counts as later than everything."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")
