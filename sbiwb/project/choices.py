"""What was chosen for a run from its data, and why: the file `choices.json` of the run folder.

A YAML leaves out what it leaves to the data. Once chosen, the sections `model` and `train` are
complete, and every verb finds the same again as long as YAML and pairs are the same.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

from pydantic import ValidationError

from sbiwb.config import RunConfig
from sbiwb.config.model import Model
from sbiwb.errors import ConfigError, CorruptFile
from sbiwb.files import parse_typed, put_json, read_typed, stable_hash
from sbiwb.project.plan import plan_or_none
from sbiwb.project.project import Project, plain_model
from sbiwb.rundir import SPLITS, RunDir
from sbiwb.training.train_options import TrainOptions

REMEDY = "Delete it: `sbiwb train` on the same config chooses the same again."
Plain = dict[str, object]


@dataclass(frozen=True)
class ChosenKey:
    """One key of the YAML that was chosen.

    Args:
        key: Its dotted name.
        value: As it stands in the YAML, in flow style.
        why: Half a line.
    """

    key: str
    value: str
    why: str


@dataclass(frozen=True)
class TrialResult:
    """One candidate in one round of a trial.

    Args:
        input: The input whose network was tried, or the key whose values were.
        candidate: Name of the candidate.
        round: From 1.
        steps: Of its training in this round.
        loss: -log q of the pairs held out, in nats a pair.
        behind: Its loss above the best one's of this round, paired.
        error: Standard error of `behind`.
    """

    input: str
    candidate: str
    round: int
    steps: int
    loss: float
    behind: float
    error: float


@dataclass(frozen=True)
class Choices:
    """All that was chosen for one YAML on one set of pairs.

    Args:
        asked: Hash of what the YAML says and of the pairs; see `asked_hash`.
        model: The section `model`, complete.
        train: The section `train`, complete.
        choices: The keys that were chosen, each with its reason.
        trials: What was tried to choose a network, if anything was.
    """

    asked: str
    model: Plain
    train: Plain
    choices: tuple[ChosenKey, ...]
    trials: tuple[TrialResult, ...] = field(default_factory=tuple)

    def to_text(self) -> str:
        """As text, for other processes."""
        return json.dumps(asdict(self))


def read_choices(run: RunDir) -> Choices | None:
    """The choices of a run, None where there are none.

    Raises:
        CorruptFile: The file cannot be read, or holds sections that no YAML could.
    """
    if not run.choices.is_file():
        return None
    choices = read_typed(Choices, run.choices, todo=REMEDY)
    try:
        Model.model_validate(choices.model)
        TrainOptions.model_validate(choices.train)
    except (ValidationError, ConfigError) as error:
        problem = "holds a section that no YAML could hold"
        raise CorruptFile(problem, where=run.choices, todo=REMEDY) from error
    return choices


def put_choices(run: RunDir, choices: Choices) -> None:
    """Writes the choices into the run folder."""
    put_json(run.choices, asdict(choices))


def from_text(text: str) -> Choices:
    """The choices that another process has made."""
    return parse_typed(Choices, text, where="choices of the first process")


def is_complete(config: RunConfig) -> bool:
    """Whether every key of `model` and `train` is written, so that nothing is left to choose."""
    model = set(Model.model_fields) - {"likelihood"}
    return model <= config.model.model_fields_set and config.train.model_fields_set == set(
        TrainOptions.model_fields
    )


def asked_hash(project: Project) -> str:
    """Hash of what decides a choice: what the YAML says, and the pairs."""
    config = project.config
    try:
        plan = plan_or_none(project.data_run)
    except CorruptFile:
        plan = None
    return stable_hash(
        {
            "effort": config.effort,
            "model": plain_model(config.model, only_given=True),
            "train": config.train.model_dump(mode="json", exclude_unset=True),
            "pairs": {split: getattr(config.simulate, split) for split in SPLITS},
            "data": plan.data_hash if plan else None,
        }
    )


def with_choices(project: Project) -> Project:
    """The project with what was chosen for it before; as it is where nothing was, or where YAML or
    pairs are others now.

    Raises:
        CorruptFile: The choices cannot be read.
    """
    if is_complete(project.config) or not project.run.choices.is_file():
        return project
    choices = read_choices(project.run)
    if choices is None or choices.asked != asked_hash(project):
        return project
    return completed(project, choices)


def completed(project: Project, choices: Choices) -> Project:
    """The project with these choices; its likelihood stays what the YAML says."""
    model, train = Model.model_validate(choices.model), TrainOptions.model_validate(choices.train)
    model = model.model_copy(update={"likelihood": project.config.model.likelihood})
    config = project.config.model_copy(update={"model": model, "train": train})
    return replace(project, config=config)
