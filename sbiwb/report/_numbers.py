"""The numbers of the diagnosis as tables: verdicts at a glance, every verdict in words, and values by parameter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sbiwb.report._html import Html, exact, folded, join, number, numeric, places, prose, table, tag

SEVERITY = {"info": 0, "pass": 1, "warn": 2, "fail": 3}
SYMBOL = {"info": "·", "pass": "✓", "warn": "!", "fail": "✕"}
WORD = {"info": "Nothing tested", "pass": "Pass", "warn": "Warning", "fail": "Fail"}
STRATUM = " | "
FEW_COLUMNS = 8  # whose headings lie flat


def known(verdict: object) -> str:
    """The verdict, or `info` for what is none."""
    return verdict if isinstance(verdict, str) and verdict in SEVERITY else "info"


@dataclass(frozen=True)
class Check:
    """What the page says of a kind of check.

    Args:
        title: In words.
        reading: How to read its picture.
        learned: Whether it belongs to what the data taught; else to whether to trust the posterior.
    """

    title: str
    reading: str = ""
    learned: bool = False


CHECKS = {
    "sbc": Check(
        "Ranks: simulation-based calibration",
        "Flat histograms, and curves inside the grey, are what an exact posterior shows. Heaped at both ends: too narrow. "
        "Heaped in the middle: too wide. A slope: biased.",
    ),
    "coverage": Check(
        "Coverage of intervals",
        "On the diagonal, intervals hold the truth as often as they say. Below it they are too narrow, above it too wide.",
    ),
    "calibration_error": Check(
        "Calibration error",
        "How far the intervals are from what they say, in the median over levels: 0 is exact.",
    ),
    "tarp": Check(
        "Joint coverage (TARP)",
        "Inside the grey, the posterior is calibrated as a whole and not only parameter by parameter.",
    ),
    "lc2st": Check(
        "Calibration at your data (L-C2ST)",
        "A classifier tries to tell the posterior at one observation from an exact one.",
    ),
    "predictive": Check(
        "Posterior predictive",
        "Whether data simulated from the posterior look like the data they came from.",
    ),
    "prior_predictive": Check(
        "Prior predictive", "Whether the prior simulates data like the observed ones at all."
    ),
    "misspecification": Check(
        "Is your data like the simulations?",
        "Data far outside the cloud are unlike all that the network learned from.",
    ),
    "epistemic": Check(
        "Uncertainty of the network itself",
        "The share of the spread that more training would remove.",
    ),
    "strata": Check(
        "Right for every kind of data?",
        "The worst parameter of each stratum. In the shaded part, what is off is small enough to live with.",
    ),
    "zscore_contraction": Check(
        "z-score and contraction",
        "To the right: the data taught much. Around zero: no bias, within ± 2 for about 95 % of the test pairs.",
        learned=True,
    ),
    "recovery": Check(
        "Recovery",
        "Along the line, the data determine the parameter; a flat cloud says that they do not.",
        learned=True,
    ),
    "nrmse": Check(
        "Error against the prior (NRMSE)",
        "0 is certain, 1 is no better than the prior.",
        learned=True,
    ),
    "nlpd": Check(
        "Log-density of the truth (NLPD)",
        "Lower is better; comparable between networks on the same problem.",
        learned=True,
    ),
    "data_budget": Check(
        "Would more simulations help?",
        "Where the curve still falls at its right end, they would.",
        learned=True,
    ),
}
NAMES = {
    "contraction_variance_median": "contraction",
    "contraction_sd_median": "contraction (sd)",
    "z_mean": "z, mean",
    "z_sd": "z, sd",
    "recovery_r": "r",
    "recovery_r2": "R²",
    "recovery_slope": "slope",
    "leaked_share": "outside prior",
    "nrmse_draws": "NRMSE, draws",
    "nrmse_mean": "NRMSE, mean",
    "nlpd": "NLPD",
}


@dataclass(frozen=True)
class Number:
    """One entry of `numbers.json`."""

    check: str
    name: str
    parameter: str
    value: float | None
    effect: float | None
    interval: tuple[float, float] | None
    p_adjusted: float | None
    verdict: str
    reason: str

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Number:
        interval = entry.get("effect_interval") or None
        return cls(
            check=str(entry.get("check", "")),
            name=str(entry.get("name", "")),
            parameter=str(entry.get("parameter", "")),
            value=entry.get("value"),
            effect=entry.get("effect"),
            interval=(interval[0], interval[1]) if interval else None,
            p_adjusted=entry.get("p_adjusted"),
            verdict=known(entry.get("verdict")),
            reason=str(entry.get("reason") or ""),
        )

    @property
    def judged(self) -> bool:
        """Whether it was tested, or warns by a rule."""
        return self.verdict != "info"

    @property
    def whole(self) -> str:
        """The check without its stratum."""
        return self.check.partition(STRATUM)[0]

    @property
    def stratum(self) -> str:
        return self.check.partition(STRATUM)[2]


def about(check: str) -> Check:
    """What is known of a check by its name, numbered or of a stratum: `sbc_2`, `sbc | n_trials 10 to 50`."""
    whole = check.partition(STRATUM)[0]
    kind = re.sub(r"_\d+$", "", whole)
    found = CHECKS.get(kind, Check(kind.replace("_", " ").capitalize()))
    return (
        found
        if kind == whole
        else Check(f"{found.title} ({whole.rpartition('_')[2]})", found.reading, found.learned)
    )


def mark(verdict: str) -> Html:
    """Symbol of a verdict in its colour; the word is beside it or in the title of the cell."""
    return tag("span", SYMBOL[verdict], class_=f"mark {verdict}", aria_hidden="true")


def worst(numbers: Iterable[Number]) -> Number | None:
    """The number of the worst verdict and the largest effect."""
    return max(numbers, key=lambda one: (SEVERITY[one.verdict], one.effect or 0), default=None)


def counts(numbers: Sequence[Number]) -> str:
    """For example `2 fail, 1 warn, 7 pass`."""
    found = {
        verdict: sum(one.verdict == verdict for one in numbers)
        for verdict in ("fail", "warn", "pass")
    }
    return ", ".join(f"{count} {verdict}" for verdict, count in found.items() if count)


def sentence(numbers: Sequence[Number]) -> str:
    """The numbers of a check in words: how many pass, and the worst of those that do not; empty where none is judged."""
    judged = [one for one in numbers if one.judged]
    first = worst(judged)
    if first is None:
        return ""
    where = f"{first.parameter} ({first.stratum})" if first.stratum else first.parameter
    return counts(judged) + (
        f"; {where}: {first.reason}" if first.reason and first.verdict != "pass" else ""
    )


def matrix(
    numbers: Sequence[Number], columns: Sequence[str], rows: Mapping[str, str], *, label: str
) -> Html:
    """Verdicts by check and parameter; what is judged beside the parameters shares the first column, in view however many follow.

    Args:
        numbers: All of them.
        columns: Columns of theta.
        rows: Label of each check shown.
        label: Of the table.
    """
    cells: dict[tuple[str, str], list[Number]] = {}
    for one in numbers:
        cells.setdefault((one.check, one.parameter if one.parameter in columns else ""), []).append(
            one
        )
    others = any((check, "") in cells for check in rows)
    keys = [
        *([""] if others else []),
        *(name for name in columns if any((check, name) in cells for check in rows)),
    ]
    head = [
        tag("th", "check", scope="col"),
        *(tag("th", tag("span", key or "other"), scope="col") for key in keys),
    ]
    body = [
        [name, *(_verdict_cell(key, cells.get((check, key), [])) for key in keys)]
        for check, name in rows.items()
    ]
    return table(
        head,
        body,
        label=label,
        class_="matrix" if len(keys) <= FEW_COLUMNS else "matrix many",
        sort=False,
    )


def _verdict_cell(parameter: str, numbers: Sequence[Number]) -> Html:
    first = worst(numbers)
    if first is None:
        return tag("td")
    said = f"{parameter or first.parameter}: {first.verdict}" + (
        f", {first.reason}" if first.reason else ""
    )
    return tag("td", mark(first.verdict), tag("span", first.verdict, class_="heard"), title=said)


def legend(numbers: Iterable[Number]) -> Html:
    """What the symbols of the matrix mean, of those that occur."""
    words = {
        "pass": "pass: not told apart from an exact posterior",
        "warn": "warning: off, but little; or something to know",
        "fail": "fail: off by more than tolerated",
        "info": "shown, not judged",
    }
    cells: dict[tuple[str, str], str] = {}
    for one in numbers:
        cells[one.check, one.parameter] = max(
            one.verdict, cells.get((one.check, one.parameter), "info"), key=SEVERITY.__getitem__
        )
    return tag(
        "p",
        *(
            tag("span", mark(verdict), " ", said)
            for verdict, said in words.items()
            if verdict in cells.values()
        ),
        class_="legend",
    )


def verdict_table(numbers: Sequence[Number]) -> Html:
    """Every judged number in words, the worst first."""
    judged = sorted(
        (one for one in numbers if one.judged),
        key=lambda one: (-SEVERITY[one.verdict], -(one.effect or 0)),
    )
    head = [
        "verdict",
        "parameter",
        "check",
        *map(_right, ("value", "effect", "its 95 % interval", "p, adjusted")),
        "in words",
    ]
    return table(head, map(_verdict_row, judged), label="Every verdict", class_="verdicts")


def _verdict_row(one: Number) -> list[Html | str]:
    interval = f"{one.interval[0]:.3f} to {one.interval[1]:.3f}" if one.interval else "–"
    p = (
        "–"
        if one.p_adjusted is None
        else "< 0.001"
        if one.p_adjusted < 0.001
        else f"{one.p_adjusted:.3f}"
    )
    return [
        tag("th", mark(one.verdict), " ", one.verdict, scope="row", data_v=-SEVERITY[one.verdict]),
        one.parameter,
        one.check if one.name.startswith(one.whole) else f"{one.check}: {called(one.name)}",
        tag("td", number(one.value), class_="n", data_v=exact(one.value), title=called(one.name)),
        numeric(one.effect, 3),
        tag("td", interval, class_="n"),
        numeric(one.p_adjusted, told=p),
        tag("td", prose(one.reason), class_="words"),
    ]


def called(name: str) -> str:
    """Name of a measure for people."""
    hold = re.fullmatch(r"coverage_(\d+)", name)
    return f"{hold[1]} % hold" if hold else NAMES.get(name, name.replace("_", " "))


def _right(heading: str, title: str | None = None) -> Html:
    return tag("th", heading, scope="col", class_="n", title=title)


def values(
    numbers: Sequence[Number], columns: Sequence[str], definitions: Mapping[str, str]
) -> Html:
    """Values by parameter and measure, and below them those that belong to no parameter; those of strata are folded."""
    parts = []
    for stratum in dict.fromkeys(one.stratum for one in numbers):
        mine = [one for one in numbers if one.stratum == stratum]
        name = f"Values, {stratum}" if stratum else "Values"
        tables = join(
            [
                _pivot(
                    [one for one in mine if one.parameter in columns], columns, definitions, name
                ),
                _rest(mine, columns),
            ]
        )
        parts.append(folded(name, tables) if stratum else tables)
    return join(parts)


def _pivot(
    numbers: Sequence[Number], columns: Sequence[str], definitions: Mapping[str, str], label: str
) -> Html | None:
    if not numbers:
        return None
    measures = list(dict.fromkeys((one.check, one.name) for one in numbers))
    found = {(one.parameter, one.check, one.name): one for one in numbers}
    largest = {
        key: max(
            (abs(one.value) for one in numbers if (one.check, one.name) == key and one.value),
            default=0.0,
        )
        for key in measures
    }
    head = ["parameter", *(_right(called(name), definitions.get(name)) for _, name in measures)]
    rows = [
        [name, *(_value_cell(found.get((name, *key)), places(largest[key])) for key in measures)]
        for name in columns
        if any((name, *key) in found for key in measures)
    ]
    return table(head, rows, label=label)


def _value_cell(one: Number | None, decimals: int) -> Html:
    if one is None:
        return tag("td")
    if one.verdict not in ("warn", "fail"):
        return numeric(one.value, decimals)
    said = [
        mark(one.verdict),
        tag("span", f"{one.verdict} ", class_="heard"),
        " ",
        number(one.value, decimals),
    ]
    return tag("td", *said, class_="n", title=one.reason, data_v=exact(one.value))


def _rest(numbers: Sequence[Number], columns: Sequence[str]) -> Html | None:
    """Values of test quantities, statistics and observations, one a row; and the reasons of values that are not there."""
    mine = [
        one for one in numbers if one.parameter not in columns or (one.value is None and one.reason)
    ]
    if not mine:
        return None
    head = ["of", "measure", _right("value"), "in words"]
    rows = [
        [
            one.parameter,
            called(one.name),
            _value_cell(one, places(one.value or 0)),
            tag("td", prose(one.reason), class_="words"),
        ]
        for one in mine
    ]
    return table(head, rows, label="Other values")


def glossary(definitions: Mapping[str, str]) -> Html | None:
    """What each measure is, by name."""
    if not definitions:
        return None
    entries = (
        join([tag("dt", called(name)), tag("dd", prose(told))])
        for name, told in definitions.items()
    )
    return folded("What each measure is", tag("dl", *entries))
