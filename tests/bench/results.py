"""What the records of a run say: medians by contender, the first time at or below a target, and the
rows of the tables. Numbers only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Record = dict[
    str, Any
]  # a result, with the measure, task, contender, round and batch_size of its job
OURS, PEER = "sbiwb", "sbi nsf"  # who is compared with whom


@dataclass(frozen=True)
class Rows:
    """A table: its title, column heads, cells, and lines below it."""

    title: str
    heads: tuple[str, ...]
    cells: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def first_time(history: Iterable[tuple[float, float]], target: float) -> float:
    """Seconds until the test NLL is first at or below the target; infinite if never.

    Args:
        history: Seconds and test NLL of the best weights so far, in order.
        target: NLL in nats.
    """
    return next((seconds for seconds, nll in history if nll <= target), math.inf)


def chosen(records: Iterable[Record], **wanted: object) -> list[Record]:
    """The records with these values that did not fail."""
    return [
        one
        for one in records
        if "error" not in one and all(one.get(name) == value for name, value in wanted.items())
    ]


def middle(records: Sequence[Record], name: str) -> float:
    """Median of a value; not a number where there is none."""
    values = [one[name] for one in records if one.get(name) is not None]
    return median(values) if values else math.nan


def distinct(records: Iterable[Record], name: str) -> list[Any]:
    """Values in the order of their first record."""
    return list(dict.fromkeys(one[name] for one in records if one.get(name) is not None))


def tables(records: Sequence[Record]) -> list[Rows]:
    """All tables that the records allow, in the order of the measures."""
    makers = {
        "step": steps,
        "fit": fits,
        "draws": draws,
        "many": many,
        "growth": growths,
        "profile": profiles,
    }
    return [
        table
        for measure, make in makers.items()
        if (found := chosen(records, measure=measure))
        for table in make(found)
    ]


def steps(records: Sequence[Record]) -> list[Rows]:
    """Pairs/s of the training step, and ours over each."""
    return [_steps(chosen(records, task=task), task) for task in distinct(records, "task")]


def _steps(records: Sequence[Record], task: str) -> Rows:
    batches = sorted(distinct(records, "batch_size"))
    cells = []
    for contender in distinct(records, "contender"):
        row = [contender, count(middle(chosen(records, contender=contender), "parameters"))]
        for batch in batches:
            theirs = middle(chosen(records, contender=contender, batch_size=batch), "pairs_per_s")
            ours = middle(chosen(records, contender=OURS, batch_size=batch), "pairs_per_s")
            row += [count(theirs), ratio(ours, theirs)]
        cells.append((*row, count(middle(chosen(records, contender=contender), "peak_mb"))))
    heads = (
        "contender",
        "weights",
        *(head for batch in batches for head in (f"pairs/s at {batch}", "sbiwb ÷")),
        "peak MB",
    )
    return Rows(f"Training step, {task}", heads, cells)


def fits(records: Sequence[Record]) -> list[Rows]:
    return [_fits(chosen(records, task=task), task) for task in distinct(records, "task")]


def _fits(records: Sequence[Record], task: str) -> Rows:
    """Time to the end and to sbi's final NLL. sbi's own is its whole training; how long to its best
    epoch stands in a note."""
    theirs = chosen(records, contender=PEER)
    target, whole, best = (
        middle(theirs, "test_nll"),
        middle(theirs, "seconds"),
        middle(theirs, "seconds_to_best"),
    )
    cells = []
    for contender in distinct(records, "contender"):
        mine = chosen(records, contender=contender)
        reached = (
            whole
            if contender == PEER
            else median([first_time(one.get("history", ()), target) for one in mine])
        )
        known = contender == PEER or any("history" in one for one in mine)
        cells.append(
            (
                contender,
                count(middle(mine, "parameters")),
                number(middle(mine, "seconds"), 1),
                number(middle(mine, "test_nll"), 3),
                spread([one["test_nll"] for one in mine]),
                number(reached, 1) if known else "",
                ratio(whole, reached) if known else "",
                ratio(best, reached) if known else "",
                count(middle(mine, "peak_mb")),
            )
        )
    heads = (
        "contender",
        "weights",
        "s to the end",
        "test NLL",
        "of seeds",
        f"s to {number(target, 3)}",
        "÷ of sbi",
        "÷ of its best",
        "MB",
    )
    note = f"sbi nsf: {number(whole, 1)} s in all, {number(best, 1)} s to its best epoch. Cold and warm: the cache of compiled code."
    return Rows(
        f"Fit, {task}: wall time to sbi's final test NLL (nats, theta space)",
        heads,
        cells,
        (note,) if theirs else (),
    )


def draws(records: Sequence[Record]) -> list[Rows]:
    return [_draws(chosen(records, task=task), task) for task in distinct(records, "task")]


def _draws(records: Sequence[Record], task: str) -> Rows:
    peer = chosen(records, contender=PEER)
    cells = []
    for contender in distinct(records, "contender"):
        mine = chosen(records, contender=contender)
        cells.append(
            (
                contender,
                count(middle(mine, "parameters")),
                number(middle(mine, "test_nll"), 3),
                count(middle(mine, "draws_per_s")),
                ratio(middle(mine, "draws_per_s"), middle(peer, "draws_per_s")),
                count(middle(mine, "log_prob_per_s")),
                ratio(middle(mine, "log_prob_per_s"), middle(peer, "log_prob_per_s")),
                count(middle(mine, "draws_peak_mb")),
                count(middle(mine, "peak_mb")),
            )
        )
    heads = (
        "contender",
        "weights",
        "test NLL",
        "draws/s",
        "÷ sbi",
        "log_prob/s",
        "÷ sbi",
        "MB drawing",
        "MB in all",
    )
    raw = middle(peer, "raw_draws_per_s")
    note = (
        f"sbi nsf draws {count(raw)}/s without its rejection of draws outside the prior."
        if not math.isnan(raw)
        else ""
    )
    shape = peer[0] if peer else records[0]
    return Rows(
        f"Draws, {task}: {shape['observations']} observations × {shape['draws']} draws",
        heads,
        cells,
        (note,) if note else (),
    )


def many(records: Sequence[Record]) -> list[Rows]:
    cells = [
        (
            task,
            contender,
            count(middle(mine, "draws")),
            number(middle(mine, "seconds"), 1),
            *(count(median([one["peaks_mb"][place] for one in mine])) for place in range(3)),
            count(middle(mine, "result_mb")),
        )
        for task in distinct(records, "task")
        for contender in distinct(records, "contender")
        if (mine := chosen(records, task=task, contender=contender))
    ]
    heads = (
        "task",
        "contender",
        "draws",
        "s",
        "peak MB before",
        "after a tenth",
        "after all",
        "MB of the result",
    )
    return [Rows("Many draws: 10,000 observations", heads, cells)]


def growths(records: Sequence[Record]) -> list[Rows]:
    keys = ("features", "context", "pairs")
    cells = [
        tuple(f"{size:,}" for size in sizes)
        + tuple(
            count(middle(mine, name))
            for name in ("parameters", "pairs_per_s", "draws_per_s", "peak_mb")
        )
        for sizes in dict.fromkeys(tuple(one[key] for key in keys) for one in records)
        if (mine := chosen(records, **dict(zip(keys, sizes, strict=True))))
    ]
    heads = (
        "D",
        "context",
        "pairs",
        "weights",
        f"pairs/s at {records[0]['batch_size']}",
        "draws/s",
        "peak MB",
    )
    return [Rows("Growth of sbiwb", heads, cells)]


def profiles(records: Sequence[Record]) -> list[Rows]:
    cells = [
        (
            task,
            str(batch),
            *(count(middle(mine, name)) for name in ("plain_us", "step_us")),
            *(
                percent(middle(mine, name))
                for name in ("matrix", "own", "aten", "rest", "uncompiled")
            ),
        )
        for task in distinct(records, "task")
        for batch in distinct(records, "batch_size")
        if (mine := chosen(records, task=task, batch_size=batch))
    ]
    largest = records[-1]["largest"]
    notes = (
        "largest: "
        + ", ".join(f"{name} {percent(share)} ({calls} calls)" for name, share, calls in largest),
    )
    heads = (
        "task",
        "batch",
        "µs a step",
        "profiled",
        "matrix",
        "own kernels",
        "other ATen",
        "rest",
        "plain, neither matrix nor own",
    )
    return [
        Rows(
            "Profile of our step: shares of a profiled step; last, of a plain one",
            heads,
            cells,
            notes,
        )
    ]


def count(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}"


def number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else "never" if math.isinf(value) else f"{value:,.{digits}f}"


def percent(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.0f} %"


def ratio(above: float, below: float) -> str:
    value = above / below if below else math.nan
    return "" if math.isnan(value) else f"{value:.1f}"


def spread(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}" if len(values) > 1 else ""
