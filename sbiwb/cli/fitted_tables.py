"""Tables as wide as the terminal: columns that do not fit go into further tables below, each with
the names again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

GAP = 2  # columns between two columns
MIN_NAME = 12  # columns that a name keeps, however little room there is


def fitted_tables(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    names: int = 1,
    header_style: str = "bold",
) -> Iterator[Table]:
    """One table, or as many as the numbers need.

    Args:
        headings: Of all columns.
        rows: Cells, with rich's markup, as many as there are headings.
        width: Columns of the terminal.
        names: How many of the columns, the first ones, are names and stand in every table; a name
            that is too long is folded, never cut.
        header_style: Of the headings.
    """
    widths = [
        max(_width(heading), *(_width(row[column]) for row in rows), 0)
        for column, heading in enumerate(headings)
    ]
    numbers = range(names, len(headings))
    wanted = sum(widths[column] + GAP for column in numbers)
    widest = max((widths[column] + GAP for column in numbers), default=0)
    room = width - max(widest, min(wanted, width // 2))
    widths[:names] = _folded(widths[:names], room - GAP * (names - 1))
    for block in _blocks(widths, numbers, width - sum(widths[:names]) - GAP * names):
        table = Table(box=None, pad_edge=False, header_style=header_style)
        for column in range(names):
            table.add_column(
                headings[column],
                justify="left" if column == 0 else "right",
                overflow="fold",
                width=widths[column],
            )
        for column in block:
            table.add_column(headings[column], justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row[:names], *(row[column] for column in block))
        yield table


def _width(cell: str) -> int:
    return Text.from_markup(cell).cell_len


def _folded(widths: list[int], room: int) -> list[int]:
    """Widths of the names, the widest made narrower until they fit."""
    folded = list(widths)
    while sum(folded) > room and max(folded, default=0) > MIN_NAME:
        folded[folded.index(max(folded))] -= 1
    return folded


def _blocks(widths: Sequence[int], columns: Sequence[int], room: int) -> list[list[int]]:
    """The columns, in order, in pieces that fit beside the names."""
    blocks: list[list[int]] = [[]]
    left = room
    for column in columns:
        if blocks[-1] and widths[column] > left:
            blocks.append([])
            left = room
        blocks[-1].append(column)
        left -= widths[column] + GAP
    return blocks
