"""Which real data a command means: names of the YAML, or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sbiwb.errors import DataError
from sbiwb.project.observation_options import from_file
from sbiwb.project.observe import NamedObservation
from sbiwb.project.project import Project


def named_observations(project: Project, name: str | None) -> list[NamedObservation]:
    """All observations of the YAML, or the named one.

    Raises:
        DataError: There is no such observation.
    """
    names = list(project.config.problem.observations)
    if name is not None and name not in names:
        raise DataError(
            f"no observation and no file '{name}'",
            where="problem.observations",
            todo=f"There are: {', '.join(names) or '(none)'}; or name a file.",
        )
    return [observation for observation in project.observations if name in (None, observation.name)]


def choose_observations(
    project: Project,
    name: str | None,
    *,
    group_by: str = "",
    columns: Sequence[str] = (),
    context: Sequence[str] = (),
) -> list[NamedObservation]:
    """What the command line asks for.

    Args:
        project: The run.
        name: An observation of the YAML, or a file; None: all observations of the YAML.
        group_by: Of a file: columns whose values part the rows into data sets, with commas.
        columns: Of a file: VARIABLE=COLUMN.
        context: Of a file: NAME=VALUE.

    Raises:
        DataError: There is no such observation, or an option is not NAME=VALUE.
    """
    if name is None or name in project.config.problem.observations or not Path(name).suffix:
        return named_observations(project, name)
    return [from_file(Path(name), group_by=group_by, columns=columns, context=context)]
