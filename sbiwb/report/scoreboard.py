"""The scoreboard of a benchmark: C2ST of every task, budget and method beside the published
numbers, as a table and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sbiwb.report.csv_tables import csv_text
from sbiwb.report.figures import BLUE, GREEN, ORANGE, PINK, SKY, YELLOW, Panels, Style
from sbiwb.report.published import (
    CLASSIFIERS,
    MLP,
    Ours,
    PublishedTable,
    published_c2st,
    published_table,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW)
BUDGETS = (1_000, 10_000, 100_000)  # of which numbers are published


@dataclass(frozen=True)
class Score:
    """One training of one task, scored.

    Args:
        task: Its name.
        budget: Simulations for training and validation.
        method: Its name.
        seed: Of training.
        c2st: Of each observation, in order.
        nlpd: Mean of -log q(theta* | x) over test pairs, in nats; None where the network has no
            density.
        seconds: Wall time of `train`, `draws` and each score, and of `simulate`, shared by all
            trainings on the same simulations.
        further: Other scores by name, of each observation.
    """

    task: str
    budget: int
    method: str
    seed: int
    c2st: tuple[float, ...]
    nlpd: float | None
    seconds: Mapping[str, float]
    further: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return float(np.mean(self.c2st))


class Spread(NamedTuple):
    """Mean and sd over seeds of the mean over observations; the sd of one seed is NaN."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Line:
    """A task at a budget by a method: the mean over observations and seeds.

    Args:
        task: Its name.
        budget: Simulations.
        method: Its name.
        seeds: Trainings.
        c2st: Mean over seeds of the mean over observations.
        sd: Over seeds, of the mean over observations; NaN of one seed.
        worst: Largest mean over seeds of one observation.
        nlpd: Mean over seeds; None where a network has no density.
        train_seconds: Mean over seeds.
        npe: Published C2ST of NPE at this budget, None where there is none.
        snpe: Published C2ST of sequential NPE at this budget, None where there is none.
        further: Other scores by name; without those that some seed lacks.
    """

    task: str
    budget: int
    method: str
    seeds: int
    c2st: float
    sd: float
    worst: float
    nlpd: float | None
    train_seconds: float
    npe: float | None
    snpe: float | None
    further: Mapping[str, Spread] = field(default_factory=dict)


def tasks_of(scores: Sequence[Score]) -> list[str]:
    """As they come."""
    return list(dict.fromkeys(score.task for score in scores))


def methods_of(scores: Sequence[Score]) -> list[str]:
    return list(dict.fromkeys(score.method for score in scores))


def budgets_of(scores: Sequence[Score]) -> list[int]:
    """Rising."""
    return sorted({score.budget for score in scores})


def scoreboard(scores: Sequence[Score]) -> list[Line]:
    """Lines in the order of tasks and methods as they come, and of rising budgets."""
    by_method = _by_method(scores)
    lines = []
    for task in tasks_of(scores):
        for method in methods_of(scores):
            by_budget = _by_budget(by_method.get((task, method), []))
            lines += list(map(_line, by_budget.values()))
    return lines


def _by_method(scores: Sequence[Score]) -> dict[tuple[str, str], list[Score]]:
    """By task and method."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.method), []).append(score)
    return groups


def _by_budget(scores: Sequence[Score]) -> dict[int, list[Score]]:
    """By rising budget."""
    groups: dict[int, list[Score]] = {budget: [] for budget in budgets_of(scores)}
    for score in scores:
        groups[score.budget].append(score)
    return groups


def _line(group: Sequence[Score]) -> Line:
    """Of one task at one budget by one method."""
    task, budget = group[0].task, group[0].budget
    spread = _spread([score.c2st for score in group])
    return Line(
        task=task,
        budget=budget,
        method=group[0].method,
        seeds=len(group),
        c2st=spread.mean,
        sd=spread.sd,
        worst=float(np.mean([score.c2st for score in group], axis=0).max()),
        nlpd=_mean_nlpd(group),
        train_seconds=float(np.mean([score.seconds.get("train", math.nan) for score in group])),
        npe=published_c2st(task, budget, "NPE"),
        snpe=published_c2st(task, budget, "SNPE"),
        further=_further(group),
    )


def _spread(scores: Sequence[Sequence[float]]) -> Spread:
    """Of each seed's scores of the observations."""
    means = np.array([np.mean(of_seed) for of_seed in scores])
    sd = math.nan if len(means) < 2 else float(means.std(ddof=1))
    return Spread(float(means.mean()), sd)


def _further(group: Sequence[Score]) -> dict[str, Spread]:
    spreads = {}
    for name in group[0].further:
        if all(name in score.further for score in group):
            spreads[name] = _spread([score.further[name] for score in group])
    return spreads


def _mean_nlpd(group: Sequence[Score]) -> float | None:
    densities = []
    for score in group:
        if score.nlpd is None:
            return None
        densities.append(score.nlpd)
    return float(np.mean(densities))


def further_names(lines: Sequence[Line]) -> list[str]:
    """Scores besides C2ST that a line has."""
    return list(dict.fromkeys(name for line in lines for name in line.further))


def scoreboard_csv(lines: Sequence[Line]) -> str:
    """A line a row, with every digit; of each further score the mean and `NAME_sd`."""
    own = [column.name for column in fields(Line) if column.name != "further"]
    names = further_names(lines)
    head = [*own, *chain.from_iterable((name, f"{name}_sd") for name in names)]
    rows = []
    for line in lines:
        spreads = (line.further.get(name, (None, None)) for name in names)
        rows.append([*(getattr(line, name) for name in own), *chain.from_iterable(spreads)])
    return csv_text(head, rows)


def published_tables(lines: Sequence[Line]) -> tuple[PublishedTable, ...]:
    """Published numbers beside ours, a table for each classifier that has some."""
    tables = []
    for classifier in CLASSIFIERS:
        ours = [Ours(line.task, line.budget, line.method, _by(line, classifier)) for line in lines]
        table = published_table(ours, classifier)
        if table is not None:
            tables.append(table)
    return tuple(tables)


def _by(line: Line, classifier: str) -> float | None:
    """Our C2ST by a classifier."""
    if classifier == MLP:
        return line.c2st
    spread = line.further.get("c2st_forest")
    return spread and spread.mean


def scoreboard_markdown(lines: Sequence[Line]) -> str:
    """Tables for people: a row a task and method, a column a budget, published numbers in brackets;
    below it the further scores, and all published numbers."""
    parts = [_budgets_markdown(lines)]
    names = further_names(lines)
    if names:
        head = ("task", "method", "simulations", "c2st", *names)
        parts.append(_markdown_table(head, [_further_cells(line, names) for line in lines]))
    for table in published_tables(lines):
        notes = "\n".join(f"- {note}" for note in table.notes)
        rows = _markdown_table(table.headings, table.rows)
        parts.append(f"{table.title}, mean over ten observations:\n\n{rows}\n{notes}\n")
    return "\n".join(parts)


def _budgets_markdown(lines: Sequence[Line]) -> str:
    budgets = sorted({line.budget for line in lines})
    cells_of: dict[tuple[str, str], dict[int, str]] = {}
    for line in lines:
        cells_of.setdefault((line.task, line.method), {})[line.budget] = _cell(line)
    rows = []
    for (task, method), cells in cells_of.items():
        rows.append((task, method, *(cells.get(budget, "") for budget in budgets)))
    return _markdown_table(("task", "method", *map("{:,}".format, budgets)), rows)


def _further_cells(line: Line, names: Sequence[str]) -> tuple[str, ...]:
    spreads = [Spread(line.c2st, line.sd), *map(line.further.get, names)]
    return (line.task, line.method, f"{line.budget:,}", *map(spread_in_words, spreads))


def spread_in_words(spread: Spread | None) -> str:
    """Mean ± sd; – where there is none."""
    if spread is None:
        return "–"
    if math.isnan(spread.sd):
        return f"{spread.mean:.3f}"
    return f"{spread.mean:.3f} ± {spread.sd:.3f}"


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruled = [_markdown_row(*head), "|---" * len(head) + "|"]
    return "\n".join([*ruled, *(_markdown_row(*row) for row in rows)]) + "\n"


def _markdown_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(line: Line) -> str:
    words = spread_in_words(Spread(line.c2st, line.sd))
    published = []
    if line.npe is not None:
        published.append(f"NPE {line.npe:.3f}")
    if line.snpe is not None:
        published.append(f"SNPE {line.snpe:.3f}")
    if published:
        words += f" ({', '.join(published)})"
    return words


def scoreboard_picture(scores: Sequence[Score]) -> Figure:
    """A panel a task: C2ST over the budget, each observation a dot and their mean a line, NPE and
    sequential NPE as published in grey."""
    tasks, by_method = tasks_of(scores), _by_method(scores)
    panels = Panels.of(len(tasks), width=2.5, height=2.5, columns=5)
    for axes, task in zip(panels.axes, tasks, strict=True):
        _draw_published(axes, task)
        for place, method in enumerate(methods_of(scores)):
            mine = by_method.get((task, method), [])
            _draw_method(axes, mine, colour=COLOURS[place % len(COLOURS)])
        axes.set(xscale="log", ylim=(0.48, 1.02), xlabel="simulations", ylabel="C2ST")
        axes.set_title(task.replace("_", " "), fontsize=9)
    panels.legend("outside upper center")
    return panels.figure


def _draw_published(axes: Axes, task: str) -> None:
    axes.axhline(0.5, color="0.8", linewidth=1)
    _draw_curve(axes, "s--", _published(task, "NPE"), label="NPE (published)", colour="0.55")
    label = "sequential NPE (published)"
    _draw_curve(axes, "x:", _published(task, "SNPE"), label=label, colour="0.25")


def _published(task: str, method: str) -> dict[int, float]:
    """By budget."""
    numbers = {budget: published_c2st(task, budget, method) for budget in BUDGETS}
    return {budget: number for budget, number in numbers.items() if number is not None}


def _draw_curve(
    axes: Axes, marks: str, numbers: Mapping[int, float], *, label: str, colour: str
) -> None:
    if numbers:
        style: Style = {"color": colour, "markersize": 3, "label": label}
        axes.plot(list(numbers), list(numbers.values()), marks, **style)


def _draw_method(axes: Axes, scores: Sequence[Score], *, colour: str) -> None:
    """Scores of one task by one method."""
    if not scores:
        return
    for score in scores:
        budgets = [score.budget] * len(score.c2st)
        axes.plot(budgets, score.c2st, ".", color=colour, alpha=0.35, markersize=4, zorder=1)
    means = {}
    for budget, group in _by_budget(scores).items():
        means[budget] = np.mean([score.mean for score in group])
    style: Style = {"color": colour, "markersize": 4, "label": scores[0].method}
    axes.plot(list(means), list(means.values()), "o-", **style)
