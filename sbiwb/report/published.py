"""Published C2ST of the standard benchmark, in tables beside ours: one for each classifier, for
numbers of different classifiers do not compare.

`published.csv` has a mean over ten observations a row, with its source.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from string import ascii_lowercase
from typing import NamedTuple

MLP, FOREST = "mlp", "forest"
CLASSIFIERS = {
    MLP: "the benchmark's perceptron",
    FOREST: "scikit-learn's random forest",
}
SEQUENTIAL = "sequential"
SEQUENTIAL_NOTE = "* sequential: simulates anew for each observation, which it looks at in training"


class PublishedScore(NamedTuple):
    """A row of `published.csv`."""

    task: str
    simulations: int
    classifier: str
    method: str
    kind: str
    c2st: float
    source: str


class Ours(NamedTuple):
    """A C2ST of a benchmark, of one task at one budget; None where it was not computed."""

    task: str
    budget: int
    method: str
    c2st: float | None


@dataclass(frozen=True)
class PublishedTable:
    """Numbers of one classifier, ours first.

    Args:
        title: Of which classifier.
        headings: `task`, `simulations`, our methods, published ones with the letter of their note.
        rows: Cells in the order of the headings.
        notes: The sources, and what a mark means.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


@lru_cache
def published_scores() -> tuple[PublishedScore, ...]:
    """All rows, in the order of the file."""
    text = files("sbiwb.report").joinpath("published.csv").read_text(encoding="utf-8")
    rows = []
    for row in csv.DictReader(text.splitlines()):
        where = (row["task"], int(row["simulations"]), row["classifier"], row["method"])
        rows.append(PublishedScore(*where, row["kind"], float(row["c2st"]), row["source"]))
    return tuple(rows)


def published_c2st(task: str, budget: int, method: str, classifier: str = MLP) -> float | None:
    """One number; None where it was not published."""
    for row in published_scores():
        if row[:4] == (task, budget, classifier, method):
            return row.c2st
    return None


def published_table(ours: Sequence[Ours], classifier: str) -> PublishedTable | None:
    """Our numbers beside those published of the same tasks and budgets; None where there are none.

    Args:
        ours: Scores by this classifier.
        classifier: `mlp` or `forest`.
    """
    places = list(dict.fromkeys((score.task, score.budget) for score in ours))
    rows = [row for row in published_scores() if row.classifier == classifier]
    shown = [row for row in rows if (row.task, row.simulations) in places]
    if not shown:
        return None
    published = {(row.task, row.simulations) for row in shown}
    columns = _our_columns(ours) | _published_columns(shown)
    cells = []
    for place in (place for place in places if place in published):
        numbers = [column.get(place, "–") for column in columns.values()]
        cells.append((place[0], f"{place[1]:,}", *numbers))
    headings = ("task", "simulations", *columns)
    return PublishedTable(_title(classifier), headings, tuple(cells), _notes(shown))


Column = dict[tuple[str, int], str]


def _title(classifier: str) -> str:
    return f"Published C2ST by {CLASSIFIERS[classifier]}"


def _our_columns(ours: Sequence[Ours]) -> dict[str, Column]:
    """By heading; without methods that have no number by this classifier."""
    columns: dict[str, Column] = {}
    for score in ours:
        if score.c2st is not None:
            heading = f"ours: {score.method}"
            columns.setdefault(heading, {})[score.task, score.budget] = f"{score.c2st:.3f}"
    return columns


def _published_columns(shown: Sequence[PublishedScore]) -> dict[str, Column]:
    """By heading, amortized methods first."""
    letters = _letters(shown)
    columns: dict[str, Column] = {}
    for row in sorted(shown, key=lambda row: row.kind == SEQUENTIAL):
        star = "*" * (row.kind == SEQUENTIAL)
        heading = f"{row.method}{star} ({letters[row.source]})"
        columns.setdefault(heading, {})[row.task, row.simulations] = f"{row.c2st:.3f}"
    return columns


def _letters(shown: Sequence[PublishedScore]) -> dict[str, str]:
    """The note of each source."""
    sources = dict.fromkeys(row.source for row in shown)
    return dict(zip(sources, ascii_lowercase, strict=False))


def _notes(shown: Sequence[PublishedScore]) -> tuple[str, ...]:
    notes = [f"({letter}) {source}" for source, letter in _letters(shown).items()]
    if any(row.kind == SEQUENTIAL for row in shown):
        notes.append(SEQUENTIAL_NOTE)
    return tuple(notes)
