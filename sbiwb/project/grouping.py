"""Rows of a table that make one data set: all, or those that agree in the grouping columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.errors import DataError
from sbiwb.store.tables import Table


@dataclass(frozen=True)
class Group:
    """The rows of one data set.

    Args:
        values: Of the grouping columns, as words.
        rows: Their places; None where all rows are one data set.
    """

    values: tuple[str, ...] = ()
    rows: np.ndarray | None = None

    def take(self, column: np.ndarray) -> np.ndarray:
        """These rows of a column."""
        if self.rows is None:
            return column
        return column[self.rows]

    def count(self, table: Table) -> int:
        """How many rows these are."""
        return len(self.take(next(iter(table.arrays.values()))))


def grouped_rows(table: Table, by: Sequence[str]) -> list[Group]:
    """The data sets of a table in order of first appearance; one of all rows without `by`.

    Raises:
        DataError: There is no such column, or these are no columns of a table.
    """
    if not by:
        return [Group()]
    if not table.rows:
        raise DataError(
            "only the rows of a CSV can be grouped",
            where=table.path,
            todo="Give arrays with a first axis of data sets instead.",
        )
    rows: dict[tuple[str, ...], list[int]] = {}
    for row, values in enumerate(zip(*(_words(table[name]) for name in by), strict=True)):
        rows.setdefault(values, []).append(row)
    return [Group(values, np.array(places)) for values, places in rows.items()]


def labels_of(by: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """Names of data sets, such as `subject 3, conflict LC`; empty without grouping columns."""
    labels = []
    for group in groups:
        words = [f"{column} {value}" for column, value in zip(by, group.values, strict=True)]
        labels.append(", ".join(words))
    return labels


def values_by_column(by: Sequence[str], groups: Sequence[Group]) -> dict[str, list[str]]:
    """Values of each grouping column, (N,)."""
    values: dict[str, list[str]] = {}
    for i, column in enumerate(by):
        values[column] = [group.values[i] for group in groups]
    return values


def _words(column: np.ndarray) -> list[str]:
    """Values as words, different ones by different words: 7 of 7.0, but all digits of 1234567.5."""
    return [_word(value) for value in column.tolist()]


def _word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def check_countable(table: Table) -> None:
    """Refuses to count the rows of what has none.

    Raises:
        DataError: The arrays of the file have no common rows.
    """
    lengths = {array.shape[:1] for array in table.arrays.values()}
    if len(lengths) > 1 or () in lengths:
        raise DataError(
            "has arrays of different lengths, whose rows cannot be counted",
            where=table.path,
            todo="Give the number itself instead of `rows`.",
        )


def one_number(name: str, part: np.ndarray, path: Path) -> np.ndarray:
    """The value of a variable that is one number a data set, (1,).

    Raises:
        DataError: It has several.
    """
    if len(np.unique(part)) != 1:
        raise DataError(
            f"'{name}' is one number a data set, but has {part.size} values",
            where=path,
            todo="Part the rows with group_by.",
        )
    return np.ravel(part)[:1]
