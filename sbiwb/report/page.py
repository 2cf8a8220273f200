"""The report of a run as one HTML page that needs nothing beside itself: facts in, text out.

The verdict comes first, then what to do about it, then a section a question. The page loads nothing, and its Content-Security-Policy
lets it run its own script alone. Whatever came from files is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from sbiwb.report import _numbers
from sbiwb.report._data import data
from sbiwb.report._facts import Facts, Inferred, when
from sbiwb.report._html import Html, join, number, prose, tag
from sbiwb.report._judged import learned, trust
from sbiwb.report._made import made
from sbiwb.report._numbers import SYMBOL, WORD
from sbiwb.report._picture import Picture

__all__ = ["Facts", "Inferred", "Picture", "page"]

QUESTIONS = {
    "trust": "Can I trust it?",
    "learned": "What did the data teach?",
    "data": "What does it say about my data?",
    "made": "How was it made?",
}
FEW_NAMES = 6


def page(facts: Facts) -> str:
    """The whole page."""
    sections = {
        "trust": trust(facts),
        "learned": learned(facts),
        "data": data(facts),
        "made": made(facts),
    }
    parts = [
        tag("section", tag("h2", QUESTIONS[key]), content, id=key)
        for key, content in sections.items()
    ]
    contents = tag(
        "nav",
        tag(
            "ul", *(tag("li", tag("a", words, href=f"#{key}")) for key, words in QUESTIONS.items())
        ),
        aria_label="Contents",
    )
    body = tag(
        "body",
        tag("main", _header(facts), _advice(facts), contents, *parts),
        tag("script", Html(_file("page.js"))),
    )
    return "<!doctype html>\n" + tag("html", _head(facts), "\n", body, lang="en") + "\n"


def _file(name: str) -> str:
    return files("sbiwb.report").joinpath(name).read_text(encoding="utf-8")


def _head(facts: Facts) -> Html:
    style, script = _file("page.css"), _file("page.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", **{"http-equiv": "Content-Security-Policy"}, content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", f"{facts.name}: {_word(facts).lower()}"),
        tag("style", Html(style)),
    )


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _word(facts: Facts) -> str:
    return WORD[_numbers.known(facts.numbers.get("verdict"))] if facts.numbers else "Not judged yet"


def _header(facts: Facts) -> Html:
    """The verdict in a line, and of what."""
    numbers = facts.numbers or {}
    verdict = _numbers.known(numbers.get("verdict"))
    summary = numbers.get("summary") or (
        "" if numbers else "No check has looked at this posterior."
    )
    word = tag("strong", tag("span", SYMBOL[verdict], aria_hidden="true"), " ", _word(facts))
    trained = facts.provenance.get("train", {})
    tested = (
        f"{number(numbers['n'])} test pairs, {number(numbers['draws'])} draws each"
        if {"n", "draws"} <= set(numbers)
        else None
    )
    said = [facts.name, tested, f"trained {when(trained)}" if trained else None]
    return tag(
        "header",
        tag("h1", word, " ", tag("span", prose(str(summary))), class_=f"verdict {verdict}"),
        tag("p", tag("b", said[0]), *(f" · {one}" for one in said[1:] if one), class_="run"),
        *(
            tag("p", _numbers.mark("warn"), " ", prose(one), class_="notice")
            for one in facts.notices
        ),
    )


def _advice(facts: Facts) -> Html | None:
    found = (facts.numbers or {}).get("advice") or []
    if not found:
        return None
    ordered = sorted(found, key=lambda one: -_numbers.SEVERITY[_numbers.known(one.get("severity"))])
    return tag(
        "section",
        tag("h2", "What to do"),
        tag("ol", *map(_finding, ordered), class_="advice"),
        id="advice",
    )


def _finding(one: Mapping[str, Any]) -> Html:
    severity = _numbers.known(one.get("severity"))
    entries = [("Usual cause", one.get("causes")), ("Change", one.get("todo"))]
    return tag(
        "li",
        tag("h3", _numbers.mark(severity), " ", prose(str(one.get("finding", "")))),
        _names(one.get("where") or []),
        tag(
            "dl",
            *(
                join([tag("dt", name), *(tag("dd", prose(str(said))) for said in told)])
                for name, told in entries
                if told
            ),
        ),
    )


def _names(where: Sequence[str]) -> Html | None:
    if not where:
        return None
    more = f" and {len(where) - FEW_NAMES} more" if len(where) > FEW_NAMES else ""
    return tag(
        "p",
        ", ".join(map(str, where[:FEW_NAMES])),
        more,
        class_="where",
        title=", ".join(map(str, where)) if more else None,
    )
