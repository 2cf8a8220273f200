"""The verb `tune`: a search of hyperparameters, by any number of processes that share one journal
and may be killed.

Each trial is a run of its own on the parent's simulations, so a trial whose process died goes on
from its last checkpoint, and the best one can be diagnosed and sampled from as it is.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from sbiwb.claims import heartbeat, in_turn
from sbiwb.contracts import Reporter, Ticker
from sbiwb.document import Document, Dumper
from sbiwb.errors import ConfigErrors, DiskError, Stopped, TrainingError
from sbiwb.extras import imported
from sbiwb.files import put, put_text
from sbiwb.project.project import Project
from sbiwb.report import to_png
from sbiwb.report.tuning import tuning_picture
from sbiwb.rundir import RunDir
from sbiwb.steps.tune.journal import (
    WHOLE,
    Search,
    agreed_space,
    open_study,
    quiet,
)
from sbiwb.steps.tune.space import Choice, Range, check_space, parse_space, varied
from sbiwb.stopping import raise_on_signal
from sbiwb.training.ranks import ranks_from_environment
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train

ENOUGH_FOR_IMPORTANCE = 20  # trials trained to the end; of fewer it would be noise


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Args:
        run: Its run folder.
        state: `done`, `pruned`, `failed` or `running`.
        loss: Best validation loss in nats per pair; of a pruned trial, the last that was seen.
        settings: What was tried, in YAML by dotted key.
        reason: Why it failed.
    """

    run: Path
    state: str
    loss: float | None
    settings: Mapping[str, str]
    reason: str = ""


@dataclass(frozen=True)
class Tuned:
    """What a search has found so far.

    Args:
        trials: In the order in which they began.
        best: The one with the lowest loss, of those that were trained to the end.
        importance: Share of each setting in what parts good trials from bad; empty while there are
            few.
        lines: The best settings as YAML to paste.
        folder: Holds the trials, best.yaml and history.png.
    """

    trials: tuple[Trial, ...]
    best: Trial | None
    importance: Mapping[str, float]
    lines: str
    folder: Path

    @property
    def ranked(self) -> list[Trial]:
        """Trials that were trained to the end, the best first."""
        return _ranked(self.trials)


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    return sorted(
        (trial for trial in trials if trial.state == "done"), key=lambda trial: trial.loss or 0.0
    )


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
        study = open_study(optuna, project, folder)
        search = Search(optuna, study, project, agreed_space(study, project, asked, folder), folder)
        _Worker(search, project, reporter, deadline).work(trials)
        return _put_results(search, reporter)


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


class _Worker:
    """This process's part in a search."""

    def __init__(
        self, search: Search, project: Project, reporter: Reporter, deadline: float
    ) -> None:
        self.search, self.project, self.reporter, self.deadline = (
            search,
            project,
            reporter,
            deadline,
        )
        self.study, self.states, self.part = search.study, search.states, 0

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
            project = _trial_project(self.project, settings, run)
        except ConfigErrors as error:  # each value is allowed, but not all of them together
            self._fail(trial, str(error), self.states.FAIL)
            return
        self.part = 0  # of this training that was reported last
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


def _trial_project(parent: Project, settings: Mapping[str, str], run: RunDir) -> Project:
    """The parent with other settings, in its own folder, on the same simulations."""
    config = varied(parent.config, settings, parent.base)
    borrowed = config.simulate.model_copy(update={"from_": str(parent.data_run.path.resolve())})
    return Project(
        config.model_copy(update={"name": f"{config.name}-{run.name}", "simulate": borrowed}),
        run,
        parent.base,
    )


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


def _put_results(search: Search, reporter: Reporter) -> Tuned:
    """Gathers what was found, and writes it for people."""
    trials = tuple(_told(search))
    ranked = _ranked(trials)
    best = ranked[0] if ranked else None
    lines = _best_lines(best, len(ranked)) if best else ""
    if best:
        put_text(search.folder / "best.yaml", lines)
    _put_picture(search, trials)
    running = sum(one.state == "running" for one in trials)
    if running:
        reporter.say(
            f"{running} trial{'s' * (running > 1)} still run or wait: the same command goes on "
            "with what is left."
        )
    return Tuned(trials, best, _importance(search), lines, search.folder)


def _told(search: Search) -> Iterator[Trial]:
    """Every trial once: second tries in place of first ones."""
    names = {
        "COMPLETE": "done",
        "PRUNED": "pruned",
        "FAIL": "failed",
        "RUNNING": "running",
        "WAITING": "running",
    }
    last = {
        one.user_attrs.get("run"): one
        for one in search.study.trials
        if one.user_attrs.get("run") and not search.was_handed_back(one)
    }
    for run in sorted(last):
        one = last[run]
        given = one.params or one.system_attrs.get("fixed_params", {})
        settings = {key: search.space[key].setting(value) for key, value in given.items()}
        reason = one.user_attrs.get("reason", "")
        yield Trial(
            search.folder / run,
            "failed" if reason else names[one.state.name],
            one.value,
            settings,
            reason,
        )


def _best_lines(best: Trial, ended: int) -> str:
    """The best settings as YAML, with where they come from."""
    read = Document(Path("best.yaml"), {})
    read.override([f"{key}={text}" for key, text in best.settings.items()])
    head = (
        f"# The best of {ended} trials that were trained to the end: "
        f"validation loss {best.loss:.4f} ({best.run.name}).\n"
    )
    options = " ".join(
        f"--set {shlex.quote(f'{key}={text}')}" for key, text in best.settings.items()
    )
    head += f"# For one command: {options}\n"
    return head + yaml.dump(
        read.data,
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=120,
    )


def _put_picture(search: Search, trials: Sequence[Trial]) -> None:
    """history.png, of all trials with a loss."""
    seen = [
        one for one in trials if one.loss is not None and len(one.settings) == len(search.space)
    ]
    if not seen:
        return
    settings: dict[str, list[float | str]] = {
        key: [
            one.settings[key] if isinstance(axis, Choice) else float(one.settings[key])
            for one in seen
        ]
        for key, axis in search.space.items()
    }
    log = {key for key, axis in search.space.items() if isinstance(axis, Range) and axis.log}
    losses = [one.loss for one in seen if one.loss is not None]
    figure = tuning_picture(
        losses, pruned=[one.state != "done" for one in seen], settings=settings, log=log
    )
    put(search.folder / "history.png", to_png(figure))


def _importance(search: Search) -> dict[str, float]:
    """Share of each setting in what parts the better half of the trials from the rest, largest
    first, by PED-ANOVA.

    The half, for of optuna's usual best tenth there are two or three.

    References:
        Watanabe et al. (2023), PED-ANOVA, https://arxiv.org/abs/2304.10255
    """
    complete = [one for one in search.study.trials if one.state == search.states.COMPLETE]
    if (
        len(complete) < ENOUGH_FOR_IMPORTANCE
        or len(search.space) < 2
        or len({one.value for one in complete}) == 1
    ):
        return {}
    importance = search.optuna.importance
    return importance.get_param_importances(
        search.study, evaluator=importance.PedAnovaImportanceEvaluator(target_quantile=0.5)
    )
