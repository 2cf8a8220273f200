"""The scoreboard of a benchmark: C2ST of every task, budget and method beside the published
numbers, as a table and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.csv_tables import csv_text
from sbiwb.report.figures import BLUE, GREEN, ORANGE, PINK, SKY, YELLOW, Panels, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW)
# Mean C2ST over ten observations, Lueckmann et al. (2021), https://arxiv.org/abs/2101.04653: of NPE
# at 1,000, 10,000 and 100,000 simulations, and of sequential NPE at 10,000, which looks at the
# observation in training.
PUBLISHED = {
    "two_moons": ((0.725, 0.606, 0.542), 0.554),
    "slcp": ((0.975, 0.901, 0.831), 0.845),
    "slcp_distractors": ((0.982, 0.970, 0.863), 0.931),
    "gaussian_linear": ((0.694, 0.552, 0.506), 0.544),
    "gaussian_linear_uniform": ((0.696, 0.553, 0.509), 0.527),
    "gaussian_mixture": ((0.731, 0.661, 0.555), 0.583),
    "bernoulli_glm": ((0.863, 0.678, 0.559), 0.614),
    "bernoulli_glm_raw": ((0.900, 0.765, 0.607), 0.658),
    "sir": ((0.815, 0.680, 0.585), 0.561),
    "lotka_volterra": ((0.999, 0.997, 0.981), 0.953),
}
NPE_BUDGETS = (1_000, 10_000, 100_000)
SNPE_BUDGET = 10_000


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
        seconds: Wall time of `train`, `draws` and `c2st`, and of `simulate`, shared by all
            trainings on the same simulations.
    """

    task: str
    budget: int
    method: str
    seed: int
    c2st: tuple[float, ...]
    nlpd: float | None
    seconds: Mapping[str, float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.c2st))


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
    means = np.array([score.mean for score in group])
    return Line(
        task=task,
        budget=budget,
        method=group[0].method,
        seeds=len(group),
        c2st=float(means.mean()),
        sd=_sd(means),
        worst=float(np.mean([score.c2st for score in group], axis=0).max()),
        nlpd=_mean_nlpd(group),
        train_seconds=float(np.mean([score.seconds.get("train", math.nan) for score in group])),
        npe=_published_npe(task, budget),
        snpe=_published_snpe(task, budget),
    )


def _sd(means: np.ndarray) -> float:
    if len(means) < 2:
        return math.nan
    return float(means.std(ddof=1))


def _mean_nlpd(group: Sequence[Score]) -> float | None:
    densities = []
    for score in group:
        if score.nlpd is None:
            return None
        densities.append(score.nlpd)
    return float(np.mean(densities))


def _published_npe(task: str, budget: int) -> float | None:
    if task not in PUBLISHED or budget not in NPE_BUDGETS:
        return None
    return PUBLISHED[task][0][NPE_BUDGETS.index(budget)]


def _published_snpe(task: str, budget: int) -> float | None:
    if task not in PUBLISHED or budget != SNPE_BUDGET:
        return None
    return PUBLISHED[task][1]


def scoreboard_csv(lines: Sequence[Line]) -> str:
    """A line a row, with every digit."""
    head = [field.name for field in fields(Line)]
    return csv_text(head, map(astuple, lines))


def scoreboard_markdown(lines: Sequence[Line]) -> str:
    """A table for people: a row a task and method, a column a budget, the published numbers in
    brackets."""
    budgets = sorted({line.budget for line in lines})
    head = _markdown_row("task", "method", *map("{:,}".format, budgets))
    rows = [head, "|---" * (2 + len(budgets)) + "|"]
    cells_of: dict[tuple[str, str], dict[int, str]] = {}
    for line in lines:
        cells_of.setdefault((line.task, line.method), {})[line.budget] = _cell(line)
    for (task, method), cells in cells_of.items():
        rows.append(_markdown_row(task, method, *(cells.get(budget, "") for budget in budgets)))
    return "\n".join(rows) + "\n"


def _markdown_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(line: Line) -> str:
    words = f"{line.c2st:.3f}"
    if not math.isnan(line.sd):
        words += f" ± {line.sd:.3f}"
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
    if task not in PUBLISHED:
        return
    npe, snpe = PUBLISHED[task]
    axes.plot(NPE_BUDGETS, npe, "s--", color="0.55", markersize=3, label="NPE (published)")
    label = "sequential NPE (published)"
    axes.plot([SNPE_BUDGET], [snpe], "x", color="0.25", zorder=4, label=label)


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
