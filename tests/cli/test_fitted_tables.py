"""Tables at 60 and 80 columns: every number and every name is there whole, and no line is wider
than the terminal.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from sbiwb.cli import show, show_benchmark, show_diagnosis, show_runs
from sbiwb.cli.fitted_tables import fitted_tables
from sbiwb.report import summarise
from sbiwb.report.scoreboard import Score, published_tables, scoreboard
from sbiwb.workflow.benchmark import Scoreboard

LONG = "log_transmission_rate_of_the_second_wave_in_the_north"
WIDTHS = [60, 80, 200]


@pytest.fixture(params=WIDTHS)
def shown(request, monkeypatch):
    """What is printed to a terminal of that many columns."""
    console = Console(file=io.StringIO(), width=request.param, soft_wrap=True, highlight=False)
    monkeypatch.setattr(show, "out", console)
    monkeypatch.setattr(show_runs, "out", console)
    return console


def whole(console: Console, *words: str) -> str:
    """The tables' text, after a look that it fits; a folded name is put together again."""
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= console.width, "\n".join(lines)
    text = "\n".join(lines)
    assert "…" not in text
    for word in words:
        assert word in text
    return text


def test_one_table_where_there_is_room():
    tables = list(fitted_tables(["name", "a", "b"], [["x", "1", "2"]], width=40))
    assert len(tables) == 1 and [column.header for column in tables[0].columns] == [
        "name",
        "a",
        "b",
    ]


def test_numbers_that_do_not_fit_go_below_beside_their_names():
    rows = [["x", "1" * 10, "2" * 10, "3" * 10]]
    tables = list(fitted_tables(["name", "a", "b", "c"], rows, width=30))
    headers = [[column.header for column in table.columns] for table in tables]
    assert headers == [["name", "a", "b"], ["name", "c"]]


def test_markup_takes_no_room():
    rows = [["[bold]x[/]", "[green]pass[/]"]]
    assert len(list(fitted_tables(["n", "v"], rows, width=8))) == 1


def test_a_summary_of_long_names(shown):
    quantiles = {"median": -1.234567, "q2.5": -123456.7, "q97.5": 1.2345e-7}
    rows = [
        SimpleNamespace(
            data_set=label, name=LONG, mean=-1.2345e-5, sd=2.0, quantiles=quantiles, levels={}
        )
        for label in ("subject_0", "subject_1")
    ]
    show._summary("seen", rows)
    text = whole(shown, "mean", "97.5 %", "-1.234e-05", "-1.235e+05", "1.235e-07", "subject_1")
    assert LONG in text or LONG[:12] in text


def test_levels_have_their_names_and_probabilities(shown):
    draws = {"model": np.repeat([0.0, 1.0, 2.0], [100, 250, 150]), "mu": np.linspace(0, 1, 500)}
    levels = {"model": {0.0: "random walk", 1.0: "diffusion", 2.0: "race [fast]"}}
    show._summary("seen", summarise("seen", draws, levels=levels))
    text = whole(shown, "seen, model: random walk 0.2, diffusion 0.5, race [fast] 0.3")
    assert text.count("seen, ") == 1


def test_a_diagnosis_of_long_names(shown, tmp_path):
    judgments = [
        SimpleNamespace(
            check=check, name=name, parameter=LONG, value=0.123456, p=p, p_adjusted=p,
            verdict="fail", reason="far off",
        )
        for (check, name), p in zip(show_diagnosis.HEADINGS, [0.0123, 0.0123, None, None, None, None, None, None], strict=True)
    ]  # fmt: skip
    show_diagnosis._judgment_table(judgments, "parameter", [LONG])
    whole(shown, *show_diagnosis.HEADINGS.values(), "verdict", "fail", "0.012", "0.123")


def test_the_ranking_of_runs(shown):
    row = SimpleNamespace(
        run=f"runs/{LONG}", nlpd=-12.3456, nlpd_se=0.0123, difference=0.12, difference_se=0.03,
        verdict="not told apart", calibration="warn", train_seconds=4000.0, training_pairs=100_000,
        draws_per_s=123_456.0,
    )  # fmt: skip
    show_runs.table(
        ["run", "NLPD", "worse by", "", "calibration", "pairs", "training", "draws/s"],
        [[cell.replace("…", "") for cell in show_runs._ranked_row(row)]],
    )
    whole(shown, "-12.35 ± 0.012", "not told apart", "100,000", "123,456", "67 min")


def test_the_scoreboard_and_published_numbers(shown, monkeypatch):
    monkeypatch.setattr(show_benchmark, "out", shown)
    scores = [
        Score(
            task, budget, "default", seed, (0.512, 0.52), -12.3, {"train": 4000.0, "c2st": 100.0},
            {"c2st_forest": (0.53, 0.54), "pqmass": (0.1, 0.2)},
        )
        for task in ("gaussian_linear", "gaussian_linear_uniform")
        for budget in (1_000, 100_000)
        for seed in (0, 1)
    ]  # fmt: skip
    found = scoreboard(scores)
    show_benchmark.scoreboard(
        Scoreboard(tuple(found), 8, 8, Path("b"), published_tables(found), {"c2st": 100.0})
    )
    text = shown.file.getvalue()
    sentences = ("(", "*", "8 of", "forest:", "PQMass p:", "Scoring")
    tables = [line for line in text.splitlines() if not line.startswith(sentences)]
    assert max(map(len, tables)) <= shown.width, text
    for word in ("0.516 ± 0.000", "0.535 ± 0.000", "PQMass p", "100,000", "-12.3", "67 min"):
        assert word in text
    for word in ("NPE (a)", "SNPE* (a)", "NPE-PFN (a)", "0.694", "0.546", "2504.17660"):
        assert word in text
    assert "…" not in text


def test_a_search_of_many_settings(shown):
    keys = [f"model.inference.{name}" for name in ("transforms", "hidden", "bins", "dropout")]
    keys += ["train.learning_rate", "train.weight_decay"]
    settings = dict.fromkeys(keys, "0.00123456")
    trial = SimpleNamespace(run=Path("trial-00001"), state="done", loss=-1.5, settings=settings)
    search = SimpleNamespace(
        trials=(trial,), best=trial, ranked=[trial], importance={}, lines="", folder=Path("f")
    )
    show_runs.tuned(search, Path("a.yaml"))
    text = shown.file.getvalue()
    table = text[: text.index("also in")]
    assert max(map(len, table.splitlines())) <= shown.width
    for key in keys:
        assert key.partition(".")[2] in table
