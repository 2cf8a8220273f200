"""HTML as text that is safe by construction: whatever is not `Html` is escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from html import escape

VOID = frozenset({"meta", "input", "img", "link", "br"})
CODE = re.compile(
    r"`([^`]+)`|\b((?:problem|simulate|model|train|diagnose|machine)\.[a-z_]+(?:\.[a-z_]+)*)"
)
Attribute = str | int | bool | None


class Html(str):
    """Markup that stands as it is."""


def text(value: object) -> Html:
    """Any value as escaped text; what UTF-8 cannot hold becomes a question mark."""
    return (
        value
        if isinstance(value, Html)
        else Html(escape(str(value).encode("utf-8", "replace").decode()))
    )


def join(parts: Iterable[object]) -> Html:
    """Parts one after the other, None left out."""
    return Html("".join(text(part) for part in parts if part is not None))


def tag(name: str, /, *children: object, **attributes: Attribute) -> Html:
    """One element.

    Args:
        name: Of the element.
        children: Elements, or text, which is escaped; None is left out.
        attributes: `class_` is `class`, `aria_label` is `aria-label`; True has no value, None and False leave it out.

    Example:
        >>> tag("p", "a < b", class_="x")
        '<p class="x">a &lt; b</p>'
    """
    told = "".join(
        _attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items()
    )
    return Html(f"<{name}{told}>" if name in VOID else f"<{name}{told}>{join(children)}</{name}>")


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{text(str(value))}"'


def prose(sentence: str) -> Html:
    """A sentence whose `quoted` parts and config keys are set as code, and whose per cents stay with their numbers."""
    parts, end = [], 0
    sentence = sentence.replace(" %", "\N{NO-BREAK SPACE}%")
    for found in CODE.finditer(sentence):
        parts += [sentence[end : found.start()], tag("code", found[1] or found[2])]
        end = found.end()
    return join([*parts, sentence[end:]])


def folded(
    summary: object, *children: object, open_: bool = False, class_: str | None = None
) -> Html:
    """What the reader may unfold."""
    return tag("details", tag("summary", summary), *children, open_=open_, class_=class_)


def number(value: object, places: int | None = None) -> str:
    """A number for people: a real minus, three digits, or a fixed number of decimals; a dash where there is none.

    Example:
        >>> number(-0.01234), number(200000), number(0.5, 3), number(None)
        ('−0.0123', '200,000', '0.500', '–')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–" if value is None or isinstance(value, float) else str(value)
    if places is not None and (value == 0 or 1e-5 <= abs(value) < 1e9):
        told = f"{value:,.{places}f}"
    elif isinstance(value, int) or (abs(value) >= 1000 and abs(value) < 1e9):
        told = f"{value:,.0f}"
    else:
        told = f"{value:.3g}"
    return re.sub(r"^−(?=[0.]*$)", "", told.replace("-", "−"))


def places(scale: float, digits: int = 3) -> int:
    """Decimals that show `digits` digits of a number of this size, 0 to 6."""
    if not math.isfinite(scale) or scale == 0:
        return digits - 1
    return min(6, max(0, digits - 1 - math.floor(math.log10(abs(scale)))))


def table(
    head: Iterable[object],
    rows: Iterable[Iterable[object]],
    *,
    label: str,
    class_: str | None = None,
    sort: bool = True,
) -> Html:
    """A table in a box of its own that scrolls.

    Args:
        head: Headings: text or `th` elements.
        rows: Cells: text, `td` or `th` elements; the first of each row heads it.
        label: What the table is, for those who hear it.
        class_: Of the table.
        sort: Whether a click on a heading sorts it.
    """
    heading = tag("tr", *(one if _is_cell(one) else tag("th", one, scope="col") for one in head))
    body = join(
        tag("tr", *(_cell(cell, first=i == 0) for i, cell in enumerate(row))) for row in rows
    )
    whole = tag(
        "table",
        tag("thead", heading),
        tag("tbody", body),
        class_=f"{class_ or ''} {'sortable' if sort else ''}".strip() or None,
    )
    return tag("div", whole, class_="scroll", role="region", aria_label=label, tabindex=0)


def _is_cell(one: object) -> bool:
    return isinstance(one, Html) and one.startswith(("<td", "<th"))


def _cell(cell: object, *, first: bool) -> Html:
    if _is_cell(cell):
        return Html(cell)
    return tag("th", cell, scope="row") if first else tag("td", cell)


def numeric(value: object, places: int | None = None, *, told: object = None) -> Html:
    """A cell with a number, sorted by its full value."""
    return tag(
        "td", number(value, places) if told is None else told, class_="n", data_v=exact(value)
    )


def exact(value: object) -> str:
    """A number as the script reads it; empty sorts last."""
    return f"{value:.8g}" if isinstance(value, int | float) and math.isfinite(value) else ""
