"""The scoreboard of a benchmark: C2ST of every task, budget and method beside the published numbers, as a table and a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import _figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
# Mean C2ST over ten observations, Lueckmann et al. (2021), https://arxiv.org/abs/2101.04653: of NPE at 1,000, 10,000 and 100,000
# simulations, and of sequential NPE at 10,000, which looks at the observation in training.
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


@dataclass(frozen=True)
class Score:
    """One training of one task, scored.

    Args:
        task: Its name.
        budget: Simulations for training and validation.
        method: Its name.
        seed: Of training.
        c2st: Of each observation, in order.
        nlpd: Mean of -log q(theta* | x) over test pairs, in nats; None where the network has no density.
        seconds: Wall time of `train`, `draws` and `c2st`, and of `simulate`, shared by all trainings on the same simulations.
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


def scoreboard(scores: Sequence[Score]) -> list[Line]:
    """Lines in the order of tasks and methods as they come, and of rising budgets."""
    groups: dict[tuple[str, int, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.budget, score.method), []).append(score)
    tasks, methods = (
        list(dict.fromkeys(score.task for score in scores)),
        list(dict.fromkeys(score.method for score in scores)),
    )
    order = sorted(groups, key=lambda key: (tasks.index(key[0]), methods.index(key[2]), key[1]))
    return [_line(key, groups[key]) for key in order]


def _line(key: tuple[str, int, str], group: Sequence[Score]) -> Line:
    task, budget, method = key
    means = np.array([score.mean for score in group])
    densities = [score.nlpd for score in group if score.nlpd is not None]
    npe, snpe = _published(task, budget)
    return Line(
        task=task,
        budget=budget,
        method=method,
        seeds=len(group),
        c2st=float(means.mean()),
        sd=float(means.std(ddof=1)) if len(group) > 1 else math.nan,
        worst=float(np.mean([score.c2st for score in group], axis=0).max()),
        nlpd=float(np.mean(densities)) if len(densities) == len(group) else None,
        train_seconds=float(np.mean([score.seconds.get("train", math.nan) for score in group])),
        npe=npe,
        snpe=snpe,
    )


def _published(task: str, budget: int) -> tuple[float | None, float | None]:
    if task not in PUBLISHED or budget not in NPE_BUDGETS:
        return None, None
    npe, snpe = PUBLISHED[task]
    return npe[NPE_BUDGETS.index(budget)], snpe if budget == 10_000 else None


def scoreboard_csv(lines: Sequence[Line]) -> str:
    """A line a row, with every digit."""
    names = list(Line.__dataclass_fields__)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(
        [
            ["" if getattr(line, name) is None else getattr(line, name) for name in names]
            for line in lines
        ]
    )
    return text.getvalue()


def scoreboard_markdown(lines: Sequence[Line]) -> str:
    """A table for people: a row a task and method, a column a budget, the published numbers in brackets."""
    budgets = sorted({line.budget for line in lines})
    rows = [
        "| task | method | " + " | ".join(f"{budget:,}" for budget in budgets) + " |",
        "|---" * (2 + len(budgets)) + "|",
    ]
    for task, method in dict.fromkeys((line.task, line.method) for line in lines):
        found = {line.budget: line for line in lines if (line.task, line.method) == (task, method)}
        rows.append(
            f"| {task} | {method} | "
            + " | ".join(_cell(found.get(budget)) for budget in budgets)
            + " |"
        )
    return "\n".join(rows) + "\n"


def _cell(line: Line | None) -> str:
    if line is None:
        return ""
    spread = "" if math.isnan(line.sd) else f" ± {line.sd:.3f}"
    known = [
        f"{name} {value:.3f}"
        for name, value in (("NPE", line.npe), ("SNPE", line.snpe))
        if value is not None
    ]
    return f"{line.c2st:.3f}{spread}" + f" ({', '.join(known)})" * bool(known)


def scoreboard_picture(scores: Sequence[Score]) -> Figure:
    """A panel a task: C2ST over the budget, each observation a dot and their mean a line, NPE and sequential NPE as published in grey."""
    tasks, methods = (
        list(dict.fromkeys(score.task for score in scores)),
        list(dict.fromkeys(score.method for score in scores)),
    )
    columns = min(5, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    figure = _figure(1.0 + 2.3 * columns, 0.9 + 2.3 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    for axes, task in zip(grid.flat, tasks, strict=False):
        _panel(axes, task, [score for score in scores if score.task == task], methods)
    for axes in grid[:, 0]:
        axes.set_ylabel("C2ST")
    for axes in grid.flat[max(0, len(tasks) - columns) : len(tasks)]:
        axes.set_xlabel("simulations")
    handles = {
        text: handle
        for axes in grid.flat[: len(tasks)]
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
    )
    return figure


def _panel(axes: Axes, task: str, scores: Sequence[Score], methods: Sequence[str]) -> None:
    axes.axhline(0.5, color="0.8", linewidth=1)
    if task in PUBLISHED:
        npe, snpe = PUBLISHED[task]
        axes.plot(
            NPE_BUDGETS,
            npe,
            color="0.55",
            linestyle="--",
            marker="s",
            markersize=3,
            label="NPE (published)",
        )
        axes.plot(
            [10_000],
            [snpe],
            color="0.25",
            linestyle="",
            marker="x",
            zorder=4,
            label="sequential NPE (published)",
        )
    for place, method in enumerate(methods):
        own = [score for score in scores if score.method == method]
        if not own:
            continue
        colour, budgets = COLOURS[place % len(COLOURS)], sorted({score.budget for score in own})
        for score in own:
            axes.plot(
                [score.budget] * len(score.c2st),
                score.c2st,
                ".",
                color=colour,
                alpha=0.35,
                markersize=4,
                zorder=1,
            )
        means = [
            np.mean([score.mean for score in own if score.budget == budget]) for budget in budgets
        ]
        axes.plot(budgets, means, "o-", color=colour, markersize=4, label=method)
    axes.set(xscale="log", ylim=(0.48, 1.02), title=task.replace("_", " "))
    axes.title.set_fontsize(9)
