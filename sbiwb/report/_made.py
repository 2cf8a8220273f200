"""How was it made? Priors, simulations, training, the config and provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sbiwb.report import _numbers
from sbiwb.report._facts import Facts, todo, when
from sbiwb.report._html import Html, folded, join, number, numeric, prose, table, tag
from sbiwb.report._picture import figure
from sbiwb.report.failure_map import wilson
from sbiwb.words import duration

WIDE_GAP = 0.2  # nats between training and validation
FAIR_FAILURES = {"not finite"}  # that the data alone decide
BIASED = "Where a failure is no function of the data alone (a crash, a time limit), the posterior is biased by how likely it was."
STOPPED = {
    "steps": "all steps were done",
    "patience": "validation stopped improving",
    "time": "the time limit was reached",
}


def made(facts: Facts) -> Html:
    """From the priors to the provenance."""
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
    rows = [
        [name, tag("td", _distribution(part)), str(part.get("unit") or "–")]
        for name, part in parts.items()
    ]
    return table(head, rows, label=head[0], sort=False)


def _distribution(part: Mapping[str, Any]) -> str:
    """For example `truncated normal: loc 2, scale 1, low 0`."""
    options = [
        f"{key} {_plain(value)}"
        for key, value in part.items()
        if key not in ("kind", "unit") and value is not None
    ]
    return str(part.get("kind", "?")).replace("_", " ") + (
        ": " + ", ".join(options) if options else ""
    )


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return (
        f"{value:.6g}".replace("-", "−")
        if isinstance(value, int | float) and not isinstance(value, bool)
        else str(value)
    )


def _context(facts: Facts) -> list[Html]:
    context, constants = facts.problem.get("context") or {}, facts.problem.get("constants") or {}
    told = ", ".join(f"{name} = {_plain(value)}" for name, value in constants.items())
    return [
        *(
            [tag("h4", "Context"), _distributions(context, ["context", "drawn from", "unit"])]
            if context
            else []
        ),
        *([tag("p", f"Constants: {told}.", class_="note")] if told else []),
    ]


def _simulations(facts: Facts) -> list[Html]:
    if not facts.splits:
        return [todo(facts, "Nothing simulated yet", "simulate")]
    wanted = facts.config.get("simulate") or {}
    head = [
        "split",
        *(
            tag("th", name, scope="col", class_="n")
            for name in ("pairs", "asked for", "failed", "share valid", "shards", "MB", "time")
        ),
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
    said = tag(
        "p",
        f"{_valid(facts)}Simulations that failed, by reason: {told}. Each was replaced by a new pair.",
        class_="note",
    )
    biased = set(facts.failures) - FAIR_FAILURES
    return (
        [said, tag("p", _numbers.mark("warn"), " ", BIASED, class_="notice")] if biased else [said]
    )


def _valid(facts: Facts) -> str:
    """How often a simulation comes out, over all splits, with its interval."""
    simulated, failed = (
        sum(one.get(name) or 0 for one in facts.splits.values()) for name in ("simulated", "failed")
    )
    if not simulated:
        return ""
    low, high = (number(float(end), 4) for end in wilson(simulated - failed, simulated))
    return f"p(valid) = {number(1 - failed / simulated, 4)} (95 %: {low} to {high}; {number(simulated)} simulations). "


def _training(facts: Facts) -> list[Html]:
    if "train" not in facts.provenance:
        return [
            todo(
                facts, "Not trained yet" if not facts.metrics else "Training has not ended", "train"
            ),
            *_loss(facts),
        ]
    trained = facts.provenance["train"]
    said = [
        f"Ended at step {number(trained.get('step'))}, because {STOPPED.get(str(trained.get('reason')), str(trained.get('reason')))}; "
        f"best validation loss {number(trained.get('best_loss'), 4)} at step {number(trained.get('best_step'))}; "
        f"{duration(trained.get('seconds') or 0)}.",
        "Validation was still falling: more train.steps would help."
        if trained.get("still_falling")
        else None,
        f"Validation lies {number(trained.get('gap'), 2)} nats above training: more simulations (simulate.train) would help."
        if (trained.get("gap") or 0) > WIDE_GAP
        else None,
    ]
    return [*(tag("p", prose(one)) for one in said if one), *_loss(facts)]


def _loss(facts: Facts) -> list[Html]:
    if facts.loss is None:
        return []
    losses = [
        one["validation_loss"]
        for one in facts.metrics
        if isinstance(one.get("validation_loss"), int | float)
    ]
    words = (
        f"Training: validation loss from {number(losses[0])} to {number(losses[-1])} nats"
        if losses
        else "Training loss"
    )
    return [figure(facts.loss, key="loss", alternative=words)]


def _provenance(facts: Facts) -> Html:
    if not facts.provenance:
        return tag("p", "No step has ended yet.", class_="todo")
    head = ["step", "finished", "took", "host", "seed", "command"]
    rows = [
        [
            step,
            when(one),
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
        found.setdefault(
            ", ".join(f"{name} {version}" for name, version in (one.get("versions") or {}).items()),
            [],
        ).append(step)
    return join(
        tag("p", f"{versions} ({', '.join(steps)})" if len(found) > 1 else versions, class_="note")
        for versions, steps in found.items()
    )


def _hashes(facts: Facts) -> Html:
    found = {
        key: str(one[key])
        for one in facts.provenance.values()
        for key in ("data_hash", "model_hash", "weights")
        if key in one
    }
    return tag(
        "dl",
        *(
            join([tag("dt", key.replace("_", " ")), tag("dd", tag("code", value))])
            for key, value in found.items()
        ),
        class_="hashes",
    )
