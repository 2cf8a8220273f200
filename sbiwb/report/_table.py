"""Tables of the page, and numbers as people read them."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable

from markupsafe import Markup

from sbiwb.report._html import Attribute, tag, text

DASH, MINUS = "–", "−"
FIXED = (1e-5, 1e9)  # sizes between which a number is written without an exponent
MAX_DECIMALS = 6
MANY = 10  # columns from which a table is printed small


def is_finite(value: object) -> bool:
    """Whether it is a number that floats can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def number(value: object, places: int | None = None) -> str:
    """A number for people: a real minus, three digits or a fixed number of decimals, or a dash.

    Example:
        >>> number(-0.01234), number(200000), number(0.5, 3), number(None)
        ('−0.0123', '200,000', '0.500', '–')
    """
    if isinstance(value, int | float) and is_finite(value):
        return _without_minus_zero(_written(value, places).replace("-", MINUS))
    if isinstance(value, str | bool):
        return str(value)
    return DASH


def _written(value: float, places: int | None) -> str:
    size = abs(value)
    if places is not None and (value == 0 or FIXED[0] <= size < FIXED[1]):
        return f"{value:,.{places}f}"
    if isinstance(value, int) or 1000 <= size < FIXED[1]:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _without_minus_zero(written: str) -> str:
    return re.sub(rf"^{MINUS}(?=[0.]*$)", "", written)


def places(scale: float, digits: int = 3) -> int:
    """Decimals that show `digits` digits of a number of this size, 0 to 6."""
    if not is_finite(scale) or scale == 0:
        return digits - 1
    wanted = digits - 1 - math.floor(math.log10(abs(scale)))
    return min(MAX_DECIMALS, max(0, wanted))


def exact(value: object) -> str:
    """A number as the script reads it; empty sorts last."""
    return f"{value:.8g}" if is_finite(value) else ""


def numeric(value: object, places: int | None = None) -> Markup:
    """A cell with a number, sorted by its full value."""
    return written(number(value, places), value)


def written(words: object, value: object = None, title: str | None = None) -> Markup:
    """A cell that shows these words at the right, sorted by this number."""
    return tag("td", words, class_="n", title=title, data_v=exact(value))


def worded(sentence: object) -> Markup:
    """A cell with a sentence, which may break over lines."""
    return tag("td", sentence, class_="words")


def heading(words: object, title: str | None = None) -> Markup:
    """The heading of a column of numbers."""
    return tag("th", words, scope="col", class_="n", title=title)


def table(
    head: Iterable[object],
    rows: Iterable[Iterable[object]],
    *,
    label: str,
    class_: str = "",
    sort: bool = True,
) -> Markup:
    """A table in a box of its own that scrolls.

    Args:
        head: Headings: text or `th` elements.
        rows: Cells: text, `td` or `th` elements; the first of each row heads it.
        label: What the table is, for those who hear it.
        class_: Of the table.
        sort: Whether a click on a heading sorts it.
    """
    classes, headings = class_.split(), list(head)
    if sort:
        classes.append("sortable")
    if len(headings) > MANY:
        classes.append("many")
    parts = [tag("thead", _head(headings)), tag("tbody", *map(_row, rows))]
    whole = tag("table", *parts, class_=" ".join(classes) or None)
    return tag("div", whole, class_="scroll", role="region", aria_label=label, tabindex=0)


def _head(headings: Iterable[object]) -> Markup:
    return tag("tr", *(_cell(heading, "th", scope="col") for heading in headings))


def _row(cells: Iterable[object]) -> Markup:
    first, *others = cells
    return tag("tr", _cell(first, "th", scope="row"), *(_cell(cell, "td") for cell in others))


def _cell(content: object, name: str, **attributes: Attribute) -> Markup:
    """What is no cell yet, as one."""
    if isinstance(content, Markup) and content.startswith(("<td", "<th")):
        return text(content)
    return tag(name, content, **attributes)
