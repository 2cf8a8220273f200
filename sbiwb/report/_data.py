"""What does it say about my data? The posterior of each observation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sbiwb.report import _numbers
from sbiwb.report._facts import Facts, Inferred, todo
from sbiwb.report._html import Html, folded, join, number, numeric, places, prose, table, tag
from sbiwb.report._picture import Picture, figure

LONG = 40  # characters of a cell that may break
OWN_SCALE = ("contraction", "mcse_mean")  # columns whose decimals are not those of the sd
SHOWN_FIRST = ("forest", "predictive", "pairs", "epistemic")
PICTURES = {
    "forest": "Each line is one data set: median, 50 % and 95 % intervals.",
    "predictive": "The data, and what the posterior simulates: data that lie outside were not explained.",
    "pairs": "The posterior, parameter by parameter and in pairs, against the prior.",
    "epistemic": "How much of the posterior's variance comes from not knowing the network: more simulations would take it away.",
}


def data(facts: Facts) -> Html:
    """Each observation: warnings, summary and pictures."""
    if not facts.inferred:
        return todo(
            facts,
            "No data inferred yet",
            "sample",
            *([] if facts.problem.get("observations") else ["data.csv"]),
        )
    return join(_observation(facts, one, f"o{at}") for at, one in enumerate(facts.inferred))


def _observation(facts: Facts, one: Inferred, key: str) -> Html:
    rows = one.summary.get("rows") or []
    many = len({str(row.get("data_set")) for row in rows})
    draws = facts.provenance.get(f"sample {one.name}", {}).get("draws")
    said = [
        f"{number(many)} data sets" if many > 1 else None,
        f"{number(draws)} draws" + " each" * (many > 1) if draws else None,
    ]
    summary, pictures = _summary(facts, rows, many=many > 1), _shown(one, key)
    return join(
        [
            tag("h3", one.name),
            tag("p", ", ".join(part for part in said if part), class_="note"),
            *(
                tag("p", _numbers.mark("warn"), " ", prose(str(warning)), class_="notice")
                for warning in one.summary.get("warnings") or []
            ),
            *((pictures, summary) if many > 1 else (summary, pictures)),
            *_further(one.summary),
        ]
    )


def _shown(one: Inferred, key: str) -> Html:
    ordered = sorted(one.pictures, key=_order)
    words = [PICTURES.get(picture.name, picture.name.replace("_", " ")) for picture in ordered]
    return join(
        figure(picture, key=f"{key}-{at}", alternative=f"{one.name}: {said}", caption=said)
        for at, (picture, said) in enumerate(zip(ordered, words, strict=True))
    )


def _order(picture: Picture) -> int:
    return SHOWN_FIRST.index(picture.name) if picture.name in SHOWN_FIRST else len(SHOWN_FIRST)


def _summary(facts: Facts, rows: Sequence[Mapping[str, Any]], *, many: bool) -> Html:
    """The summary of draws, each row with decimals by its own sd."""
    flat = [
        {
            **{k: v for k, v in row.items() if isinstance(v, int | float | None)},
            **(row.get("quantiles") or {}),
        }
        for row in rows
    ]
    keys = list(dict.fromkeys(key for row in flat for key in row))
    head = [
        *(["data set"] if many else []),
        "quantity",
        *(tag("th", _column(key), scope="col", class_="n") for key in keys),
    ]
    body = [
        [
            *([str(row.get("data_set"))] if many else []),
            facts.label(str(row.get("name"))),
            *(
                numeric(one.get(key), None if key in OWN_SCALE else places(one.get("sd") or 0))
                for key in keys
            ),
        ]
        for row, one in zip(rows, flat, strict=True)
    ]
    return table(head, body, label="Posterior summary")


def _column(key: str) -> str:
    """`q2.5` as `2.5 %`, `hdi_3%` as `HDI 3 %`."""
    quantile = re.fullmatch(r"q([\d.]+)", key)
    words = (
        f"{quantile[1]}%"
        if quantile
        else key.replace("_", " ").replace("hdi", "HDI").replace("mcse", "MCSE")
    )
    return words.replace("%", "\N{NO-BREAK SPACE}%")


def _further(summary: Mapping[str, Any]) -> list[Html]:
    """Whatever else the summary lists, such as how unlike the simulations the data are, a table each."""
    parts = []
    for key, entries in summary.items():
        if (
            key != "rows"
            and isinstance(entries, list)
            and entries
            and all(isinstance(one, dict) for one in entries)
        ):
            columns = list(dict.fromkeys(name for one in entries for name in one))
            rows = [[_entry(one.get(name)) for name in columns] for one in entries]
            parts.append(
                folded(
                    key.replace("_", " ").capitalize(),
                    table([name.replace("_", " ") for name in columns], rows, label=key),
                )
            )
    return parts


def _entry(value: object) -> Html:
    return (
        numeric(value)
        if isinstance(value, int | float | None)
        else tag("td", prose(str(value)), class_="words" if len(str(value)) > LONG else None)
    )
