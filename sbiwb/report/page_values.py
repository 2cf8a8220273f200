"""Values of the diagnosis by parameter and measure, and what each measure is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from sbiwb.report._html import definitions, folded, join, prose
from sbiwb.report._table import heading, places, table, worded
from sbiwb.report.page_checks import Number, measure_name
from sbiwb.report.page_verdicts import value_cell

Measure = tuple[str, str]  # check and name


def values(
    numbers: Sequence[Number], columns: Sequence[str], words: Mapping[str, str]
) -> Markup | None:
    """Values by parameter and measure, and below them those that belong to no parameter; those of
    strata are folded; None where there are none.

    Args:
        numbers: What to show.
        columns: Columns of theta.
        words: What each measure is.
    """
    if not numbers:
        return None
    strata: dict[str, list[Number]] = {}
    for number in numbers:
        strata.setdefault(number.stratum, []).append(number)
    return join(_stratum(mine, stratum, columns, words) for stratum, mine in strata.items())


def _stratum(
    numbers: Sequence[Number], stratum: str, columns: Sequence[str], words: Mapping[str, str]
) -> Markup:
    label = "Values"
    if stratum:
        label = f"Values, {stratum}"
    tables = join([_pivot(numbers, columns, words, label), _others(numbers, columns)])
    if not stratum:
        return tables
    return folded(label, tables)


def _pivot(
    numbers: Sequence[Number], columns: Sequence[str], words: Mapping[str, str], label: str
) -> Markup | None:
    """A row a parameter, a column a measure."""
    mine = [number for number in numbers if number.parameter in columns]
    if not mine:
        return None
    groups = _by_measure(mine)
    by_parameter = {number.parameter for number in mine}
    head = [heading(measure_name(name), words.get(name)) for _, name in groups]
    rows = []
    for name in columns:
        if name in by_parameter:
            rows.append(_pivot_row(name, groups.values()))
    return table(["parameter", *head], rows, label=label)


def _by_measure(numbers: Sequence[Number]) -> dict[Measure, dict[str, Number]]:
    """Numbers by parameter, of each measure."""
    groups: dict[Measure, dict[str, Number]] = {}
    for number in numbers:
        groups.setdefault((number.check, number.name), {})[number.parameter] = number
    return groups


def _pivot_row(parameter: str, groups: Iterable[Mapping[str, Number]]) -> list[object]:
    cells: list[object] = [parameter]
    for group in groups:
        cells.append(value_cell(group.get(parameter), _decimals(group.values())))
    return cells


def _decimals(numbers: Iterable[Number]) -> int:
    """Decimals that suit the largest value."""
    return places(max((abs(number.value or 0.0) for number in numbers), default=0.0))


def _others(numbers: Sequence[Number], columns: Sequence[str]) -> Markup | None:
    """Values of test quantities, statistics and observations, one a row; and the reasons of values
    that are not there."""
    rows = []
    for number in numbers:
        if _stands_apart(number, columns):
            rows.append(_other_row(number))
    if not rows:
        return None
    return table(["of", "measure", heading("value"), "in words"], rows, label="Other values")


def _stands_apart(number: Number, columns: Sequence[str]) -> bool:
    return number.parameter not in columns or (number.value is None and bool(number.reason))


def _other_row(number: Number) -> list[object]:
    value = value_cell(number, places(number.value or 0))
    return [number.parameter, measure_name(number.name), value, worded(prose(number.reason))]


def glossary(words: Mapping[str, str]) -> Markup | None:
    """What each measure is, by name."""
    if not words:
        return None
    entries = ((measure_name(name), [prose(said)]) for name, said in words.items())
    return folded("What each measure is", definitions(entries))
