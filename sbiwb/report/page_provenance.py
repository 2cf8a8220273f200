"""How was it made? Priors, simulations, training, the config and provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from markupsafe import Markup

from sbiwb.intervals import binomial_interval
from sbiwb.report._fields import Fields
from sbiwb.report._html import definitions, folded, join, note, paragraph, prose, tag
from sbiwb.report._picture import figure
from sbiwb.report._table import DASH, MINUS, heading, is_finite, number, numeric, table, written
from sbiwb.report.page_checks import notice
from sbiwb.report.page_facts import Facts, todo, when
from sbiwb.words import duration

WIDE_GAP = 0.2  # nats between training and validation
FAIR_FAILURES = {"not finite"}  # that the data alone decide
BIASED = (
    "Where a failure is no function of the data alone (a crash, a time limit), the posterior is "
    "biased by how likely it was."
)
STILL_FALLING = "Validation was still falling: more train.steps would help."
REASONS = {
    "steps": "all steps were done",
    "patience": "validation stopped improving",
    "time": "the time limit was reached",
}
LOSS = (
    "The loss is the mean negative log-density of the standardized parameters, in nats per pair, "
    "or the network's own loss where it has no density; lower is better."
)
HASHES = ("data_hash", "model_hash", "weights")


def provenance(facts: Facts) -> Markup:
    """From the priors to the provenance."""
    config = tag("pre", tag("code", facts.yaml), tabindex=0)
    parts = [
        tag("h3", "Parameters"),
        _distributions(facts.parameters, "parameter", "prior"),
        *_context(facts),
        tag("h3", "Simulations"),
        *_simulations(facts),
        tag("h3", "Training"),
        *_training(facts),
        *_likelihoods(facts),
        tag("h3", "Config"),
        folded("config.yaml", config),
        tag("h3", "Provenance"),
        *_steps(facts),
    ]
    return join(parts)


def _distributions(parts: Mapping[str, Fields], name: str, drawn_from: str) -> Markup:
    rows = []
    for key, part in parts.items():
        unit = part.text("unit") or DASH
        rows.append([key, tag("td", _distribution(part)), unit])
    return table([name, drawn_from, "unit"], rows, label=name, sort=False)


def _distribution(part: Fields) -> str:
    """For example `truncated normal: loc 2, scale 1, low 0`."""
    kind = (part.text("kind") or "?").replace("_", " ")
    options = []
    for key, value in part.values.items():
        if key not in ("kind", "unit") and value is not None:
            options.append(f"{key} {_plain(value)}")
    if not options:
        return kind
    return f"{kind}: {', '.join(options)}"


def _plain(value: object) -> str:
    """A value of the YAML as people write it."""
    if is_finite(value):
        return f"{value:.6g}".replace("-", MINUS)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return str(value)


def _context(facts: Facts) -> list[Markup]:
    """Design variables and constants."""
    parts = []
    context, constants = facts.problem.fields("context"), facts.problem.fields("constants")
    if context:
        drawn = _distributions(context.each(), "context", "drawn from")
        parts += [tag("h4", "Context"), drawn]
    if constants:
        words = ", ".join(f"{name} = {_plain(constants.get(name))}" for name in constants)
        parts.append(note(f"Constants: {words}."))
    return parts


def _simulations(facts: Facts) -> list[Markup]:
    if not facts.splits:
        return [todo(facts, "Nothing simulated yet", "simulate")]
    wanted = Fields(facts.config).fields("simulate")
    columns = ("pairs", "asked for", "failed", "share valid", "shards", "MB", "time")
    head = ["split", *map(heading, columns)]
    rows = [_split_row(name, counts, wanted) for name, counts in facts.simulated.items()]
    return [table(head, rows, label="Simulations", sort=False), *_failures(facts)]


def _split_row(name: str, counts: Fields, wanted: Fields) -> list[object]:
    seconds = counts.number("seconds")
    return [
        name,
        numeric(counts.get("rows")),
        numeric(wanted.get(name)),
        numeric(counts.get("failed")),
        numeric(counts.get("p_valid"), 4),
        numeric(counts.get("shards")),
        numeric((counts.number("bytes") or 0) / 1e6, 1),
        written(duration(seconds or 0), seconds),
    ]


def _failures(facts: Facts) -> list[Markup]:
    """How many simulations failed, why, and what that means."""
    if not facts.failures:
        return []
    words = ", ".join(f"{kind} {number(count)}" for kind, count in facts.failures.items())
    reasons = f"Simulations that failed, by reason: {words}. Each was replaced by a new pair."
    parts = [note(f"{_share_valid(facts)}{reasons}")]
    if set(facts.failures) - FAIR_FAILURES:
        parts.append(notice("warn", BIASED))
    return parts


def _share_valid(facts: Facts) -> str:
    """How often a simulation comes out, over all splits, with its interval."""
    simulated = failed = 0
    for counts in facts.simulated.values():
        simulated += int(counts.number("simulated") or 0)
        failed += int(counts.number("failed") or 0)
    if not 0 <= failed <= simulated or not simulated:
        return ""
    low, high = binomial_interval(simulated - failed, simulated)
    share, interval = number(1 - failed / simulated, 4), f"{number(low, 4)} to {number(high, 4)}"
    return f"p(valid) = {share} (95 %: {interval}; {number(simulated)} simulations). "


def _training(facts: Facts) -> list[Markup]:
    trained = facts.step("train")
    if not trained:
        what = "Not trained yet"
        if facts.metrics:
            what = "Training has not ended"
        return [todo(facts, what, "train"), *_loss(facts)]
    parts = [paragraph(prose(_ended(trained)))]
    if trained.get("still_falling"):
        parts.append(paragraph(prose(STILL_FALLING)))
    if (trained.number("gap") or 0) > WIDE_GAP:
        parts.append(paragraph(prose(_overfitted(trained))))
    return [*parts, *_loss(facts)]


def _likelihoods(facts: Facts) -> Iterator[Markup]:
    """How the training of each likelihood ended."""
    for likelihood in facts.likelihoods:
        yield tag("h4", f"Likelihood of {likelihood.structure}")
        if likelihood.trained:
            yield paragraph(prose(_ended(Fields(likelihood.trained))))
        else:
            yield todo(facts, "Not trained to the end", "train")
        if likelihood.loss is not None:
            words = f"Training of the likelihood of {likelihood.structure}"
            yield figure(likelihood.loss, alternative=words)


def _ended(trained: Fields) -> str:
    reason = REASONS.get(trained.text("reason"), trained.text("reason"))
    best = f"best validation loss {number(trained.get('best_loss'), 4)}"
    return (
        f"Ended at step {number(trained.get('step'))}, because {reason}; {best} "
        f"at step {number(trained.get('best_step'))}; {duration(trained.number('seconds') or 0)}."
    )


def _overfitted(trained: Fields) -> str:
    gap = number(trained.get("gap"), 2)
    return (
        f"Validation lies {gap} nats above training: more simulations (simulate.train) would help."
    )


def _loss(facts: Facts) -> list[Markup]:
    if facts.loss is None:
        return []
    return [figure(facts.loss, alternative=_loss_words(facts), caption=LOSS)]


def _loss_words(facts: Facts) -> str:
    losses = []
    for line in facts.metrics:
        losses += Fields(line).numbers_at(["validation_loss"])
    if not losses:
        return "Training loss"
    return f"Training: validation loss from {number(losses[0])} to {number(losses[-1])} nats"


def _steps(facts: Facts) -> list[Markup]:
    """Who did each step, with what."""
    if not facts.provenance:
        return [paragraph("No step has ended yet.", "todo")]
    head = ["step", "finished", "took", "host", "seed", "command"]
    rows = [_step_row(name, step) for name, step in facts.steps.items()]
    for likelihood in facts.likelihoods:
        if likelihood.trained:
            name = f"train likelihood {likelihood.structure}"
            rows.append(_step_row(name, Fields(likelihood.trained)))
    raw = json.dumps(dict(facts.provenance), indent=1, ensure_ascii=False)
    return [
        table(head, rows, label="Provenance", sort=False),
        *_versions(facts),
        _hashes(facts),
        folded("All of it", tag("pre", raw, tabindex=0)),
    ]


def _step_row(name: str, step: Fields) -> list[object]:
    took = duration(step.number("seconds") or 0)
    seed = step.text("seed") or DASH
    command = tag("td", tag("code", step.text("command")))
    return [name, when(step), tag("td", took, class_="n"), step.text("host"), seed, command]


def _versions(facts: Facts) -> list[Markup]:
    """Versions, said once where all steps had the same."""
    steps: dict[str, list[str]] = {}
    for name, step in facts.steps.items():
        steps.setdefault(_version_words(step.fields("versions")), []).append(name)
    if len(steps) == 1:
        return list(map(note, steps))
    return [note(f"{versions} ({', '.join(names)})") for versions, names in steps.items()]


def _version_words(versions: Fields) -> str:
    return ", ".join(f"{package} {versions.text(package)}" for package in versions)


def _hashes(facts: Facts) -> Markup:
    """Of the last step that has each."""
    entries: dict[str, list[Markup]] = {}
    for step in facts.steps.values():
        for key in HASHES:
            if key in step:
                entries[key.replace("_", " ")] = [tag("code", step.text(key))]
    return definitions(entries.items(), class_="hashes")
