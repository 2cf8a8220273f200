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
    strata = dict.fromkeys(one.stratum for one in numbers)
    return join(_stratum(numbers, stratum, columns, words) for stratum in strata)


def _stratum(
    numbers: Sequence[Number], stratum: str, columns: Sequence[str], words: Mapping[str, str]
) -> Markup:
    mine = [one for one in numbers if one.stratum == stratum]
    label = f"Values, {stratum}" if stratum else "Values"
    tables = join([_pivot(mine, columns, words, label), _others(mine, columns)])
    return folded(label, tables) if stratum else tables


def _pivot(
    numbers: Sequence[Number], columns: Sequence[str], words: Mapping[str, str], label: str
) -> Markup | None:
    """A row a parameter, a column a measure."""
    mine = [one for one in numbers if one.parameter in columns]
    if not mine:
        return None
    groups = _by_measure(mine)
    filled = {one.parameter for one in mine}
    head = [heading(measure_name(name), words.get(name)) for _, name in groups]
    rows = [_pivot_row(name, groups.values()) for name in columns if name in filled]
    return table(["parameter", *head], rows, label=label)


def _by_measure(numbers: Sequence[Number]) -> dict[Measure, dict[str, Number]]:
    """Numbers by parameter, of each measure."""
    groups: dict[Measure, dict[str, Number]] = {}
    for one in numbers:
        groups.setdefault((one.check, one.name), {})[one.parameter] = one
    return groups


def _pivot_row(parameter: str, groups: Iterable[Mapping[str, Number]]) -> list[object]:
    cells = [value_cell(group.get(parameter), _decimals(group.values())) for group in groups]
    return [parameter, *cells]


def _decimals(numbers: Iterable[Number]) -> int:
    """Decimals that suit the largest value."""
    return places(max((abs(one.value or 0.0) for one in numbers), default=0.0))


def _others(numbers: Sequence[Number], columns: Sequence[str]) -> Markup | None:
    """Values of test quantities, statistics and observations, one a row; and the reasons of values
    that are not there."""
    rows = [_other_row(one) for one in numbers if _stands_apart(one, columns)]
    if not rows:
        return None
    return table(["of", "measure", heading("value"), "in words"], rows, label="Other values")


def _stands_apart(one: Number, columns: Sequence[str]) -> bool:
    return one.parameter not in columns or (one.value is None and bool(one.reason))


def _other_row(one: Number) -> list[object]:
    value = value_cell(one, places(one.value or 0))
    return [one.parameter, measure_name(one.name), value, worded(prose(one.reason))]


def glossary(words: Mapping[str, str]) -> Markup | None:
    """What each measure is, by name."""
    if not words:
        return None
    entries = ((measure_name(name), [prose(said)]) for name, said in words.items())
    return folded("What each measure is", definitions(entries))
