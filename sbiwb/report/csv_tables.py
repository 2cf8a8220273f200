"""Draws and summaries as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from sbiwb.report.summary import Row

MAX_ROWS = 1_000_000
MAX_NUMBERS = 20_000_000  # 400 MB as text

Draws = Mapping[str, np.ndarray]  # (N, S) or (N, S, K) by name
Keys = Mapping[str, Sequence[object]]  # grouping columns, N values each


def csv_text(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV; None is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()


def six_digits(value: object) -> object:
    """A float with six digits; anything else as it is."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value


def flat(draws: Draws) -> dict[str, np.ndarray]:
    """(N, S) columns by name: quantities (N, S, K) as K columns NAME[0], NAME[1], ..."""
    columns: dict[str, np.ndarray] = {}
    for name, values in draws.items():
        if values.ndim == 2:
            columns[name] = values
            continue
        for k in range(values.shape[2]):
            columns[f"{name}[{k}]"] = values[..., k]
    return columns


def too_long_for_csv(draws: Draws) -> str:
    """Why draws are better not written as CSV, in words; empty where they may be."""
    n, s = next(iter(draws.values())).shape[:2]
    numbers = sum(values.size for values in draws.values())
    if n * s <= MAX_ROWS and numbers <= MAX_NUMBERS:
        return ""
    return (
        f"draws.csv is left out: {n:,} data sets of {s:,} draws are {n * s:,} rows with "
        f"{numbers:,} numbers (at most {MAX_ROWS:,} rows and {MAX_NUMBERS:,} numbers); draws.h5 "
        "holds them"
    )


def draws_csv(draws: Draws, *, labels: Sequence[str], keys: Keys | None = None) -> str:
    """Draws as CSV: one row a data set and draw, one column a quantity; every number with all its
    digits.

    Args:
        draws: Parameters and derived quantities by name, (N, S) or (N, S, K).
        labels: Of the N data sets.
        keys: Grouping columns, N values each.
    """
    columns = flat(draws)
    head = ["data_set", *(keys or {}), "draw", *columns]
    return csv_text(head, _draws_rows(columns, labels, keys or {}))


def _draws_rows(columns: Draws, labels: Sequence[str], keys: Keys) -> Iterator[list[object]]:
    for i, label in enumerate(labels):
        place = [label, *(values[i] for values in keys.values())]
        rows = np.stack([values[i].astype(object) for values in columns.values()], axis=1)
        for draw, numbers in enumerate(rows.tolist()):
            yield [*place, draw, *numbers]


def summary_csv(rows: Sequence[Row], *, labels: Sequence[str], keys: Keys | None = None) -> str:
    """The summary as CSV, with the grouping columns; empty where a number is not known.

    Args:
        rows: Of all data sets.
        labels: Of the N data sets.
        keys: Grouping columns, N values each.
    """
    groups = keys or {}
    place = dict(zip(labels, range(len(labels)), strict=True))
    columns = list(dict.fromkeys(name for row in rows for name in row.columns))
    head = ["data_set", *groups, "quantity", *columns]
    return csv_text(head, (_summary_row(row, place[row.data_set], groups, columns) for row in rows))


def _summary_row(row: Row, place: int, keys: Keys, columns: Sequence[str]) -> list[object]:
    group = [values[place] for values in keys.values()]
    numbers = row.columns
    return [row.data_set, *group, row.name, *(six_digits(numbers.get(name)) for name in columns)]
