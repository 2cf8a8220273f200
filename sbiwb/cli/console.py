"""What the command line shows: progress, tables, errors. The only room that prints."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from rich.console import Group

from sbiwb.errors import ConfigErrors, SbiwbError
from sbiwb.words import duration

WIDE = 160  # columns where there is no terminal: nothing is cut in a log file


class PipeConsole(Console):
    """A console that ends quietly when nobody reads on, as after `| head`."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise SystemExit(128 + signal.SIGPIPE)


out = PipeConsole(
    highlight=False, soft_wrap=True, width=None if sys.stdout and sys.stdout.isatty() else WIDE
)
err = PipeConsole(
    stderr=True,
    highlight=False,
    soft_wrap=True,
    width=None if sys.stderr and sys.stderr.isatty() else WIDE,
)
PLAIN_EVERY_S = 10.0


class ConsoleReporter:
    """Shows progress as bars on a terminal, and as plain lines elsewhere."""

    def say(self, text: str) -> None:
        err.print(escape(text))

    def warn(self, text: str) -> None:
        err.print(f"[yellow]warning[/]  {escape(text)}")

    @contextmanager
    def task(self, name: str, total: int, *, unit: str, done: int = 0) -> Iterator[Bar | Lines]:
        if not err.is_terminal:
            lines = Lines(name, total, unit, done)
            yield lines
            lines.end()
            return
        bar = Bar(name, total, unit, done)
        with bar.progress:
            yield bar


INLINE = 2  # facts that fit behind the bar; more go into a table below it


class Bar:
    """A rich progress bar, with a table of the latest numbers below it where there are many."""

    def __init__(self, name: str, total: int, unit: str, done: int) -> None:
        from rich import progress as p
        from rich.live import Live

        columns = [
            p.TextColumn("{task.description:9}"),
            p.BarColumn(),
            p.MofNCompleteColumn(),
            p.TextColumn(unit),
        ]
        timing = [
            p.TextColumn("{task.fields[rate]}"),
            p.TimeElapsedColumn(),
            p.TextColumn("left"),
            p.TimeRemainingColumn(),
        ]
        self.bar = p.Progress(*columns, *timing, p.TextColumn("{task.fields[facts]}"), console=err)
        self.task = self.bar.add_task(name, total=total, completed=done, facts="", rate="")
        self.done, self.start = 0, time.monotonic()
        self.facts: dict[str, object] = {}
        self.progress = Live(console=err, refresh_per_second=5, get_renderable=self._both)

    def advance(self, n: int = 1, **facts: object) -> None:
        self.done += n
        self.facts = facts or self.facts
        rate = f"{self.done / max(1e-9, time.monotonic() - self.start):,.0f}/s"
        inline = _facts(self.facts) if len(self.facts) <= INLINE else ""
        self.bar.update(self.task, advance=n, rate=rate, facts=inline)

    def _both(self) -> Group:
        from rich.console import Group
        from rich.table import Table

        if len(self.facts) <= INLINE:
            return Group(self.bar)
        table = Table(*self.facts, box=None, padding=(0, 2), header_style="dim")
        table.add_row(*map(str, self.facts.values()))
        return Group(self.bar, table)


class Lines:
    """A plain line every ten seconds."""

    def __init__(self, name: str, total: int, unit: str, done: int) -> None:
        self.name, self.total, self.unit, self.done, self.facts = name, total, unit, done, ""
        self.begun = done
        self.start = self.said = time.monotonic()

    def advance(self, n: int = 1, **facts: object) -> None:
        self.done += n
        self.facts = _facts(facts) if facts else self.facts
        if time.monotonic() - self.said > PLAIN_EVERY_S:
            self.said = time.monotonic()
            self._say()

    def end(self) -> None:
        self._say()

    def _say(self) -> None:
        spent = time.monotonic() - self.start
        left = spent * (self.total - self.done) / max(1, self.done - self.begun)
        times = (
            f"{duration(spent)}, {duration(left)} left"
            if self.done < self.total
            else duration(spent)
        )
        err.print(
            escape(
                f"{self.name}  {self.done:,} of {self.total:,} {self.unit}, {times}  {self.facts}".rstrip()
            )
        )


def _facts(facts: dict[str, object]) -> str:
    return "  ".join(f"{name} {value}" for name, value in facts.items())


def show_error(error: SbiwbError) -> None:
    """What was wrong, where, and what to do."""
    for one in error.problems if isinstance(error, ConfigErrors) else [error]:
        head = f"[bold]{escape(one.where)}[/]  " if one.where else ""
        err.print(f"[red]error[/]  {head}{escape(one.what)}")
        if one.todo:
            err.print(f"       [dim]{escape(one.todo)}[/]")


def show_bug(error: BaseException, folder: Path) -> None:
    """Our own failure: the traceback goes to a file."""
    import traceback

    path = folder / f"sbiwb-traceback-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    text = "".join([f"{' '.join(sys.argv)}\n", *traceback.format_exception(error)])
    try:
        path.write_text(text, encoding="utf-8")
        err.print(
            f"[red]bug[/]  {escape(type(error).__name__)}: {escape(str(error))}\n       The traceback is in {path}; please report it."
        )
    except OSError:
        err.print(escape(text))


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}g}"
