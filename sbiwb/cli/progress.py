"""Progress of a task: a bar with its latest numbers on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.markup import escape

from sbiwb.cli.fitted_tables import fitted_tables
from sbiwb.words import duration

if TYPE_CHECKING:
    from rich.console import Console, Group

PLAIN_EVERY_S = 10.0
MAX_INLINE_FACTS = 2  # that fit behind the bar; more go into a table below it
MIN_INLINE_COLUMNS = 110  # of a terminal whose lines have room for facts
MIN_BAR, MAX_BAR = 4, 40  # columns
OTHER_COLUMNS = 64  # of a bar's line: name, counts, rate and times


@dataclass
class TaskPace:
    """How fast a task goes, by all that is done since it began: a slow one may rest for minutes
    between two steps.

    Args:
        total: Units in all.
        done: Units done.
        begun_at: Units done before this process began.
        start: When it began, seconds.
        moved: When the last unit was done, seconds.
    """

    total: int
    done: int
    begun_at: int = field(init=False)
    start: float = field(init=False)
    moved: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun_at = self.done
        self.start = self.moved = time.monotonic()

    def advance(self, n: int) -> None:
        """Further units are done."""
        self.done += n
        self.moved = time.monotonic()

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self.start

    @property
    def per_s(self) -> float:
        """Units a second; 0 before the first is done."""
        return (self.done - self.begun_at) / max(1e-9, self.moved - self.start)

    @property
    def rate(self) -> str:
        """Units a second, minute or hour, whichever is at least one; empty before the first is
        done.
        """
        if self.done == self.begun_at:
            return ""
        for seconds, name in ((1, "s"), (60, "min")):
            if self.per_s * seconds >= 1:
                return f"{self.per_s * seconds:,.0f}/{name}"
        return f"{self.per_s * 3600:.2g}/h"

    @property
    def left(self) -> str:
        """The time left in words; empty before the first unit is done, and at the end."""
        if self.done == self.begun_at or self.done >= self.total:
            return ""
        seconds = (self.total - self.done) / self.per_s - (time.monotonic() - self.moved)
        return f"{duration(max(1.0, seconds))} left"


class Bar:
    """A rich progress bar, with a table of the latest numbers below it where there are many."""

    def __init__(self, name: str, total: int, unit: str, done: int, console: Console) -> None:
        from rich import progress
        from rich.live import Live

        self.console = console
        self.pace = TaskPace(total, done)
        self.facts: Mapping[str, object] = {}
        self.bar = progress.Progress(
            progress.TextColumn("{task.description:9}"),
            progress.BarColumn(max(MIN_BAR, min(MAX_BAR, console.width - OTHER_COLUMNS))),
            progress.MofNCompleteColumn(),
            progress.TextColumn(unit),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[left]}"),
            progress.TextColumn("{task.fields[facts]}"),
            console=console,
        )
        self.task = self.bar.add_task(name, total=total, completed=done, facts="", rate="", left="")
        self.display = Live(console=console, refresh_per_second=5, get_renderable=self._shown)

    def advance(self, n: int = 1, **facts: object) -> None:
        """Units are done, and these are the latest numbers."""
        self.pace.advance(n)
        self.facts = facts or self.facts
        self.bar.update(self.task, advance=n)

    @property
    def _are_inline(self) -> bool:
        is_wide = self.console.width >= MIN_INLINE_COLUMNS
        return len(self.facts) <= MAX_INLINE_FACTS and is_wide

    def _shown(self) -> Group:
        from rich.console import Group

        inline = ""
        if self._are_inline:
            inline = _words(self.facts)
        self.bar.update(self.task, rate=self.pace.rate, left=self.pace.left, facts=inline)
        if self._are_inline or not self.facts:
            return Group(self.bar)
        cells = [escape(str(value)) for value in self.facts.values()]
        tables = fitted_tables(
            list(self.facts), [cells], width=self.console.width, names=0, header_style="dim"
        )
        return Group(self.bar, *tables)


class Lines:
    """A plain line every ten seconds."""

    def __init__(self, name: str, total: int, unit: str, done: int, console: Console) -> None:
        self.name, self.unit, self.console = name, unit, console
        self.pace = TaskPace(total, done)
        self.facts = ""
        self.last_line = self.pace.start

    def advance(self, n: int = 1, **facts: object) -> None:
        """Units are done, and these are the latest numbers."""
        self.pace.advance(n)
        if facts:
            self.facts = _words(facts)
        if time.monotonic() - self.last_line > PLAIN_EVERY_S:
            self.last_line = time.monotonic()
            self._print()

    def end(self) -> None:
        """The last line."""
        self._print()

    def _print(self) -> None:
        pace = self.pace
        times = (pace.rate, duration(pace.spent_s), pace.left)
        words = ", ".join(word for word in times if word)
        done = f"{self.name}  {pace.done:,} of {pace.total:,} {self.unit}"
        self.console.print(escape(f"{done}, {words}  {self.facts}".rstrip()))


def _words(facts: Mapping[str, object]) -> str:
    return "  ".join(f"{name} {value}" for name, value in facts.items())
