"""The report of a run as one HTML page that needs nothing beside itself: facts in, text out.

The verdict comes first, then what to do about it, then a section a question. The page loads nothing, and its Content-Security-Policy
lets it run its own script alone. Whatever came from files is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from sbiwb.report import _numbers
from sbiwb.report._html import Html, folded, join, number, numeric, places, prose, table, tag
from sbiwb.report._numbers import SYMBOL, WORD, Number
from sbiwb.report._picture import Picture, figure
from sbiwb.words import duration

QUESTIONS = {
    "trust": "Can I trust it?",
    "learned": "What did the data teach?",
    "data": "What does it say about my data?",
    "made": "How was it made?",
}
FEW_NAMES = 6
LONG = 40  # characters of a cell that may break
OWN_SCALE = ("contraction", "mcse_mean")  # columns whose decimals are not those of the sd
LARGE = 400_000  # bytes from which a further picture of a check stays in its folder
WIDE_GAP = 0.2  # nats between training and validation
SHOWN_FIRST = ("forest", "predictive", "pairs")
PICTURES = {
    "forest": "Each line is one data set: median, 50 % and 95 % intervals.",
    "predictive": "The data, and what the posterior simulates: data that lie outside were not explained.",
    "pairs": "The posterior, parameter by parameter and in pairs, against the prior.",
}
FAIR_FAILURES = {"not finite"}  # that the data alone decide
BIASED = "Where a failure is no function of the data alone (a crash, a time limit), the posterior is biased by how likely it was."
STOPPED = {
    "steps": "all steps were done",
    "patience": "validation stopped improving",
    "time": "the time limit was reached",
}


@dataclass(frozen=True)
class Inferred:
    """One observation.

    Args:
        name: Its name in the config.
        summary: Its `summary.json`.
        pictures: Of its posterior.
    """

    name: str
    summary: Mapping[str, Any]
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What the files of a run say; empty where a step is not done.

    Args:
        name: Of the run.
        path: Of its folder, for commands.
        config: Its config.
        yaml: The same, as written.
        splits: Counts by split, as in the manifest.
        failures: Failed simulations by kind.
        provenance: `provenance.json` by step.
        metrics: Validations of the training, a line each.
        loss: Picture of the training.
        numbers: `numbers.json`.
        pictures: Of the diagnosis.
        inferred: The observations.
        notices: Sentences on what does not fit together.
    """

    name: str
    path: str
    config: Mapping[str, Any]
    yaml: str
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    loss: Picture | None = None
    numbers: Mapping[str, Any] | None = None
    pictures: tuple[Picture, ...] = ()
    inferred: tuple[Inferred, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def problem(self) -> Mapping[str, Any]:
        return self.config.get("problem") or {}

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        return self.problem.get("parameters") or {}

    @property
    def judged(self) -> list[Number]:
        return [Number.of(entry) for entry in (self.numbers or {}).get("values", [])]

    @property
    def columns(self) -> list[str]:
        """Columns of theta that were judged, in their order."""
        return list(dict.fromkeys(one.parameter for one in self.judged if one.parameter.partition("[")[0] in self.parameters))

    def label(self, column: str) -> str:
        """A quantity with its unit."""
        unit = self.parameters.get(column.partition("[")[0], {}).get("unit")
        return f"{column} ({unit})" if unit else column


def page(facts: Facts) -> str:
    """The whole page."""
    sections = {"trust": _trust(facts), "learned": _learned(facts), "data": _data(facts), "made": _made(facts)}
    parts = [tag("section", tag("h2", QUESTIONS[key]), content, id=key) for key, content in sections.items()]
    contents = tag(
        "nav", tag("ul", *(tag("li", tag("a", words, href=f"#{key}")) for key, words in QUESTIONS.items())), aria_label="Contents"
    )
    body = tag("body", tag("main", _header(facts), _advice(facts), contents, *parts), tag("script", Html(_file("page.js"))))
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
    return WORD.get(facts.numbers.get("verdict", "info"), WORD["info"]) if facts.numbers else "Not judged yet"


def _header(facts: Facts) -> Html:
    """The verdict in a line, and of what."""
    numbers = facts.numbers or {}
    verdict = _numbers.known(numbers.get("verdict"))
    summary = numbers.get("summary") or ("" if numbers else "No check has looked at this posterior.")
    word = tag("strong", tag("span", SYMBOL[verdict], aria_hidden="true"), " ", _word(facts))
    trained = facts.provenance.get("train", {})
    tested = f"{number(numbers['n'])} test pairs, {number(numbers['draws'])} draws each" if {"n", "draws"} <= set(numbers) else None
    said = [facts.name, tested, f"trained {_when(trained)}" if trained else None]
    return tag(
        "header",
        tag("h1", word, " ", tag("span", prose(str(summary))), class_=f"verdict {verdict}"),
        tag("p", tag("b", said[0]), *(f" · {one}" for one in said[1:] if one), class_="run"),
        *(tag("p", _numbers.mark("warn"), " ", prose(one), class_="notice") for one in facts.notices),
    )


def _todo(facts: Facts, what: str, verb: str, *more: str) -> Html:
    return tag("p", f"{what}: run ", tag("code", " ".join(["sbiwb", verb, facts.path, *more])), ".", class_="todo")


def _when(provenance: Mapping[str, Any]) -> str:
    return str(provenance.get("finished", "")).replace("T", " ")[:16]


# What to do


def _advice(facts: Facts) -> Html | None:
    found = (facts.numbers or {}).get("advice") or []
    if not found:
        return None
    ordered = sorted(found, key=lambda one: -_numbers.SEVERITY[_numbers.known(one.get("severity"))])
    return tag("section", tag("h2", "What to do"), tag("ol", *map(_finding, ordered), class_="advice"), id="advice")


def _finding(one: Mapping[str, Any]) -> Html:
    severity = _numbers.known(one.get("severity"))
    entries = [("Usual cause", one.get("causes")), ("Change", one.get("todo"))]
    return tag(
        "li",
        tag("h3", _numbers.mark(severity), " ", prose(str(one.get("finding", "")))),
        _names(one.get("where") or []),
        tag("dl", *(join([tag("dt", name), *(tag("dd", prose(str(said))) for said in told)]) for name, told in entries if told)),
    )


def _names(where: Sequence[str]) -> Html | None:
    if not where:
        return None
    more = f" and {len(where) - FEW_NAMES} more" if len(where) > FEW_NAMES else ""
    return tag("p", ", ".join(map(str, where[:FEW_NAMES])), more, class_="where", title=", ".join(map(str, where)) if more else None)


# Can I trust it? What did the data teach?


def _trust(facts: Facts) -> Html:
    if facts.numbers is None:
        return _todo(facts, "Not judged yet", "diagnose")
    numbers, strata = facts.judged, facts.numbers.get("strata") or []
    checks = {one.check: _numbers.about(one.check).title for one in numbers if not one.stratum and one.judged}
    mine = [one for one in numbers if not _numbers.about(one.whole).learned]
    values = _numbers.values([one for one in mine if not one.judged], facts.columns, _definitions(facts))
    return join(
        [
            tag("p", "Each test pair is a simulation whose true parameters are known and that no training saw.", class_="lead"),
            _numbers.matrix(numbers, facts.columns, checks, label="Verdicts by check and parameter") if checks else None,
            _numbers.legend(one for one in numbers if one.check in checks),
            *(_stratified(facts, numbers, by, strata) for by in dict.fromkeys(str(one.get("by")) for one in strata)),
            *_pictures(facts, learned=False),
            *([tag("h3", "Values by parameter"), values] if values else []),
            tag("h3", "Every verdict"),
            tag(
                "input", type="search", placeholder="Filter: fail, a parameter, a check", aria_label="Filter the verdicts", class_="filter"
            ),
            _numbers.verdict_table(numbers),
            _numbers.glossary(_definitions(facts)),
        ]
    )


def _definitions(facts: Facts) -> Mapping[str, str]:
    return {str(name): str(told) for name, told in ((facts.numbers or {}).get("definitions") or {}).items()}


def _stratified(facts: Facts, numbers: Sequence[Number], by: str, strata: Sequence[Mapping[str, Any]]) -> Html | None:
    """Verdicts of one stratification, unfolded where one is bad."""
    sizes = {str(one.get("label")): one.get("n") for one in strata if str(one.get("by")) == by}
    mine = [one for one in numbers if one.stratum in sizes]
    first = _numbers.worst(mine)
    if first is None:
        return None
    rows = {one.check: f"{one.check} ({number(sizes[one.stratum])} pairs)" for one in mine}
    table = _numbers.matrix(mine, facts.columns, rows, label=f"Verdicts by {by}")
    return folded(f"By {by}: {_numbers.counts(mine)}", table, open_=first.verdict in ("fail", "warn"))


def _learned(facts: Facts) -> Html:
    if facts.numbers is None:
        return _todo(facts, "Not known yet", "diagnose")
    mine = [one for one in facts.judged if _numbers.about(one.whole).learned]
    if not mine:
        return tag("p", "No check of this run asks that: add `zscore_contraction` and `recovery` to diagnose.checks.", class_="todo")
    source = facts.numbers.get("prior_var_source")
    return join(
        [
            tag(
                "p",
                "How much narrower the posterior is than the prior, and how well it finds the truth, over the test pairs.",
                class_="lead",
            ),
            _numbers.values(mine, facts.columns, _definitions(facts)),
            tag("p", f"Contraction is against the variance of the {source}.", class_="note") if source else None,
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
    ordered = sorted(groups, key=lambda check: checks.index(check) if check in checks else len(checks))
    parts = []
    for check in ordered:
        if _numbers.about(check).learned == learned:
            parts += _gallery(check, [one for one in numbers if one.whole == check], groups[check])
    return parts


def _gallery(check: str, numbers: Sequence[Number], pictures: Sequence[tuple[int, Picture]]) -> list[Html]:
    """What a check found, how to read its picture, and the picture; further ones are folded."""
    what, found, first = _numbers.about(check), _numbers.sentence(numbers), _numbers.worst(numbers)
    alternative = f"{what.title}. {found or what.reading}"
    shown, *more = (
        figure(one, key=f"d{at}", alternative=alternative) for at, one in pictures if at == pictures[0][0] or len(one.data) < LARGE
    )
    large = [f"{one.name}{one.suffix}" for _, one in pictures[1:] if len(one.data) >= LARGE]
    return [
        tag("h3", what.title),
        *([tag("p", _numbers.mark(first.verdict), " ", prose(found), class_="notice")] if first and found else []),
        *([tag("p", what.reading, class_="note")] if what.reading else []),
        shown,
        *([folded("More pictures", *more)] if more else []),
        *([tag("p", f"Too large for this page, in diagnose/ of the run: {', '.join(large)}.", class_="note")] if large else []),
    ]


def _owner(name: str, checks: Sequence[str]) -> str:
    """The check that a picture belongs to: `sbc_ecdf` to `sbc`."""
    mine = [check for check in checks if name == check or (name.startswith(check) and not name[len(check)].isalnum())]
    return max(mine, key=len, default=name)


# What does it say about my data?


def _data(facts: Facts) -> Html:
    if not facts.inferred:
        return _todo(facts, "No data inferred yet", "sample", *([] if facts.problem.get("observations") else ["data.csv"]))
    return join(_observation(facts, one, f"o{at}") for at, one in enumerate(facts.inferred))


def _observation(facts: Facts, one: Inferred, key: str) -> Html:
    rows = one.summary.get("rows") or []
    many = len({str(row.get("data_set")) for row in rows})
    draws = facts.provenance.get(f"sample {one.name}", {}).get("draws")
    said = [f"{number(many)} data sets" if many > 1 else None, f"{number(draws)} draws" + " each" * (many > 1) if draws else None]
    summary, pictures = _summary(facts, rows, many=many > 1), _shown(one, key)
    return join(
        [
            tag("h3", one.name),
            tag("p", ", ".join(part for part in said if part), class_="note"),
            *(tag("p", _numbers.mark("warn"), " ", prose(str(warning)), class_="notice") for warning in one.summary.get("warnings") or []),
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
    flat = [{**{k: v for k, v in row.items() if isinstance(v, int | float | None)}, **(row.get("quantiles") or {})} for row in rows]
    keys = list(dict.fromkeys(key for row in flat for key in row))
    head = [*(["data set"] if many else []), "quantity", *(tag("th", _column(key), scope="col", class_="n") for key in keys)]
    body = [
        [
            *([str(row.get("data_set"))] if many else []),
            facts.label(str(row.get("name"))),
            *(numeric(one.get(key), None if key in OWN_SCALE else places(one.get("sd") or 0)) for key in keys),
        ]
        for row, one in zip(rows, flat, strict=True)
    ]
    return table(head, body, label="Posterior summary")


def _column(key: str) -> str:
    """`q2.5` as `2.5 %`, `hdi_3%` as `HDI 3 %`."""
    quantile = re.fullmatch(r"q([\d.]+)", key)
    words = f"{quantile[1]}%" if quantile else key.replace("_", " ").replace("hdi", "HDI").replace("mcse", "MCSE")
    return words.replace("%", "\N{NO-BREAK SPACE}%")


def _further(summary: Mapping[str, Any]) -> list[Html]:
    """Whatever else the summary lists, such as how unlike the simulations the data are, a table each."""
    parts = []
    for key, entries in summary.items():
        if key != "rows" and isinstance(entries, list) and entries and all(isinstance(one, dict) for one in entries):
            columns = list(dict.fromkeys(name for one in entries for name in one))
            rows = [[_entry(one.get(name)) for name in columns] for one in entries]
            parts.append(folded(key.replace("_", " ").capitalize(), table([name.replace("_", " ") for name in columns], rows, label=key)))
    return parts


def _entry(value: object) -> Html:
    return (
        numeric(value)
        if isinstance(value, int | float | None)
        else tag("td", prose(str(value)), class_="words" if len(str(value)) > LONG else None)
    )


# How was it made?


def _made(facts: Facts) -> Html:
    return join(
        [
            tag("h3", "Parameters"),
            _distributions(facts.parameters, ["parameter", "prior", "unit"]),
            *_context(facts),
            tag("h3", "Simulations"),
            *_simulations(facts),
            tag("h3", "Training"),
            *_training(facts),
            tag("h3", "Config"),
            folded("config.yaml", tag("pre", tag("code", facts.yaml), tabindex=0)),
            tag("h3", "Provenance"),
            _provenance(facts),
        ]
    )


def _distributions(parts: Mapping[str, Mapping[str, Any]], head: Sequence[str]) -> Html:
    rows = [[name, tag("td", _distribution(part)), str(part.get("unit") or "–")] for name, part in parts.items()]
    return table(head, rows, label=head[0], sort=False)


def _distribution(part: Mapping[str, Any]) -> str:
    """For example `truncated normal: loc 2, scale 1, low 0`."""
    options = [f"{key} {_plain(value)}" for key, value in part.items() if key not in ("kind", "unit") and value is not None]
    return str(part.get("kind", "?")).replace("_", " ") + (": " + ", ".join(options) if options else "")


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return f"{value:.6g}".replace("-", "−") if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _context(facts: Facts) -> list[Html]:
    context, constants = facts.problem.get("context") or {}, facts.problem.get("constants") or {}
    told = ", ".join(f"{name} = {_plain(value)}" for name, value in constants.items())
    return [
        *([tag("h4", "Context"), _distributions(context, ["context", "drawn from", "unit"])] if context else []),
        *([tag("p", f"Constants: {told}.", class_="note")] if told else []),
    ]


def _simulations(facts: Facts) -> list[Html]:
    if not facts.splits:
        return [_todo(facts, "Nothing simulated yet", "simulate")]
    wanted = facts.config.get("simulate") or {}
    head = [
        "split",
        *(tag("th", name, scope="col", class_="n") for name in ("pairs", "asked for", "failed", "share valid", "shards", "MB", "time")),
    ]
    rows = [
        [
            split,
            *(numeric(value) for value in (one.get("rows"), wanted.get(split), one.get("failed"))),
            numeric(one.get("p_valid"), 4),
            numeric(one.get("shards")),
            numeric((one.get("bytes") or 0) / 1e6, 1),
            numeric(one.get("seconds"), told=duration(one.get("seconds") or 0)),
        ]
        for split, one in facts.splits.items()
    ]
    return [table(head, rows, label="Simulations", sort=False), *_failures(facts)]


def _failures(facts: Facts) -> list[Html]:
    if not facts.failures:
        return []
    told = ", ".join(f"{kind} {number(count)}" for kind, count in facts.failures.items())
    said = tag("p", f"Simulations that failed, by reason: {told}. Each was replaced by a new pair.", class_="note")
    biased = set(facts.failures) - FAIR_FAILURES
    return [said, tag("p", _numbers.mark("warn"), " ", BIASED, class_="notice")] if biased else [said]


def _training(facts: Facts) -> list[Html]:
    if "train" not in facts.provenance:
        return [_todo(facts, "Not trained yet" if not facts.metrics else "Training has not ended", "train"), *_loss(facts)]
    trained = facts.provenance["train"]
    said = [
        f"Ended at step {number(trained.get('step'))}, because {STOPPED.get(str(trained.get('reason')), str(trained.get('reason')))}; "
        f"best validation loss {number(trained.get('best_loss'), 4)} at step {number(trained.get('best_step'))}; "
        f"{duration(trained.get('seconds') or 0)}.",
        "Validation was still falling: more train.steps would help." if trained.get("still_falling") else None,
        f"Validation lies {number(trained.get('gap'), 2)} nats above training: more simulations (simulate.train) would help."
        if (trained.get("gap") or 0) > WIDE_GAP
        else None,
    ]
    return [*(tag("p", prose(one)) for one in said if one), *_loss(facts)]


def _loss(facts: Facts) -> list[Html]:
    if facts.loss is None:
        return []
    losses = [one["validation_loss"] for one in facts.metrics if isinstance(one.get("validation_loss"), int | float)]
    words = f"Training: validation loss from {number(losses[0])} to {number(losses[-1])} nats" if losses else "Training loss"
    return [figure(facts.loss, key="loss", alternative=words)]


def _provenance(facts: Facts) -> Html:
    if not facts.provenance:
        return tag("p", "No step has ended yet.", class_="todo")
    head = ["step", "finished", "took", "host", "seed", "command"]
    rows = [
        [
            step,
            _when(one),
            tag("td", duration(one.get("seconds") or 0), class_="n"),
            one.get("host"),
            one.get("seed", "–"),
            tag("td", tag("code", one.get("command"))),
        ]
        for step, one in facts.provenance.items()
    ]
    raw = json.dumps(dict(facts.provenance), indent=1, ensure_ascii=False)
    return join(
        [
            table(head, rows, label="Provenance", sort=False),
            _versions(facts),
            _hashes(facts),
            folded("All of it", tag("pre", raw, tabindex=0)),
        ]
    )


def _versions(facts: Facts) -> Html:
    """Versions, told once where all steps had the same."""
    found: dict[str, list[str]] = {}
    for step, one in facts.provenance.items():
        found.setdefault(", ".join(f"{name} {version}" for name, version in (one.get("versions") or {}).items()), []).append(step)
    return join(
        tag("p", f"{versions} ({', '.join(steps)})" if len(found) > 1 else versions, class_="note") for versions, steps in found.items()
    )


def _hashes(facts: Facts) -> Html:
    found = {key: str(one[key]) for one in facts.provenance.values() for key in ("data_hash", "model_hash", "weights") if key in one}
    return tag(
        "dl", *(join([tag("dt", key.replace("_", " ")), tag("dd", tag("code", value))]) for key, value in found.items()), class_="hashes"
    )
