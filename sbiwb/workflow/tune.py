"""The verb `tune`: a search of hyperparameters, by any number of processes that share one journal
and may be killed.

Each trial is a run of its own on the parent's simulations, so a trial whose process died goes on
from its last checkpoint, and the best one can be diagnosed and sampled from as it is.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sbiwb.claims import heartbeat, in_turn
from sbiwb.contracts import Reporter, Ticker
from sbiwb.errors import ConfigErrors, DiskError, Stopped, TrainingError
from sbiwb.extras import imported
from sbiwb.project.project import Project
from sbiwb.rundir import RunDir
from sbiwb.steps.tune.journal import (
    WHOLE,
    Search,
    agreed_space,
    open_study,
    quiet,
)
from sbiwb.steps.tune.search_results import Tuned, put_results
from sbiwb.steps.tune.space import check_space, parse_space, varied
from sbiwb.stopping import raise_on_signal
from sbiwb.training.ranks import ranks_from_environment
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from sbiwb.workflow.train_choices import complete


class _TimeUp(Stopped):
    """The minutes are over; as for every `Stopped`, training saves its state."""


def tune(
    project: Project,
    reporter: Reporter,
    *,
    vary: Sequence[str] = (),
    trials: int = 30,
    minutes: float | None = None,
) -> Tuned:
    """Searches settings with a low validation loss, or goes on searching; other processes may do so
    at the same time.

    Args:
        project: The run to tune; its simulations are made first, if they are missing.
        reporter: Where progress goes.
        vary: `KEY=a..b [log]` or `KEY=A | B` each; nothing means what the search had before, or the
            usual three.
        trials: Of the whole search, those of earlier calls and of other processes included.
        minutes: After which no trial begins, and one under way is left to the next call.

    Raises:
        ConfigErrors: A key that cannot vary, or a value that it cannot have.
        RunError: The folder holds the search of another space or another model.
        Stopped: A signal came; the same call goes on.
    """
    optuna = imported("optuna", extra="tune", where="sbiwb tune")
    asked = parse_space(vary)
    check_space(project.config, asked, project.base)
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    folder = project.run.path / "tune"
    with raise_on_signal(), quiet(optuna), _disk_errors(folder), _alone():
        with in_turn(folder / "simulating"):
            simulate(project, reporter)
            project = complete(project, reporter)
        config = project.config
        study = open_study(optuna, config.name, folder)
        space = agreed_space(study, config, project.model_identity, asked, folder)
        search = Search(optuna, study, space, folder, config.train.seed)
        _Worker(search, project, reporter, deadline).work(trials)
        return put_results(search, reporter)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError.of(error, error.filename or folder) from error


@contextmanager
def _alone() -> Iterator[None]:
    """Under srun or torchrun each process does trials of its own, on the GPU of its number, instead
    of all one training together."""
    ranks = ranks_from_environment()
    hidden = {
        name: os.environ.pop(name)
        for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID")
        if name in os.environ
    }
    if ranks.world > 1 and torch.cuda.is_available():
        torch.cuda.set_device(ranks.local % torch.cuda.device_count())
    try:
        yield
    finally:
        os.environ.update(hidden)


@dataclass
class _Worker:
    """This process's part in a search.

    Args:
        search: Its journal.
        parent: The run to tune.
        reporter: Where progress goes.
        deadline: By the monotonic clock, after which no trial begins.
    """

    search: Search
    parent: Project
    reporter: Reporter
    deadline: float
    part: int = field(default=0, init=False)  # of this training that was reported last

    @property
    def study(self) -> Any:
        return self.search.study

    @property
    def states(self) -> Any:
        return self.search.states

    def work(self, trials: int) -> None:
        """Runs trials until there are enough, or the time is up."""
        ended = self.search.ended()
        with self.reporter.task("tune", trials, unit="trials", done=ended) as ticker:
            while (
                time.monotonic() < self.deadline
                and (trial := self.search.claim(trials)) is not None
            ):
                self._try(trial, ticker)
                before, ended = ended, self.search.ended()
                ticker.advance(ended - before, **self._best_fact())

    def _best_fact(self) -> dict[str, str]:
        losses = [
            trial.value for trial in self.search.trials() if trial.state == self.states.COMPLETE
        ]
        return {"best": f"{min(losses):.3f}"} if losses else {}

    def _try(self, trial: Any, ticker: Ticker) -> None:
        """Trains with the trial's settings and tells the journal how it went."""
        settings = {
            key: self.search.space[key].setting(value) for key, value in trial.params.items()
        }
        run = RunDir(self.search.folder / trial.user_attrs["run"])
        try:
            project = self._trial_project(settings, run)
        except ConfigErrors as error:  # each value is allowed, but not all of them together
            self._fail(trial, str(error), self.states.FAIL)
            return
        self.part = 0
        within = _Within(self.reporter, ticker, run.name)
        try:
            with heartbeat(run.path / "alive"):
                trained = train(
                    project,
                    within,
                    on_validated=lambda event: self._watch(trial, event, within.total),
                )
        except self.search.optuna.TrialPruned:
            self.study.tell(trial, state=self.states.PRUNED, skip_if_finished=True)
        except self.search.optuna.exceptions.UpdateFinishedTrialError:
            return  # this process slept so long that another took the trial over
        except TrainingError as error:
            self._fail(
                trial, error.what, self.states.PRUNED
            )  # for the sampler the worst value, not an unknown one
        except _TimeUp:
            self.search.hand_back(self.study.trials[trial.number])
        except BaseException:
            with contextlib.suppress(OSError):  # what ended the training is the better message
                self.search.hand_back(self.study.trials[trial.number])
            raise
        else:
            self._tell(trial, trained.facts.best_loss)

    def _trial_project(self, settings: Mapping[str, str], run: RunDir) -> Project:
        """The parent with other settings, in its own folder, on the same simulations."""
        base, shards = self.parent.base, str(self.parent.data_run.path.resolve())
        config = varied(self.parent.config, settings, base)
        borrowed = config.simulate.model_copy(update={"from_": shards})
        changes = {"name": f"{config.name}-{run.name}", "simulate": borrowed}
        return Project(config.model_copy(update=changes), run, base)

    def _tell(self, trial: Any, loss: float) -> None:
        finite = math.isfinite(loss)
        state = self.states.COMPLETE if finite else self.states.PRUNED
        self.study.tell(trial, loss if finite else None, state=state, skip_if_finished=True)

    def _fail(self, trial: Any, reason: str, state: Any) -> None:
        self.reporter.warn(f"{trial.user_attrs['run']}: {reason}")
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=state, skip_if_finished=True)

    def _watch(self, trial: Any, event: Any, steps: int) -> None:
        """At each validation: is this trial worth its time, and is there any left?"""
        part = round(WHOLE * event.step / steps)
        if math.isfinite(event.validation_loss) and part > self.part:
            trial.report(event.validation_loss, part)
            self.part = part
        if trial.should_prune():
            raise self.search.optuna.TrialPruned
        if time.monotonic() > self.deadline:
            raise _TimeUp("the minutes are over")


class _Within:
    """A trial's progress, told in the line of the whole search."""

    def __init__(self, reporter: Reporter, ticker: Ticker, name: str) -> None:
        self.reporter, self.ticker, self.name, self.total = reporter, ticker, name, 1

    def say(self, text: str) -> None:
        """Not here: 30 trials would say it 30 times."""

    def warn(self, text: str) -> None:
        self.reporter.warn(f"{self.name}: {text}")

    @contextmanager
    def task(self, name: str, total: int, *, unit: str, done: int = 0) -> Iterator[Ticker]:
        self.total = total
        yield _Facts(self.ticker, self.name, total, done)


class _Facts:
    """A ticker that passes on what is new, with the step it is from."""

    def __init__(self, ticker: Ticker, name: str, total: int, done: int) -> None:
        self.ticker, self.name, self.total, self.done = ticker, name, total, done

    def advance(self, n: int = 1, **facts: object) -> None:
        self.done += n
        if "validation" in facts:
            step = f"{self.done:,}/{self.total:,}"
            self.ticker.advance(
                0, trial=self.name.removeprefix("trial-"), step=step, validation=facts["validation"]
            )
