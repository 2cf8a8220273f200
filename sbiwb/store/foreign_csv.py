"""CSV and TSV files of simulations, read a few lines at a time."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from sbiwb.errors import DataError, DiskError
from sbiwb.store.foreign_file import Chunk, Foreign, rows_at_once

if TYPE_CHECKING:
    from _csv import Reader

MISSING = {"", "na", "nan", "null", "none"}
FIELD_BYTES = 64  # of a number as text and as an object
DELIMITERS = {".tsv": "\t"}

Line = tuple[int, list[str]]
"""Number of a line, and its fields."""


class Csv(Foreign):
    """Columns of numbers below a line of names; an empty field or NA is a missing value."""

    is_table = True

    def _columns(self) -> list[str]:
        with self._lines() as lines:
            return self._names(lines)

    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        with self._lines() as lines:
            header = self._names(lines)
            if not header:
                return
            places = [header.index(name) for name in names]
            at_once = rows_at_once(FIELD_BYTES * len(header))
            while rows := list(islice(lines, at_once)):
                values = np.array([self._numbers(row, places, len(header)) for row in rows])
                yield dict(zip(names, values.T, strict=True))

    @contextmanager
    def _lines(self) -> Iterator[Iterator[Line]]:
        """The lines that are neither empty nor comments."""
        try:
            with open(self.path, encoding="utf-8-sig", newline="") as file:
                delimiter = DELIMITERS.get(self.path.suffix.lower(), ",")
                yield self._checked(csv.reader(file, delimiter=delimiter, skipinitialspace=True))
        except OSError as error:
            raise DiskError.of(error, self.path) from error

    def _checked(self, reader: Reader) -> Iterator[Line]:
        try:
            for fields in reader:
                if fields and not fields[0].startswith("#"):
                    yield reader.line_num, fields
        except UnicodeDecodeError as error:
            what = f"is not UTF-8 ({error.reason})"
            raise DataError(what, where=self.path, todo="Save it as UTF-8.") from error
        except csv.Error as error:
            where = f"{self.path}:{reader.line_num}"
            raise DataError(f"is no CSV: {error}", where=where, todo="Mend that line.") from error

    def _names(self, lines: Iterator[Line]) -> list[str]:
        """The names of the columns, in the first line."""
        _, fields = next(lines, (0, list[str]()))
        names = [field.strip() for field in fields]
        where = f"{self.path}:1"
        if len(names) == 1 and ";" in names[0]:
            todo = "Use commas between columns, and decimal points."
            raise DataError("the separator seems to be ';'", where=where, todo=todo)
        for name in sorted(set(names)):
            if names.count(name) > 1:
                what = f"has two columns named '{name}'"
                raise DataError(what, where=where, todo="Rename one of them.")
        return names

    def _numbers(self, line: Line, places: Sequence[int], width: int) -> list[float]:
        """The numbers of some columns in one line."""
        number, fields = line
        if len(fields) != width:
            what = f"line {number} has {len(fields)} values for {width} columns"
            raise DataError(what, where=self.path, todo="Mend that line.")
        try:
            return [float(fields[place]) for place in places]
        except ValueError:
            return [self._number(fields[place], number) for place in places]

    def _number(self, text: str, number: int) -> float:
        if text.strip().lower() in MISSING:
            return math.nan
        try:
            return float(text)
        except ValueError:
            _refuse_text(text, f"{self.path}:{number}")


def _refuse_text(text: str, where: str) -> NoReturn:
    todo = "Give a number, or leave the field empty."
    raise DataError(f"'{text}' is no number", where=where, todo=todo)
