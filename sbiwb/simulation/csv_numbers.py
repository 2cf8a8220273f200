"""A table of numbers as the text of a CSV, and back."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

WORDS = {
    **dict.fromkeys(("", "na", "n/a", "nan", "null", "none"), math.nan),
    "true": 1.0,
    "false": 0.0,
}
_INDEXED = re.compile(r"^(.+)\[(\d+)\]$")


class BadOutput(ValueError):
    """Bytes that are not what they should be."""


class NoHeader(BadOutput):
    """A table that begins with numbers: what they are is not told."""


def number(text: str) -> float:
    """A number, NaN for what says in words that there is none, 1 and 0 for TRUE and FALSE.

    Example:
        >>> number("2.5"), number("NA"), number("TRUE")
        (2.5, nan, 1.0)

    Raises:
        ValueError: It is none of these.
    """
    try:
        return float(text)
    except ValueError:
        if text.lower() in WORDS:
            return WORDS[text.lower()]
        raise


def to_csv(values: Mapping[str, object], *, batched: bool) -> bytes:
    """One line of names and one for each row.

    Args:
        values: By name; what is no array, or is the same for all rows, is repeated.
        batched: Whether arrays have rows along their first axis.

    Raises:
        ValueError: A value that a table cannot hold.
    """
    columns: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if batched and isinstance(value, np.ndarray):
            columns |= _columns(name, value)
        else:
            columns |= _columns(name, np.array([value]))
    rows = max(map(len, columns.values()))
    lists = [np.broadcast_to(column, rows).tolist() for column in columns.values()]
    return _text([list(columns), *zip(*lists, strict=True)])


def _text(lines: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _columns(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    if array.ndim == 1:
        return {name: array}
    if array.ndim > 2:
        raise ValueError(f"'{name}' has rows of shape {array.shape[1:]}, which a CSV cannot hold")
    return {f"{name}[{k}]": array[:, k] for k in range(array.shape[1])}


def from_csv(data: bytes) -> dict[str, np.ndarray]:
    """Columns by name, (M,); `name[0]`, `name[1]`, ... as one variable (M, K).

    A column without a name holds the names of rows, as R writes them, and is left out.

    Raises:
        BadOutput: Lines of different length, a name that comes twice, or no numbers at all.
        NoHeader: The first line has no names.
    """
    names, *lines = _lines(data.decode("utf-8-sig"))
    _check_header(names)
    _check_lines(names, lines)
    first = int(names[0] == "")
    table = np.array([list(map(number, line[first:])) for line in lines])
    return _joined(dict(zip(names[first:], table.T, strict=True)))


def _joined(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns `name[0]`, `name[1]`, ... as one variable."""
    parts: dict[str, list[np.ndarray]] = {}
    for name, column in columns.items():
        parts.setdefault(_INDEXED.sub(r"\1", name), []).append(column)
    return {name: _variable(of_one, f"{name}[0]" in columns) for name, of_one in parts.items()}


def _lines(text: str) -> list[list[str]]:
    """Fields of all lines; in a table of one column an empty line between others is a field."""
    lines = [list(map(str.strip, line)) for line in csv.reader(io.StringIO(text.strip()))]
    if len(lines[0]) == 1:
        return [line or [""] for line in lines]
    return list(filter(None, lines))


def _check_header(names: Sequence[str]) -> None:
    if all(map(_is_number, names)):
        raise NoHeader(f"begins with the numbers {', '.join(names)[:60]} and not with names")
    repeated = _repeated(names)
    if repeated:
        raise BadOutput(f"has two columns named '{repeated[0]}'")


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _check_lines(names: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    if not lines:
        raise BadOutput("has a header and no line of numbers")
    for place, line in enumerate(lines, 2):
        if len(line) != len(names):
            raise BadOutput(f"has {len(line)} fields in line {place}, {len(names)} in the first")


def _variable(columns: Sequence[np.ndarray], indexed: bool) -> np.ndarray:
    if indexed:
        return np.stack(columns, axis=-1)
    return columns[0]
