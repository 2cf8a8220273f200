"""From a YAML file to a `RunConfig` and back; every problem with its place."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sbiwb import document
from sbiwb.config.benchmark_document import BenchmarkConfig
from sbiwb.config.model import RunConfig
from sbiwb.document import Document, Place
from sbiwb.errors import ConfigError, ConfigErrors
from sbiwb.families import map_files

M = TypeVar("M", bound=BaseModel)

_PLAIN = {
    "missing": "is required",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be finite",
    "string_type": "must be text",
    "string_unicode": "must be text that UTF-8 can hold",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "too_short": "must not be empty",
    "string_pattern_mismatch": "must be a name of letters, digits and underscores, "
    "beginning with a letter",
}
_SAYS_ALL = {
    "missing",
    "unknown_key",
    "unknown_kind",
    "missing_kind",
    "part",
    "reserved_name",
    "value_error",
    "too_short",
}


def load(path: Path, settings: Sequence[str] = ()) -> RunConfig:
    """Reads a YAML file, applies `--set` overrides, and checks every key.

    Raises:
        ConfigErrors: All problems at once, each with its place and remedy.
    """
    read = document.read(path)
    read.override(list(settings))
    return parse(read)


def load_benchmark(path: Path, settings: Sequence[str] = ()) -> BenchmarkConfig:
    """The same of the YAML of a benchmark."""
    read = document.read(path)
    read.override(list(settings))
    return parse(read, BenchmarkConfig)


def parse(read: Document, model: type[M] = RunConfig) -> M:  # type: ignore[assignment]
    """Checks a document against the model."""
    try:
        return model.model_validate(copy.deepcopy(read.data), context={"folder": read.path.parent})
    except ValidationError as error:
        raise ConfigErrors(_problems(error, read)) from error


def _problems(error: ValidationError, read: Document) -> list[ConfigError]:
    """One problem a place: of a union's alternatives only the one that got furthest is told."""
    problems: dict[Place, ConfigError] = {}
    placed = [
        (_place(detail["loc"], read.data), detail) for detail in error.errors(include_url=False)
    ]
    for place, detail in sorted(placed, key=lambda pair: -len(pair[0])):
        is_deeper = any(len(other) > len(place) and _is_within(other, place) for other in problems)
        if not is_deeper or detail["type"] == "unknown_key":
            problems.setdefault(place, _problem(detail, place, read))
    return sorted(problems.values(), key=lambda problem: _position(problem.where))


def _is_within(place: Place, section: Place) -> bool:
    return place[: len(section)] == section


def _position(where: str) -> tuple[int, int]:
    """Line and column of a `file:line:column`; of another place the beginning."""
    *_, line, column = ["0", "0", *where.rsplit(":", 2)]
    if line.isdigit() and column.isdigit():
        return int(line), int(column)
    return 0, 0


def _place(loc: tuple[str | int, ...], data: object) -> Place:
    """The steps of a pydantic location that exist in the document; the names of union members are
    dropped.
    """
    place: list[str | int] = []
    for position, step in enumerate(loc):
        is_last = position == len(loc) - 1
        if isinstance(data, dict) and step in data:  # noqa: SIM114 (narrowed apart)
            data = data[step]
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        elif not (is_last and isinstance(data, dict) and _may_be_key(step)):
            continue
        place.append(step)
    return tuple(place)


def _may_be_key(step: str | int) -> bool:
    """Whether this is a key that the document lacks, and no name of a union's member."""
    return isinstance(step, str) and step.replace("_", "").isalnum()


def _problem(problem: ErrorDetails, place: Place, read: Document) -> ConfigError:
    kind = problem["type"]
    text = problem["msg"].removeprefix("Value error, ")
    if kind in _PLAIN:
        bounds = {name: _bound(value) for name, value in problem.get("ctx", {}).items()}
        text = _PLAIN[kind].format(**bounds)
    if kind not in _SAYS_ALL and not isinstance(problem["input"], dict | list):
        text += f", not {problem['input']!r}"
    what, _, todo = text.partition("; ")
    return ConfigError(
        f"{'.'.join(map(str, place)) or 'the file'}  {what}",
        where=read.where(place),
        todo=todo or _todo(kind, place),
    )


def _bound(value: object) -> str:
    """A bound as one writes it: 1,000,000 pairs, a rate of 0.05."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _todo(kind: str, place: Place) -> str:
    if kind == "missing":
        return "Add it; `sbiwb schema` lists every key."
    return "Correct the value."


def dump(config: BaseModel, folder: Path | None = None) -> str:
    """The config as YAML, every default written out, but in `model` and `train`: there what a YAML
    leaves out is left to the data, until it is chosen.

    Args:
        config: The whole config.
        folder: What paths of part files are relative to; None: they stay as they are.
    """
    plain = config.model_dump(mode="json")
    if isinstance(config, RunConfig):
        for name in ("model", "train"):
            plain[name] = getattr(config, name).model_dump(mode="json", exclude_unset=True)
    if folder is not None:
        plain = map_files(plain, lambda kind: os.path.relpath(kind, folder.resolve()))
    return yaml.dump(plain, Dumper=document.Dumper, sort_keys=False, allow_unicode=True, width=120)


def schema() -> dict[str, Any]:
    """JSON Schema of the YAML, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **RunConfig.model_json_schema(by_alias=True),
    }
