"""Columns as text, as people's programs write them, read where that is unambiguous.

Comma, semicolon, tab or space between columns; decimal commas where columns are not parted by
commas; any line ends; UTF-8, or UTF-16 with its mark; R's row names; a trailing separator; comment
lines (#). What was assumed is noted.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sbiwb.errors import DataError

COMMA, SEMICOLON, TAB, SPACE = ",", ";", "\t", " "
NAMES = {SEMICOLON: "semicolons", TAB: "tabs", SPACE: "spaces"}
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
DECIMAL_POINT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


@dataclass(frozen=True)
class CsvText:
    """The fields of a table.

    Args:
        names: Of the columns.
        rows: Fields below them, each row as long as the names.
        lines: The line of the file that each row is on, as many as rows.
        header: The line of the names.
        notes: Sentences on what was assumed.
    """

    names: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[int, ...] = ()
    header: int = 1
    notes: tuple[str, ...] = ()

    def column(self, place: int) -> list[str]:
        """The fields of one column, without blanks around them."""
        return [row[place].strip() for row in self.rows]


def read_csv(path: Path, data: bytes) -> CsvText:
    """The fields of a file.

    Args:
        path: Its name, whose end says whether columns are parted by tabs; for messages too.
        data: Its content.

    Raises:
        DataError: It is not text, or can be read in several ways.

    Example:
        >>> table = read_csv(Path("a.csv"), b"when;mass\\n1;2,5\\n2;3\\n")
        >>> table.names, table.column(1)
        (('when', 'mass'), ['2.5', '3'])
        >>> table.notes
        ('columns are parted by semicolons', 'a comma is a decimal point')
    """
    text, notes = _decoded(path, data)
    separator = _separator(path, text)
    if separator != COMMA and path.suffix.lower() != ".tsv":
        notes.append(f"columns are parted by {NAMES[separator]}")
    table = _split(path, text, separator)
    table = _without_trailing_separator(table)
    table = _without_row_names(table, separator)
    _check_widths(path, table)
    if separator != COMMA:
        table = _with_decimal_points(path, table)
    _check_names(path, table, text)
    return replace(table, notes=(*notes, *table.notes))


def _decoded(path: Path, data: bytes) -> tuple[str, list[str]]:
    """The text, and what was assumed of its encoding."""
    encoding = MARKS.get(data[:2], "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not {encoding.upper().removesuffix('-SIG')} "
            f"({error.reason} at byte {error.start})",
            where=path,
            todo="Save it as UTF-8.",
        ) from error
    if "\0" in text:
        raise DataError(
            f"holds a zero byte at place {text.index(chr(0))}, which is no text",
            where=path,
            todo="Save it as UTF-8.",
        )
    if encoding == "utf-16":
        return text, ["the text is UTF-16"]
    return text, []


def _separator(path: Path, text: str) -> str:
    """What parts the columns: the only one that splits the names and every other line alike.

    Raises:
        DataError: There are several.
    """
    if path.suffix.lower() == ".tsv":
        return TAB
    possible = [
        separator for separator in (COMMA, SEMICOLON, TAB) if _is_regular(path, text, separator)
    ]
    if len(possible) > 1:
        raise DataError(
            f"can be read with {' or '.join(map(repr, possible))} between the columns",
            where=path,
            todo="Use commas between columns, and decimal points.",
        )
    if possible:
        return possible[0]
    split = [
        separator
        for separator in (COMMA, SEMICOLON, TAB)
        if len(_split(path, text, separator).names) > 1
    ]
    if split:  # some line has another number of fields, and the message will say which
        return split[0]
    if _is_regular(path, text, SPACE):
        return SPACE
    return COMMA


def _is_regular(path: Path, text: str, separator: str) -> bool:
    """Whether all lines have several fields, as many as there are names, or one more or less."""
    table = _split(path, text, separator)
    widths = {len(row) for row in table.rows}
    names = len(table.names)
    if not widths or (names == 1 and separator == COMMA):  # 1,5 may be a number
        return names > 1
    return len(widths) == 1 and max(widths) > 1 and widths <= {names - 1, names, names + 1}


def _split(path: Path, text: str, separator: str) -> CsvText:
    """Fields of every line that is neither empty nor a comment; the first holds the names."""
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=separator, skipinitialspace=True)
    rows, lines = [], []
    try:
        for row in reader:
            if row and not row[0].startswith("#"):
                rows.append(tuple(row))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(
            f"cannot be read as CSV: {error}",
            where=f"{path}:{reader.line_num}",
            todo="Is a quotation mark left open there?",
        ) from error
    if not rows:
        return CsvText()
    names = tuple(name.strip() for name in rows[0])
    return CsvText(names, tuple(rows[1:]), tuple(lines[1:]), lines[0])


def _without_trailing_separator(table: CsvText) -> CsvText:
    """Without a last column that has neither a name nor values, if every row has it."""
    names = table.names
    if len(names) > 1 and not names[-1]:
        names = names[:-1]
    width = len(names)
    if not table.rows or not all(_ends_at(row, width) for row in table.rows):
        return table
    if names == table.names and all(len(row) == width for row in table.rows):
        return table
    rows = tuple(row[:width] for row in table.rows)
    return replace(table, names=names, rows=rows, notes=("an empty last column is left out",))


def _ends_at(row: Sequence[str], width: int) -> bool:
    """Whether a row has this many fields, and an empty one at most besides."""
    return len(row) == width or (len(row) == width + 1 and not row[-1].strip())


def _without_row_names(table: CsvText, separator: str) -> CsvText:
    """Without a first column that has no name, such as R and pandas write, if it names the rows."""
    names = table.names
    if len(names) > 1 and not names[0]:
        names = names[1:]
    elif len(names) == 1 and separator == COMMA:  # 1,5 may be a number
        return table
    width = len(names) + 1
    if not table.rows or any(len(row) != width for row in table.rows):
        return table
    if not _are_row_names([row[0].strip() for row in table.rows]):
        return table
    note = "the first column has no name and is taken for names of the rows"
    rows = tuple(row[1:] for row in table.rows)
    return replace(table, names=names, rows=rows, notes=(*table.notes, note))


def _are_row_names(fields: Sequence[str]) -> bool:
    """Whether these count the rows, from 0 or 1, or are words that all differ."""
    count = len(fields)
    counted = [[str(first + i) for i in range(count)] for first in (0, 1)]
    if count > 1 and list(fields) in counted:
        return True
    return len(set(fields)) == count and not any(map(_is_number, fields))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_widths(path: Path, table: CsvText) -> None:
    for line, row in zip(table.lines, table.rows, strict=True):
        if len(row) != len(table.names):
            raise DataError(
                f"line {line} has {len(row)} values for {len(table.names)} columns",
                where=path,
                todo="Mend that line.",
            )


def _with_decimal_points(path: Path, table: CsvText) -> CsvText:
    """With points for decimal commas.

    Raises:
        DataError: Decimal points stand beside them, or the commas may part thousands.
    """
    fields = [field.strip() for row in table.rows for field in row]
    commas = [field for field in fields if DECIMAL_COMMA.fullmatch(field)]
    if not commas:
        return table
    todo = "Use commas between columns, and decimal points."
    point = next((field for field in fields if DECIMAL_POINT.fullmatch(field)), None)
    if point is not None:
        raise DataError(
            f"holds '{commas[0]}' as well as '{point}': is the comma a decimal one?",
            where=path,
            todo=todo,
        )
    if all(THOUSANDS.fullmatch(field) for field in commas):
        raise DataError(
            f"holds '{commas[0]}': does the comma part thousands, or is it a decimal one?",
            where=path,
            todo=todo,
        )
    rows = tuple(tuple(map(_with_decimal_point, row)) for row in table.rows)
    return replace(table, rows=rows, notes=(*table.notes, "a comma is a decimal point"))


def _with_decimal_point(field: str) -> str:
    if DECIMAL_COMMA.fullmatch(field.strip()):
        return field.replace(",", ".")
    return field


def _check_names(path: Path, table: CsvText, text: str) -> None:
    """Refuses a table without a line of names, a name twice, and a gap in a single column."""
    names = table.names
    if names and all(_is_number(name) for name in names):
        raise DataError(
            "the first line holds numbers, not names of columns",
            where=f"{path}:{table.header}",
            todo="Add a line of column names.",
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"has two columns named '{twice[0]}'",
            where=f"{path}:{table.header}",
            todo="Rename one of them.",
        )
    if len(names) == 1 and table.rows:
        _check_no_gap(path, table, text)


def _check_no_gap(path: Path, table: CsvText, text: str) -> None:
    """An empty line between the rows of a single column may be a missing value."""
    lines = io.StringIO(text, newline=None).read().split("\n")
    for number in range(table.lines[0], table.lines[-1]):
        if not lines[number - 1].strip():
            raise DataError(
                f"column '{table.names[0]}' is empty in line {number}",
                where=path,
                todo="Give the number, or NA where it is missing, or remove the line.",
            )
