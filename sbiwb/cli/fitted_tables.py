"""Tables as wide as the terminal: columns that do not fit go into further tables below, each with
the names again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rich.table import Table
from rich.text import Text

GAP = 2  # columns between two columns
EDGE = 2  # columns that rich before 15 counts for the padding of the edges, though it leaves it out
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
    width -= EDGE
    columns = [[heading, *cells] for heading, *cells in zip(headings, *rows, strict=True)]
    widths = [max(map(_width, column)) for column in columns]
    numbers = range(names, len(columns))
    widths[:names] = _folded(widths[:names], width - _room_for_numbers(widths[names:], width))
    room = width - sum(widths[:names]) - GAP * names
    for block in column_blocks(widths, numbers, room):
        yield _table(columns[:names], widths, [columns[number] for number in block], header_style)


def _table(
    names: Sequence[Sequence[str]],
    widths: Sequence[int],
    numbers: Sequence[Sequence[str]],
    header_style: str,
) -> Table:
    """A table of columns, each a heading and its cells; names are folded to their width."""
    table = Table(box=None, pad_edge=False, header_style=header_style)
    for place, (heading, *_) in enumerate(names):
        justify: Literal["left", "right"] = "left" if place == 0 else "right"
        table.add_column(heading, justify=justify, overflow="fold", width=widths[place])
    for heading, *_ in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    for cells in list(zip(*names, *numbers, strict=True))[1:]:
        table.add_row(*cells)
    return table


def _room_for_numbers(widths: Sequence[int], width: int) -> int:
    """Columns that names leave to the numbers: half of all, where they need so much."""
    wanted = [number + GAP for number in widths]
    return max(*wanted, min(sum(wanted), width // 2), 0)


def _width(cell: str) -> int:
    return Text.from_markup(cell).cell_len


def _folded(widths: list[int], room: int) -> list[int]:
    """Widths of the names, the widest made narrower until they fit."""
    folded = list(widths)
    while sum(folded) > room and max(folded, default=0) > MIN_NAME:
        folded[folded.index(max(folded))] -= 1
    return folded


def column_blocks(widths: Sequence[int], columns: Sequence[int], room: int) -> list[list[int]]:
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
