"""What does it say about my data? The posterior of each observation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from sbiwb.report._fields import Fields
from sbiwb.report._html import folded, join, note, prose, tag
from sbiwb.report._picture import Picture, figure
from sbiwb.report._table import heading, is_finite, number, numeric, places, table, worded
from sbiwb.report.page_checks import SEVERITY, notice, verdict_of
from sbiwb.report.page_facts import Facts, Inferred, todo

LONG = 40  # characters of a cell that may break
MAX_PICTURES = 12  # of one observation
OWN_SCALE = ("contraction", "mcse_mean")  # columns whose decimals are not those of the sd
SHOWN_ELSEWHERE = ("rows", "trust")
WORST_FIRST = ("fail", "warn", "pass")
CONFORMAL = (
    "Conformal intervals hold the truth in nine of ten data sets that the simulator makes, "
    "whatever the network is worth."
)
CAPTIONS = {
    "forest": "Each line is one data set: median, 50 % and 95 % intervals; of a parameter with "
    "levels, the probability of each.",
    "levels": "Probability of each level: posterior in colour, prior in grey.",
    "predictive": "The data, and what the posterior simulates: data that lie outside were not "
    "explained.",
    "pairs": "The posterior, parameter by parameter and in pairs, against the prior.",
    "epistemic": "How much of the posterior's variance comes from not knowing the network: more "
    "simulations would take it away.",
}


def posterior(facts: Facts) -> Markup:
    """Each observation: warnings, summary and pictures."""
    if facts.inferred:
        return join(_observation(facts, inferred) for inferred in facts.inferred)
    if facts.problem.fields("observations"):
        return todo(facts, "No data inferred yet", "sample")
    return todo(facts, "No data inferred yet", "sample", "data.csv")


def _observation(facts: Facts, inferred: Inferred) -> Markup:
    summary, pictures = _summary(facts, inferred), _pictures(inferred)
    parts = [tag("h3", inferred.name), note(_counts(facts, inferred)), trust_notice(inferred)]
    for warning in inferred.warnings:
        parts.append(notice("warn", prose(warning)))
    if inferred.is_many:
        parts += [pictures, summary]
    else:
        parts += [summary, pictures]
    return join([*parts, *_trusts(inferred), *_further(Fields(inferred.summary))])


def trust_notice(inferred: Inferred, *, link: Markup | None = None) -> Markup | None:
    """How far the posterior of an observation can be trusted, by its worst data set.

    Args:
        inferred: The observation.
        link: What stands before it.
    """
    trusts = sorted(inferred.trust, key=_severity, reverse=True)
    if not trusts:
        return None
    worst = trusts[0]
    verdict = verdict_of(worst.get("verdict"))
    words = f"Trust: {worst.text('verdict')}, {worst.text('reason')}."
    if len(trusts) > 1:
        counts = Counter(one.text("verdict") for one in trusts)
        listed = ", ".join(f"{counts[word]} {word}" for word in WORST_FIRST if counts[word])
        words = f"Trust: of {number(len(trusts))} data sets {listed}."
        if verdict != "pass":
            words += f" Look first at {worst.text('data_set')}: {worst.text('reason')}."
    if worst.text("remedy"):
        words += f" What to do: {worst.text('remedy')}."
    return notice(verdict, join([link, prose(words)]))


def _severity(trust: Fields) -> tuple[int, float]:
    return SEVERITY[verdict_of(trust.get("verdict"))], -(trust.number("p") or 0.0)


def _trusts(inferred: Inferred) -> list[Markup]:
    """What was asked of each data set, and found."""
    rows, is_many = [], inferred.is_many
    for trust in sorted(inferred.trust, key=_severity, reverse=True):
        for part in trust.records("parts"):
            found = [
                part.text("name"),
                numeric(part.number("p")),
                worded(prose(part.text("found"))),
            ]
            rows.append([trust.text("data_set"), *found] if is_many else found)
    if not rows:
        return []
    head = ["asked", "p", "found"]
    if is_many:
        head.insert(0, "data set")
    return [folded("Why so much trust", table(head, rows, label="Trust"), note(CONFORMAL))]


def _counts(facts: Facts, inferred: Inferred) -> str:
    """For example `12 data sets, 4,000 draws each`."""
    draws = facts.step(f"sample {inferred.name}").number("draws")
    words = []
    if inferred.is_many:
        words.append(f"{number(len(inferred.labels))} data sets")
    if draws:
        words.append(f"{number(draws)} draws")
    if draws and inferred.is_many:
        words[-1] += " each"
    return ", ".join(words)


def _pictures(inferred: Inferred) -> Markup:
    ordered = sorted(inferred.pictures, key=_order)
    shown = [_figure(inferred, picture) for picture in ordered[:MAX_PICTURES]]
    others = len(ordered) - len(shown)
    if others > 0:
        shown.append(note(f"{others} more in sample/{inferred.name}/ of the run."))
    return join(shown)


def _figure(inferred: Inferred, picture: Picture) -> Markup:
    caption = _caption(inferred, picture)
    return figure(picture, alternative=f"{inferred.name}: {caption}", caption=caption)


def _order(picture: Picture) -> tuple[int, int]:
    """Pictures of all data sets first, then those of the first data set, the second, ..."""
    kind, data_set = _kind(picture)
    kinds = [*CAPTIONS, kind]  # others last
    return data_set, kinds.index(kind)


def _kind(picture: Picture) -> tuple[str, int]:
    """`pairs` and 2 of `pairs-2`, the pair plot of the second data set; 0 where it is of all."""
    kind, _, count = picture.name.rpartition("-")
    if kind in CAPTIONS and count.isdecimal():
        return kind, int(count)
    return picture.name, 0


def _caption(inferred: Inferred, picture: Picture) -> str:
    kind, data_set = _kind(picture)
    words = CAPTIONS.get(kind) or picture.name.replace("_", " ")
    if 1 <= data_set <= len(inferred.labels):
        return f"{inferred.labels[data_set - 1]}. {words}"
    return words


def _summary(facts: Facts, inferred: Inferred) -> Markup:
    """The summary of draws, each row with decimals by its own sd."""
    keys: dict[str, None] = {}
    for row in inferred.rows:
        keys |= dict.fromkeys(_number_keys(row))
    head = ["quantity", *map(heading, map(_column, keys))]
    if inferred.is_many:
        head.insert(0, "data set")
    rows = []
    for row in inferred.rows:
        cells = [facts.label(row.text("name")), *_cells(row, keys)]
        if inferred.is_many:
            cells.insert(0, row.text("data_set"))
        rows.append(cells)
    return table(head, rows, label="Posterior summary")


def _number_keys(row: Fields) -> list[str]:
    keys = []
    for key in row:
        if row.get(key) is None or is_finite(row.get(key)):
            keys.append(key)
    return keys


def _cells(row: Fields, keys: Iterable[str]) -> list[Markup]:
    decimals = places(row.number("sd") or 0)
    own = dict.fromkeys(OWN_SCALE)
    return [numeric(row.number(key), own.get(key, decimals)) for key in keys]


def _column(key: str) -> str:
    """`q2.5` as `2.5 %`, `hdi_3%` as `HDI 3 %`."""
    quantile = re.fullmatch(r"q([\d.]+)", key)
    if quantile:
        return f"{quantile[1]}\N{NO-BREAK SPACE}%"
    if key.startswith("p("):
        return key
    words = key.replace("_", " ").replace("hdi", "HDI").replace("mcse", "MCSE")
    return words.replace("%", "\N{NO-BREAK SPACE}%")


def _further(summary: Fields) -> list[Markup]:
    """Whatever else the summary lists, such as how unlike the simulations the data are, a table
    each."""
    lists = []
    for key in summary:
        entries = summary.records(key)
        if key not in SHOWN_ELSEWHERE and entries:
            lists.append(_list(key, entries))
    return lists


def _list(key: str, entries: Sequence[Fields]) -> Markup:
    columns: dict[str, None] = {}
    for entry in entries:
        columns |= dict.fromkeys(entry)
    head = [name.replace("_", " ") for name in columns]
    rows = [map(_entry, map(entry.get, columns)) for entry in entries]
    return folded(key.replace("_", " ").capitalize(), table(head, rows, label=key))


def _entry(value: object) -> Markup:
    if value is None or isinstance(value, int | float):
        return numeric(value)
    words = str(value)
    if len(words) > LONG:
        return worded(prose(words))
    return tag("td", prose(words))
