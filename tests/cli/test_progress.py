"""Progress: rates and times left of tasks as fast as any and as slow as a row in minutes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sbiwb.cli import progress
from sbiwb.cli.progress import Bar, Lines, TaskPace


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

        def wait(self, seconds: float) -> None:
            self.now += seconds

    one = Clock()
    monkeypatch.setattr(progress, "time", one)
    return one


def console(width: int = 160, *, is_terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=is_terminal, soft_wrap=True)


@pytest.mark.parametrize(
    ("units", "seconds", "rate"),
    [(5000, 10, "500/s"), (10, 10, "1/s"), (10, 60, "10/min"), (2, 120, "1/min"), (1, 1800, "2/h")],
)
def test_a_rate_is_told_in_the_unit_that_makes_it_a_number(clock, units, seconds, rate):
    pace = TaskPace(10_000, 0)
    assert (pace.rate, pace.left) == ("", "")
    clock.wait(seconds)
    pace.advance(units)
    assert pace.rate == rate


def test_the_time_left_is_by_all_that_is_done_and_counts_down_between_two_steps(clock):
    pace = TaskPace(total=40, done=20)  # 20 of an earlier process
    clock.wait(300)
    pace.advance(5)
    assert (pace.rate, pace.left) == ("1/min", "15 min left")
    clock.wait(360)
    assert (pace.rate, pace.left) == ("1/min", "9 min left")
    clock.wait(100_000)
    assert pace.left == "1 s left"
    pace.advance(15)
    assert pace.left == ""


def test_a_task_that_slows_down_has_its_time_left_estimated_anew(clock):
    """A batch in which one row is bad: its halves, and theirs, are called one after another."""
    pace = TaskPace(total=1_000, done=0)
    clock.wait(8)
    pace.advance(200)
    assert pace.left == "32 s left"
    clock.wait(92)
    pace.advance(50)
    assert (pace.rate, pace.left) == ("2/s", "5 min left")


def test_a_slow_task_tells_its_pace_on_every_line(clock):
    shown = console()
    lines = Lines("simulate", 40, "simulations", 0, shown)
    for _ in range(2):
        clock.wait(120)
        lines.advance(4, failed=1)
    clock.wait(1)
    lines.end()
    assert shown.file.getvalue().splitlines() == [
        "simulate  4 of 40 simulations, 2/min, 2 min, 18 min left  failed 1",
        "simulate  8 of 40 simulations, 2/min, 4 min, 16 min left  failed 1",
        "simulate  8 of 40 simulations, 2/min, 4 min, 16 min left  failed 1",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_bar_and_its_numbers_fit_the_terminal(clock, width):
    shown = console(width, is_terminal=True)
    bar = Bar("train", 20_000, "steps", 0, shown)
    clock.wait(240)
    bar.advance(200, loss=-1.2345, validation=-1.2, gradient=0.5, rate=1e-3, memory="1.2 GB")
    text = "\n".join(shown.render_str(str(line)).plain for line in _rendered(shown, bar))
    assert "200/20000" in text and "50/min" in text and "6.6 h left" in text
    for word in ("loss", "validation", "gradient", "memory", "-1.2345", "1.2 GB"):
        assert word in text
    assert max(map(len, text.splitlines())) <= width


def _rendered(console: Console, bar: Bar) -> list[str]:
    lines = console.render_lines(bar._shown(), pad=False)
    return ["".join(segment.text for segment in line) for line in lines]
