"""What `sbiwb tune` searches: `KEY=RANGE` and `KEY=A | B | C` as a space of settings; pure parsing,
no optuna."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sbiwb.config import RunConfig
from sbiwb.config.loading import parse
from sbiwb.document import Document
from sbiwb.errors import ConfigError, ConfigErrors

DIGITS = 3  # of a searched number: 0.00321 is as good as 0.0032114567, and can be read
SECTIONS = ("train.", "model.")
_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"^({_NUMBER})\s*\.\.\s*({_NUMBER})(\s+log)?$")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers where both are."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def text(self) -> str:
        return f"{self.low}..{self.high}" + " log" * self.log

    @property
    def probes(self) -> list[str]:
        """Both ends and one between, as settings: what they may be, all may be."""
        middle = (self.low + self.high) // 2 if self.whole else 0.382 * self.low + 0.618 * self.high
        return [self.setting(value) for value in (self.low, self.high, middle)]

    def setting(self, value: float | str) -> str:
        """A value as it is written in the YAML: a few digits, never outside the range."""
        number = float(value)
        return (
            str(int(number))
            if self.whole
            else repr(min(max(float(f"{number:.{DIGITS}g}"), self.low), self.high))
        )


@dataclass(frozen=True)
class Choice:
    """Values in YAML, one of which is taken."""

    options: tuple[str, ...]

    @property
    def text(self) -> str:
        return " | ".join(self.options)

    @property
    def probes(self) -> list[str]:
        return list(self.options)

    def setting(self, value: float | str) -> str:
        return str(value)


Axis = Range | Choice
Space = Mapping[str, Axis]


def default_space(config: RunConfig) -> Space:
    """What is worth trying on any problem."""
    space: dict[str, Axis] = {
        "train.learning_rate": Range(3e-4, 1e-2, log=True),
        "train.weight_decay": Range(1e-5, 0.3, log=True),
    }
    if config.model.inference.kind == "nsf":
        space["model.inference.transforms"] = Range(3, 8)
    return space


def parse_space(settings: Sequence[str]) -> Space:
    """Reads `--vary` options.

    Args:
        settings: `KEY=a..b`, `KEY=a..b log` or `KEY=A | B`, each.

    Raises:
        ConfigErrors: All that is wrong with them, at once.
    """
    space: dict[str, Axis] = {}
    problems: list[ConfigError] = []
    for setting in settings:
        try:
            key, axis = _parse_one(setting)
        except ConfigError as error:
            problems.append(error)
            continue
        if key in space:
            problems.append(
                ConfigError(
                    f"{key} is varied twice", where=f"--vary {setting}", todo="Give each key once."
                )
            )
        space[key] = axis
    if problems:
        raise ConfigErrors(problems)
    return space


def _parse_one(setting: str) -> tuple[str, Axis]:
    where = f"--vary {setting}"
    key, equals, text = (part.strip() for part in setting.partition("="))
    if not equals or not key or not text:
        raise ConfigError(
            "is not KEY=RANGE or KEY=CHOICES",
            where=where,
            todo="For example --vary 'train.learning_rate=1e-4..1e-2 log'",
        )
    if not key.startswith(SECTIONS):
        raise ConfigError(
            f"{key} cannot vary",
            where=where,
            todo="Only keys of train and model can: the simulations are the same for all trials.",
        )
    if key == "model.theta" or key.startswith("model.theta."):
        todo = "Compare whole runs by their diagnoses instead."
        raise ConfigError(
            "model.theta changes what the loss is a density of: losses could not be compared",
            where=where,
            todo=todo,
        )
    return key, _range(text, where) if ".." in text else _choice(text, where)


def _range(text: str, where: str) -> Range:
    match = _RANGE.match(text)
    if not match:
        raise ConfigError(
            f"'{text}' is no range of numbers", where=where, todo="Write 3..8, or 1e-4..1e-2 log."
        )
    low, high, log = _number(match[1]), _number(match[2]), bool(match[3])
    if low >= high:
        raise ConfigError(
            f"the range goes from {low} down to {high}",
            where=where,
            todo=f"Write {match[2]}..{match[1]}.",
        )
    if log and low <= 0:
        raise ConfigError(
            f"a range from {low} has no logarithm",
            where=where,
            todo="Begin above 0, or leave out log.",
        )
    return Range(low, high, log)


def _number(text: str) -> float:
    plain = text.replace("_", "")
    return int(plain) if plain.lstrip("+-").isdigit() else float(plain)


def _choice(text: str, where: str) -> Choice:
    options = tuple(option.strip() for option in text.split("|"))
    if len(options) < 2:
        raise ConfigError(
            f"'{text}' leaves nothing to choose",
            where=where,
            todo="Write a..b or A | B; a single value goes to --set.",
        )
    if "" in options or len(set(options)) < len(options):
        raise ConfigError(
            "a choice is empty or given twice",
            where=where,
            todo="Write each value once, with | between them.",
        )
    return Choice(options)


def varied(config: RunConfig, settings: Mapping[str, str], folder: Path) -> RunConfig:
    """The config with settings of a trial.

    Args:
        config: As it was loaded.
        settings: Values in YAML by dotted key.
        folder: That paths in the config are relative to.

    Raises:
        ConfigErrors: A key or a value that the config does not allow, with the settings as its
            place.
    """
    read = Document(folder / "config.yaml", config.model_dump(mode="json"))
    words = ", ".join(f"{key}={text}" for key, text in settings.items())
    try:
        read.override([f"{key}={text}" for key, text in settings.items()])
    except ConfigError as error:
        raise ConfigErrors(
            [ConfigError(error.what, where=f"--vary {words}", todo=error.todo)]
        ) from error
    read.places = {(): f"--vary {words}"}  # the rest of the config is known to be right
    return parse(read)


def check_space(config: RunConfig, space: Space, folder: Path) -> None:
    """Tries the ends and the middle of every range and every choice.

    Raises:
        ConfigErrors: The first thing wrong with each key.
    """
    problems = list(_problems(config, space, folder))
    if problems:
        raise ConfigErrors(problems)


def _problems(config: RunConfig, space: Space, folder: Path) -> Iterator[ConfigError]:
    for key, axis in space.items():
        for probe in axis.probes:
            try:
                varied(config, {key: probe}, folder)
            except ConfigErrors as error:
                yield error.problems[0]
                break
