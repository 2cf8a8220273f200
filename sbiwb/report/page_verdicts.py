"""Verdicts as tables: at a glance by check and parameter, and every one in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sbiwb.report._html import prose, tag
from sbiwb.report._table import DASH, exact, heading, number, numeric, table, worded, written
from sbiwb.report.page_checks import NETWORK, SEVERITY, Number, mark, measure_name, worst

MAX_FLAT_HEADINGS = 8  # whose headings lie flat
SMALLEST_P = 0.001
LEGEND = {
    "pass": "pass: not told apart from an exact posterior",
    "warn": "warning: off, but little; or something to know",
    "fail": "fail: off by more than tolerated",
    "info": "shown, not judged",
}


@dataclass(frozen=True)
class _Cells:
    """Numbers by check and column; those that belong to no column of theta are under ''."""

    numbers: Mapping[tuple[str, str], list[Number]]

    @classmethod
    def of(cls, numbers: Iterable[Number], columns: Sequence[str]) -> _Cells:
        cells: dict[tuple[str, str], list[Number]] = {}
        for entry in numbers:
            column = ""
            if entry.parameter in columns:
                column = entry.parameter
            cells.setdefault((entry.check, column), []).append(entry)
        return cls(cells)

    def used(self, columns: Iterable[str], checks: Collection[str]) -> list[str]:
        """Columns that one of the checks has numbers for."""
        shown = set()
        for check, column in self.numbers:
            if check in checks:
                shown.add(column)
        return list(filter(shown.__contains__, columns))

    def of_row(self, check: str, columns: Iterable[str]) -> list[Markup]:
        cells = []
        for column in columns:
            cells.append(_verdict_cell(column, self.numbers.get((check, column), [])))
        return cells


def matrix(
    numbers: Sequence[Number], columns: Sequence[str], rows: Mapping[str, str], *, label: str
) -> Markup:
    """Verdicts by check and parameter; what is judged beside the parameters shares the first
    column, in view however many follow.

    Args:
        numbers: All of them.
        columns: Columns of theta.
        rows: Label of each check shown.
        label: Of the table.
    """
    cells = _Cells.of(numbers, columns)
    shown = cells.used(["", *columns], rows)
    head = ["check", *map(_matrix_heading, shown)]
    body = [[name, *cells.of_row(check, shown)] for check, name in rows.items()]
    class_ = "matrix"
    if len(shown) > MAX_FLAT_HEADINGS:
        class_ = "matrix many"
    return table(head, body, label=label, class_=class_, sort=False)


def _matrix_heading(column: str) -> Markup:
    return tag("th", tag("span", column or "other"), scope="col")


def _verdict_cell(parameter: str, numbers: Sequence[Number]) -> Markup:
    first = worst(numbers)
    if first is None:
        return tag("td")
    words = [f"{parameter or first.parameter}: {first.verdict}", first.reason]
    title = ", ".join(filter(None, words))
    return tag("td", mark(first.verdict), tag("span", first.verdict, class_="heard"), title=title)


def legend(numbers: Iterable[Number]) -> Markup:
    """What the symbols of the matrix mean, of those that occur."""
    cells: dict[tuple[str, str], list[Number]] = {}
    for entry in numbers:
        cells.setdefault((entry.check, entry.parameter), []).append(entry)
    shown = {max(group, key=lambda entry: entry.rank).verdict for group in cells.values()}
    entries = []
    for verdict, meaning in LEGEND.items():
        if verdict in shown:
            entries.append(tag("span", mark(verdict), " ", meaning))
    return tag("p", *entries, class_="legend")


def verdict_table(numbers: Sequence[Number]) -> Markup:
    """Every judged number in words, the worst first."""
    judged = filter(lambda entry: entry.is_judged, numbers)
    ordered = sorted(judged, key=lambda entry: entry.rank, reverse=True)
    measured = map(heading, ("value", "effect", "its 95 % interval", "p, adjusted"))
    head = ["verdict", "parameter", "check", *measured, "in words"]
    return table(head, map(_verdict_row, ordered), label="Every verdict", class_="verdicts")


def _verdict_row(entry: Number) -> list[object]:
    order = -SEVERITY[entry.verdict]
    return [
        tag("th", mark(entry.verdict), " ", entry.verdict, scope="row", data_v=order),
        entry.parameter,
        _check_name(entry),
        written(number(entry.value), entry.value, title=measure_name(entry.name)),
        numeric(entry.effect, 3),
        written(_interval_words(entry)),
        written(_p_words(entry.p_adjusted), entry.p_adjusted),
        worded(prose(entry.reason)),
    ]


def _check_name(entry: Number) -> str:
    """The check, with the measure where its name does not say which check it is of."""
    if entry.name.startswith(entry.whole.rpartition(NETWORK)[2]):
        return entry.check
    return f"{entry.check}: {measure_name(entry.name)}"


def _interval_words(entry: Number) -> str:
    if entry.interval is None:
        return DASH
    low, high = entry.interval
    return f"{low:.3f} to {high:.3f}"


def _p_words(p: float | None) -> str:
    if p is None:
        return DASH
    if p < SMALLEST_P:
        return f"< {SMALLEST_P}"
    return f"{p:.3f}"


def value_cell(one: Number | None, decimals: int) -> Markup:
    """A value with the mark of its verdict where that is not good."""
    if one is None:
        return tag("td")
    if not one.is_bad:
        return numeric(one.value, decimals)
    heard = tag("span", f"{one.verdict} ", class_="heard")
    words = [mark(one.verdict), heard, " ", number(one.value, decimals)]
    return tag("td", *words, class_="n", title=one.reason, data_v=exact(one.value))
