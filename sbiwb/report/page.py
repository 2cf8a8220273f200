"""The report of a run as one HTML page that needs nothing beside itself: facts in, text out.

The verdict comes first, then what to do about it, then a section a question. The page loads
nothing, and its Content-Security-Policy lets it run its own script alone. Whatever came from files
is escaped, and pictures are images, in which no script runs.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from markupsafe import Markup

from sbiwb.report._fields import Fields
from sbiwb.report._html import definitions, join, paragraph, prose, tag
from sbiwb.report._picture import Picture
from sbiwb.report._table import number
from sbiwb.report.page_checks import SEVERITY, SYMBOL, WORD, mark, notice, verdict_of
from sbiwb.report.page_facts import Facts, Inferred, LikelihoodFacts, when
from sbiwb.report.page_posterior import posterior, trust_notice
from sbiwb.report.page_provenance import provenance
from sbiwb.report.page_trust import learned, trust

__all__ = ["Facts", "Inferred", "LikelihoodFacts", "Picture", "page"]

SECTIONS = {
    "data": ("What does it say about my data?", posterior),
    "trust": ("Can I trust it?", trust),
    "learned": ("What did the data teach?", learned),
    "made": ("How was it made?", provenance),
}
MAX_NAMES = 6


def page(facts: Facts) -> str:
    """The whole page."""
    parts = [_header(facts), _advice(facts), _contents(), *_sections(facts)]
    script = tag("script", Markup(_file("page.js")))
    body = tag("body", tag("main", *parts), script)
    html = tag("html", _head(facts), "\n", body, lang="en")
    return f"<!doctype html>\n{html}\n"


def _sections(facts: Facts) -> list[Markup]:
    sections = []
    for key, (question, answer) in SECTIONS.items():
        sections.append(tag("section", tag("h2", question), answer(facts), id=key))
    return sections


def _contents() -> Markup:
    entries = []
    for key, (question, _) in SECTIONS.items():
        entries.append(tag("li", tag("a", question, href=f"#{key}")))
    return tag("nav", tag("ul", *entries), aria_label="Contents")


def _file(name: str) -> str:
    return files("sbiwb.report").joinpath(name).read_text(encoding="utf-8")


def _head(facts: Facts) -> Markup:
    style = _file("page.css")
    policy = {"http-equiv": "Content-Security-Policy", "content": _policy()}
    viewport = "width=device-width, initial-scale=1"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", **policy),
        tag("meta", name_="viewport", content=viewport),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", f"{facts.name}: {_word(facts).lower()}"),
        tag("style", Markup(style)),
    )


def _policy() -> str:
    """What the browser allows: this style, this script, and images within the page."""
    rules = {
        "default-src": "'none'",
        "style-src": _hash(_file("page.css")),
        "script-src": _hash(_file("page.js")),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _verdict(facts: Facts) -> str:
    return verdict_of(facts.diagnosis.get("verdict"))


def _word(facts: Facts) -> str:
    if not facts.is_judged:
        return "Not judged yet"
    return WORD[_verdict(facts)]


def _header(facts: Facts) -> Markup:
    """The verdict in a line, and of what."""
    verdict = _verdict(facts)
    symbol = tag("span", SYMBOL[verdict], aria_hidden="true")
    word = tag("strong", symbol, " ", _word(facts))
    sentence = tag("span", prose(_verdict_sentence(facts)))
    return tag(
        "header",
        tag("h1", word, " ", sentence, class_=f"verdict {verdict}"),
        _run(facts),
        *map(_observed, facts.inferred),
        *(notice("warn", prose(message)) for message in facts.notices),
    )


def _observed(inferred: Inferred) -> Markup | None:
    """How far the posterior of an observation can be trusted, in a line with a link to it."""
    link = join([tag("a", inferred.name, href="#data"), ": "])
    return trust_notice(inferred, link=link)


def _verdict_sentence(facts: Facts) -> str:
    if facts.is_judged:
        return facts.diagnosis.text("summary")
    return "No check has looked at this posterior."


def _run(facts: Facts) -> Markup:
    """The run, how it was tested and when it was trained."""
    numbers, trained = facts.diagnosis, facts.step("train")
    words = []
    if "n" in numbers and "draws" in numbers:
        pairs, draws = number(numbers.get("n")), number(numbers.get("draws"))
        words.append(f" · {pairs} test pairs, {draws} draws each")
    if trained:
        words.append(f" · trained {when(trained)}")
    return tag("p", tag("b", facts.name), *words, class_="run")


def _advice(facts: Facts) -> Markup | None:
    findings = facts.diagnosis.records("advice")
    if not findings:
        return None
    ordered = sorted(findings, key=_severity, reverse=True)
    advice = tag("ol", *map(_finding, ordered), class_="advice")
    return tag("section", tag("h2", "What to do"), advice, id="advice")


def _severity(finding: Fields) -> int:
    return SEVERITY[verdict_of(finding.get("severity"))]


def _finding(finding: Fields) -> Markup:
    symbol = mark(verdict_of(finding.get("severity")))
    causes = ("Usual cause", map(prose, finding.texts("causes")))
    changes = ("Change", map(prose, finding.texts("todo")))
    return tag(
        "li",
        tag("h3", symbol, " ", prose(finding.text("finding"))),
        _names(finding.texts("where")),
        definitions([causes, changes]),
    )


def _names(where: Sequence[str]) -> Markup | None:
    """The first of the parameters and checks that a finding is about; all where one hovers."""
    if not where:
        return None
    shown, others = ", ".join(where[:MAX_NAMES]), len(where) - MAX_NAMES
    if others <= 0:
        return paragraph(shown, "where")
    return tag("p", f"{shown} and {others} more", class_="where", title=", ".join(where))
