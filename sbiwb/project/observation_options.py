"""Observations as the command line names them: a file, and `NAME=VALUE` for what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sbiwb.config.model import Observation
from sbiwb.errors import DataError
from sbiwb.project.observe import NamedObservation


def from_file(
    path: Path, *, group_by: str, columns: Sequence[str], context: Sequence[str]
) -> NamedObservation:
    """An observation named on the command line.

    Args:
        path: Of the file.
        group_by: Columns whose values part the rows into data sets, with commas.
        columns: VARIABLE=COLUMN.
        context: NAME=NUMBER, NAME=COLUMN or NAME=rows.

    Raises:
        DataError: An option is not NAME=VALUE.
    """
    names = map(str.strip, group_by.split(","))
    section = {
        "file": str(path),
        "group_by": list(filter(None, names)),
        "columns": dict(map(partial(_pair, "--column"), columns)),
        "context": dict(map(_number_or_column, context)),
    }
    return NamedObservation(path.stem, Observation.model_validate(section), Path())


def context_values(context: Sequence[str]) -> dict[str, float]:
    """`NAME=NUMBER` of the command line.

    Raises:
        DataError: One is not that.
    """
    return dict(map(_number, context))


def _number_or_column(option: str) -> tuple[str, float | str]:
    """A context variable: its number, its column, or `rows`."""
    name, text = _pair("--context", option)
    try:
        return name, float(text)
    except ValueError:
        return name, text


def _number(option: str) -> tuple[str, float]:
    name, text = _pair("--context", option)
    try:
        return name, float(text)
    except ValueError as error:
        raise DataError(
            f"'{text}' is no number", where=f"--context {name}", todo="Give a number."
        ) from error


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise DataError(
            "is not NAME=VALUE", where=f"{option} {text}", todo=f"For example {option} x=column"
        )
    return name, value
