"""What the command line says of `reference`: the method with its options, and the observation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from sbiwb import references
from sbiwb.contracts import ReferencePart
from sbiwb.document import Document
from sbiwb.errors import ConfigError
from sbiwb.project.observation_choice import choose_observations
from sbiwb.project.observe import NamedObservation
from sbiwb.project.project import Project


def method_of(kind: str, options: Sequence[str]) -> ReferencePart:
    """The method that the command line names, with its options.

    Raises:
        ConfigError: There is no such method or option.
    """
    document = Document(Path(), {}, {})
    for text in options:
        _override(document, text)
    try:
        return references.family.parse({**document.data, "kind": kind})
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            key = ".".join(map(str, problem["loc"])) or kind
            problems.append(f"{key}: {problem['msg']}")
        raise ConfigError(
            "; ".join(problems),
            where=f"--method {kind}",
            todo=f"Options: sbiwb parts references {kind}",
        ) from error
    except ValueError as error:
        raise ConfigError(
            str(error), where=f"--method {kind}", todo="sbiwb parts references says what each does."
        ) from error


def _override(document: Document, text: str) -> None:
    """Sets an option as `--set` does: 1e5 is a number."""
    try:
        document.override([text])
    except ConfigError as error:
        raise ConfigError(
            error.what,
            where=f"--option {text}",
            todo="Write NAME=VALUE, such as --option warmup=2000",
        ) from error


def only_observation(project: Project) -> NamedObservation | None:
    """The YAML's observation; None where it has none.

    Raises:
        ConfigError: It has several.
    """
    sections = project.config.problem.observations
    if len(sections) > 1:
        raise ConfigError(
            f"names {len(sections)} observations",
            where="problem.observations",
            todo=f"Choose one: --observation NAME, of {', '.join(sections)}; or name a file.",
        )
    return next(iter(project.observations), None)


def choose_observation(
    project: Project,
    name: str | None,
    *,
    group_by: str = "",
    columns: Sequence[str] = (),
    context: Sequence[str] = (),
) -> NamedObservation | None:
    """What the command line asks for, as `sample.choose_observations`; None: the YAML's only one.

    Raises:
        ConfigError: None is named, and the YAML has several.
        DataError: There is no such observation, or an option is not NAME=VALUE.
    """
    if name is None:
        return only_observation(project)
    [chosen] = choose_observations(
        project, name, group_by=group_by, columns=columns, context=context
    )
    return chosen
