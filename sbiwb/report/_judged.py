"""Can I trust it, and what did the data teach? Verdicts, values and pictures of the diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sbiwb.report import _numbers
from sbiwb.report._facts import Facts, todo
from sbiwb.report._html import Html, folded, join, number, prose, tag
from sbiwb.report._numbers import Number
from sbiwb.report._picture import Picture, figure

LARGE = 400_000  # bytes from which a further picture of a check stays in its folder


def trust(facts: Facts) -> Html:
    """Verdicts at a glance, by strata, in pictures and in words."""
    if facts.numbers is None:
        return todo(facts, "Not judged yet", "diagnose")
    numbers, strata = facts.judged, facts.numbers.get("strata") or []
    checks = {
        one.check: _numbers.about(one.check).title
        for one in numbers
        if not one.stratum and one.judged
    }
    mine = [one for one in numbers if not _numbers.about(one.whole).learned]
    values = _numbers.values(
        [one for one in mine if one.p_adjusted is None], facts.columns, _definitions(facts)
    )
    return join(
        [
            tag(
                "p",
                "Each test pair is a simulation whose true parameters are known and that no training saw.",
                class_="lead",
            ),
            _numbers.matrix(numbers, facts.columns, checks, label="Verdicts by check and parameter")
            if checks
            else None,
            _numbers.legend(one for one in numbers if one.check in checks),
            *(
                _stratified(facts, numbers, by, strata)
                for by in dict.fromkeys(str(one.get("by")) for one in strata)
            ),
            *_pictures(facts, learned=False),
            *([tag("h3", "Values by parameter"), values] if values else []),
            tag("h3", "Every verdict"),
            tag(
                "input",
                type="search",
                placeholder="Filter: fail, a parameter, a check",
                aria_label="Filter the verdicts",
                class_="filter",
            ),
            _numbers.verdict_table(numbers),
            _numbers.glossary(_definitions(facts)),
        ]
    )


def _definitions(facts: Facts) -> Mapping[str, str]:
    return {
        str(name): str(told)
        for name, told in ((facts.numbers or {}).get("definitions") or {}).items()
    }


def _stratified(
    facts: Facts, numbers: Sequence[Number], by: str, strata: Sequence[Mapping[str, Any]]
) -> Html | None:
    """Verdicts of one stratification, unfolded where one is bad."""
    sizes = {str(one.get("label")): one.get("n") for one in strata if str(one.get("by")) == by}
    mine = [one for one in numbers if one.stratum in sizes]
    first = _numbers.worst(mine)
    if first is None:
        return None
    rows = {one.check: f"{one.check} ({number(sizes[one.stratum])} pairs)" for one in mine}
    table = _numbers.matrix(mine, facts.columns, rows, label=f"Verdicts by {by}")
    return folded(
        f"By {by}: {_numbers.counts(mine)}", table, open_=first.verdict in ("fail", "warn")
    )


def learned(facts: Facts) -> Html:
    """How much narrower than the prior, and how near the truth."""
    if facts.numbers is None:
        return todo(facts, "Not known yet", "diagnose")
    mine = [one for one in facts.judged if _numbers.about(one.whole).learned]
    if not mine:
        return tag(
            "p",
            "No check of this run asks that: add `zscore_contraction` and `recovery` to diagnose.checks.",
            class_="todo",
        )
    source = facts.numbers.get("prior_var_source")
    return join(
        [
            tag(
                "p",
                "How much narrower the posterior is than the prior, and how well it finds the truth, over the test pairs.",
                class_="lead",
            ),
            _numbers.values(mine, facts.columns, _definitions(facts)),
            tag("p", f"Contraction is against the variance of the {source}.", class_="note")
            if source
            else None,
            *_pictures(facts, learned=True),
        ]
    )


def _pictures(facts: Facts, *, learned: bool) -> list[Html]:
    """A heading and pictures for each check that has them."""
    numbers = facts.judged
    checks = list(dict.fromkeys(one.whole for one in numbers))
    groups: dict[str, list[tuple[int, Picture]]] = {}
    for position, picture in enumerate(facts.pictures):
        groups.setdefault(_owner(picture.name, checks), []).append((position, picture))
    ordered = sorted(
        groups, key=lambda check: checks.index(check) if check in checks else len(checks)
    )
    parts = []
    for check in ordered:
        if _numbers.about(check).learned == learned:
            parts += _gallery(check, [one for one in numbers if one.whole == check], groups[check])
    return parts


def _gallery(
    check: str, numbers: Sequence[Number], pictures: Sequence[tuple[int, Picture]]
) -> list[Html]:
    """What a check found, how to read its picture, and the picture; further ones are folded."""
    what, found, first = _numbers.about(check), _numbers.sentence(numbers), _numbers.worst(numbers)
    alternative = f"{what.title}. {found or what.reading}"
    shown, *more = (
        figure(one, key=f"d{at}", alternative=alternative)
        for at, one in pictures
        if at == pictures[0][0] or len(one.data) < LARGE
    )
    large = [f"{one.name}{one.suffix}" for _, one in pictures[1:] if len(one.data) >= LARGE]
    return [
        tag("h3", what.title),
        *(
            [tag("p", _numbers.mark(first.verdict), " ", prose(found), class_="notice")]
            if first and found
            else []
        ),
        *([tag("p", what.reading, class_="note")] if what.reading else []),
        shown,
        *([folded("More pictures", *more)] if more else []),
        *(
            [
                tag(
                    "p",
                    f"Too large for this page, in diagnose/ of the run: {', '.join(large)}.",
                    class_="note",
                )
            ]
            if large
            else []
        ),
    ]


def _owner(name: str, checks: Sequence[str]) -> str:
    """The check that a picture belongs to: `sbc_ecdf` to `sbc`."""
    mine = [
        check
        for check in checks
        if name == check or (name.startswith(check) and not name[len(check)].isalnum())
    ]
    return max(mine, key=len, default=name)
