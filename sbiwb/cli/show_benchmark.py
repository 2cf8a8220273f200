"""The scoreboard of a benchmark: ours by every score, then published numbers by classifier."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.markup import escape

from sbiwb.cli.console import number, out
from sbiwb.cli.show import lines, table, written
from sbiwb.words import duration

if TYPE_CHECKING:
    from sbiwb.report import Line, PublishedTable
    from sbiwb.workflow.benchmark import Scoreboard

FILES = ("scoreboard.md", "scoreboard.csv", "scores.json", "scoreboard.png")
HEADINGS = {
    "c2st_forest": "forest",
    "c2st_marginals": "marginals",
    "c2st_dependence": "dependence",
    "pqmass": "PQMass p",
}
MEANINGS = {
    "c2st_forest": "forest: C2ST by scikit-learn's random forest.",
    "c2st_marginals": "marginals: C2ST by a histogram of one parameter, mean over parameters.",
    "c2st_dependence": "dependence: C2ST of the copula alone, all marginals made normal.",
    "pqmass": "PQMass p: 0.5 on average where draws and reference do not differ, near 0 where "
    "they do.",
}


def scoreboard(board: Scoreboard) -> None:
    """Every score by task, budget and method, then published numbers."""
    names = [name for name in HEADINGS if any(name in line.further for line in board.lines)]
    headings = ["task", "method", "simulations", "C2ST", *(HEADINGS[name] for name in names)]
    headings += ["NLPD", "training"]
    table(headings, [_scored_row(line, names) for line in board.lines], names=2)
    _meanings(board, names)
    for published in board.published:
        _published(published)
    written(board.folder / name for name in FILES)


def _meanings(board: Scoreboard, names: list[str]) -> None:
    out.print(
        f"{board.done} of {board.jobs} trainings scored. Means over observations, ± sd over seeds. "
        "C2ST: 0.5 is the reference itself; green is below NPE as published, yellow above."
    )
    lines(MEANINGS[name] for name in names)
    if board.seconds:
        costs = [f"{name} {duration(seconds)}" for name, seconds in board.seconds.items()]
        out.print(f"Scoring one training took {escape(', '.join(costs))}.")


def _scored_row(line: Line, names: list[str]) -> list[str]:
    colour = "default"
    if line.npe is not None:
        colour = "green" if line.c2st < line.npe else "yellow"
    cells = [escape(line.task), escape(line.method), f"{line.budget:,}"]
    cells.append(f"[{colour}]{_spread(line.c2st, line.sd)}[/]")
    for name in names:
        spread = line.further.get(name)
        cells.append("–" if spread is None else _spread(*spread))
    return [*cells, number(line.nlpd, 4), duration(line.train_seconds)]


def _spread(mean: float, sd: float) -> str:
    if math.isnan(sd):
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {sd:.3f}"


def _published(published: PublishedTable) -> None:
    """A table with its sources below."""
    out.print()
    out.print(f"[bold]{escape(published.title)}[/]")
    rows = [list(map(escape, row)) for row in published.rows]
    table(list(map(escape, published.headings)), rows, names=2)
    lines(published.notes)
