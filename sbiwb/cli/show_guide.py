"""Chapters of the guide: rendered on a terminal, and as they are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import typer
from rich import box
from rich.markdown import Markdown, MarkdownElement, TableElement
from rich.markup import escape
from rich.table import Table

from sbiwb.cli.console import out
from sbiwb.cli.fitted_tables import EDGE, GAP, column_blocks

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from sbiwb.workflow.guide import Chapter

MAX_WIDTH = 100  # columns: longer lines are hard to read


def contents(chapters: Sequence[Chapter]) -> None:
    """What there is, and what to type."""
    out.print("Short chapters, shown by:\n")
    for chapter in chapters:
        out.print(f"  sbiwb guide [bold]{chapter.topic:12}[/] {escape(chapter.about)}")


def chapter(chapter: Chapter, *, plain: bool) -> None:
    """One chapter; its Markdown as it is where nobody reads it on a terminal."""
    if plain or not out.is_terminal:
        typer.echo(chapter.text, nl=False)
        return
    page = Page(chapter.text, code_theme="ansi_dark", hyperlinks=False)
    out.print(page, width=min(out.width, MAX_WIDTH), soft_wrap=False)


class WholeWordTable(TableElement):
    """A table that breaks no word: columns without room stand in a further table below, after the
    first column again.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self._columns()
        width = options.max_width - EDGE
        widths = [_longest_word(column) for column in columns]
        room = width - widths[0] - GAP
        for number, block in enumerate(column_blocks(widths, range(1, len(columns)), room)):
            if number:
                yield ""
            yield _table([columns[0], *(columns[place] for place in block)], width)

    def _columns(self) -> list[list[Text]]:
        """The cells of each column, its heading first."""
        assert self.header is not None and self.header.row is not None
        columns = [[cell.content] for cell in self.header.row.cells]
        if self.body is not None:
            for row in self.body.rows:
                for column, cell in zip(columns, row.cells, strict=True):
                    column.append(cell.content)
        return columns


class Page(Markdown):
    """Markdown whose tables fit the terminal."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "table_open": WholeWordTable,
    }


def _longest_word(cells: Sequence[Text]) -> int:
    return max((len(word) for cell in cells for word in cell.plain.split()), default=1)


def _table(columns: Sequence[Sequence[Text]], width: int) -> Table:
    table = Table(
        box=box.SIMPLE,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        header_style="bold",
    )
    widths = _widths(columns, width - GAP * (len(columns) - 1))
    for (heading, *_), columns_wide in zip(columns, widths, strict=True):
        table.add_column(heading, width=columns_wide, overflow="fold")
    for cells in list(zip(*columns, strict=True))[1:]:
        table.add_row(*cells)
    return table


def _widths(columns: Sequence[Sequence[Text]], room: int) -> list[int]:
    """Room for the longest words; what is left goes to the columns with most lines a cell."""
    widths = [_longest_word(column) for column in columns]
    wanted = [max(cell.cell_len for cell in column) for column in columns]
    for _ in range(room - sum(widths)):
        lines = [want / width for want, width in zip(wanted, widths, strict=True)]
        tightest = lines.index(max(lines))
        if lines[tightest] <= 1:
            break
        widths[tightest] += 1
    return widths
