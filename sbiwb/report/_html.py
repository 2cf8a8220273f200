"""HTML elements as `markupsafe.Markup`: whatever is not markup already is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable

from markupsafe import Markup, escape

VOID = frozenset({"meta", "input", "img", "link", "br"})
CONFIG_KEY = (
    r"\b(?:problem|simulate|model|train|diagnose|machine)\.[a-z_]+(?:\.[a-z_]+)*"  # train.steps
)
CODE = re.compile(rf"`([^`]+)`|({CONFIG_KEY})")
Attribute = str | int | bool | None


def text(value: object) -> Markup:
    """Any value as escaped text; what UTF-8 cannot hold becomes a question mark."""
    if isinstance(value, Markup):
        return value
    return escape(str(value).encode("utf-8", "replace").decode())


def join(parts: Iterable[object]) -> Markup:
    """Parts one after the other, None left out."""
    return Markup("").join(text(part) for part in parts if part is not None)


def tag(name: str, /, *children: object, **attributes: Attribute) -> Markup:
    """One element.

    Args:
        name: Of the element.
        children: Elements, or text, which is escaped; None is left out.
        attributes: `class_` is `class`, `aria_label` is `aria-label`; True has no value, None and
            False leave it out.

    Example:
        >>> tag("p", "a < b", class_="x")
        Markup('<p class="x">a &lt; b</p>')
    """
    start = Markup(f"<{name}{_attributes(attributes)}>")
    if name in VOID:
        return start
    return start + join(children) + Markup(f"</{name}>")


def _attributes(attributes: dict[str, Attribute]) -> str:
    return "".join(_attribute(key, value) for key, value in attributes.items())


def _attribute(key: str, value: Attribute) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{text(value)}"'


def prose(sentence: str) -> Markup:
    """A sentence with its `quoted` parts and config keys as code, and per cents kept with their
    numbers."""
    parts: list[object] = []
    end = 0
    sentence = sentence.replace(" %", "\N{NO-BREAK SPACE}%")
    for match in CODE.finditer(sentence):
        parts += [sentence[end : match.start()], tag("code", match[1] or match[2])]
        end = match.end()
    return join([*parts, sentence[end:]])


def paragraph(sentence: object, class_: str | None = None) -> Markup:
    """A paragraph of text."""
    return tag("p", sentence, class_=class_)


def note(sentence: object) -> Markup:
    """A paragraph in the smaller type of remarks."""
    return paragraph(sentence, "note")


def folded(
    summary: object, *children: object, open_: bool = False, class_: str | None = None
) -> Markup:
    """What the reader may unfold."""
    return tag("details", tag("summary", summary), *children, open_=open_, class_=class_)


def definitions(
    entries: Iterable[tuple[object, Iterable[object]]], **attributes: Attribute
) -> Markup:
    """A list of terms, each with its descriptions; a term without any is left out."""
    return tag("dl", *(_definition(term, list(said)) for term, said in entries), **attributes)


def _definition(term: object, descriptions: list[object]) -> Markup | None:
    if not descriptions:
        return None
    return join([tag("dt", term), *(tag("dd", description) for description in descriptions)])
