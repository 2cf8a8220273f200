"""What `train` chooses from the pairs before it begins: inputs, networks and training."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sbiwb.claims import hold
from sbiwb.config.model import Model
from sbiwb.contracts import Reporter
from sbiwb.errors import SbiwbError, TrainingError, from_json
from sbiwb.project.choices import (
    Choices,
    ChosenKey,
    asked_hash,
    completed,
    from_text,
    is_complete,
    put_choices,
    read_choices,
    with_choices,
)
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.records import Pairs
from sbiwb.steps.choose.choose import MAX_PAIRS, Chooser
from sbiwb.training.ranks import ALONE, Ranks
from sbiwb.training.train_options import TrainOptions
from sbiwb.words import counted
from sbiwb.workflow.train_setup import short_trainer

CLAIMED = "trains this run"
HELD_OUT = 0.2  # of the training pairs, in a trial
MAX_HELD_OUT = 2_000
WAIT = ""  # what processes that wait for a choice hear meanwhile


def complete(project: Project, reporter: Reporter, ranks: Ranks = ALONE) -> Project:
    """The project with complete sections `model` and `train`, chosen before or now.

    Args:
        project: Its pairs are simulated.
        reporter: Where progress goes.
        ranks: The processes that train together; the first chooses.

    Raises:
        RunError: Simulations are missing, or another process trains this run.
        ConfigError: A variable of varying length is neither called a set nor a series.
    """
    project = with_choices(project)
    if is_complete(project.config):
        return project
    text = WAIT
    if ranks.is_main:
        text = ranks.broadcast(_answer(project, reporter, ranks))
    while text == WAIT:
        text = ranks.broadcast(WAIT)
    refusal = json.loads(text).get("refusal")
    if refusal:
        raise from_json(refusal)
    return completed(project, from_text(text))


def _answer(project: Project, reporter: Reporter, ranks: Ranks) -> str:
    """The choices as text; or of several processes why there are none, for the others wait."""
    try:
        with hold(project.run.training_claim, CLAIMED, reporter.say):
            choices = _chosen(project, reporter, lambda: _keep_waiting(ranks))
            put_choices(project.run, choices)
    except SbiwbError as error:
        if ranks.world == 1:
            raise
        return json.dumps({"refusal": error.to_json()})
    return choices.to_text()


def _keep_waiting(ranks: Ranks) -> None:
    """A sign of life, for a trial may take longer than processes wait for each other."""
    ranks.broadcast(WAIT)


def _chosen(project: Project, reporter: Reporter, after_each: Callable[[], None]) -> Choices:
    pairs = load_split(project, "train", most=MAX_PAIRS)
    trial = NetworkTrial(project, pairs, after_each)
    chooser = Chooser(project.config, pairs, project.prior.size, trial.losses)
    tried = chooser.trials()
    for name, candidates in tried.items():
        reporter.say(
            f"Trying {counted(len(candidates), 'way')} for {name}: {', '.join(candidates)}."
        )
    choices = chooser.choose(asked_hash(project))
    for result in choices.trials:
        reporter.say(
            f"  {result.candidate}, {result.steps:,} steps: {result.loss:.2f} nats"
            f" ({result.behind:.2f} ± {result.error:.2f} behind)"
        )
    return choices


@dataclass(frozen=True)
class Preview:
    """What would be chosen, nothing tried and nothing written.

    Args:
        project: The project, complete.
        choices: The keys that were chosen, each with its reason; those of before, where they hold.
        trials: What training will try: networks by input, values by key.
    """

    project: Project
    choices: tuple[ChosenKey, ...]
    trials: dict[str, list[str]]


def preview(project: Project, example: Pairs) -> Preview:
    """The project as it would be chosen from a few pairs.

    Raises:
        ConfigError: A variable of varying length is neither called a set nor a series.
    """
    chosen = with_choices(project)
    if is_complete(chosen.config):
        before = None
        if chosen is not project:
            before = read_choices(project.run)
        return Preview(chosen, before.choices if before else (), {})
    chooser = Chooser(project.config, example, project.prior.size)
    choices = chooser.choose()
    return Preview(completed(project, choices), choices.choices, chooser.trials())


class NetworkTrial:
    """Short trainings on a part of the training pairs, judged by the rest of them.

    Args:
        project: Whose pairs they are.
        pairs: Training pairs.
        after_each: Called after each training.
    """

    def __init__(self, project: Project, pairs: Pairs, after_each: Callable[[], None]) -> None:
        held_out = min(MAX_HELD_OUT, max(1, round(HELD_OUT * len(pairs))))
        rows = np.arange(len(pairs))
        self.project, self.after_each = project, after_each
        self.training, self.held_out = pairs.take(rows[held_out:]), pairs.take(rows[:held_out])

    def losses(self, model: Model, train: TrainOptions) -> Sequence[float]:
        """-log q of each pair held out, in nats, after a training; NaN where it failed."""
        config = self.project.config.model_copy(update={"model": model, "train": train})
        candidate = replace(self.project, config=config)
        trainer = short_trainer(candidate, self.training, self.held_out)
        with contextlib.suppress(TrainingError):  # then another network wins
            for _ in trainer.run():
                pass
        self.after_each()
        if not trainer.best:
            return [math.nan]
        losses: list[float] = trainer.validation.losses(trainer.best).tolist()
        return losses
