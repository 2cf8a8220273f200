"""Where the command line prints: results on standard output; progress, warnings and errors on
standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.markup import escape

from sbiwb.cli.progress import Bar, Lines
from sbiwb.errors import ConfigErrors, SbiwbError

WIDE = 160  # columns where there is no terminal: nothing is cut in a log file


class PipeConsole(Console):
    """A console that ends quietly when nobody reads on, as after `| head`."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise SystemExit(128 + signal.SIGPIPE)


def _console(stream: TextIO | None, *, stderr: bool = False) -> PipeConsole:
    """As wide as the terminal, or as COLUMNS says."""
    is_terminal = stream is not None and stream.isatty()
    is_told = os.environ.get("COLUMNS", "").isdecimal()
    width = None if is_terminal or is_told else WIDE
    return PipeConsole(highlight=False, soft_wrap=True, stderr=stderr, width=width)


out = _console(sys.stdout)
err = _console(sys.stderr, stderr=True)


class ConsoleReporter:
    """Shows progress as bars on a terminal, and as plain lines elsewhere."""

    def say(self, text: str) -> None:
        err.print(escape(text))

    def warn(self, text: str) -> None:
        err.print(f"[yellow]warning[/]  {escape(text)}")

    @contextmanager
    def task(self, name: str, total: int, *, unit: str, done: int = 0) -> Iterator[Bar | Lines]:
        if not err.is_terminal:
            lines = Lines(name, total, unit, done, err)
            yield lines
            lines.end()
            return
        bar = Bar(name, total, unit, done, err)
        with bar.display:
            yield bar


def show_error(error: SbiwbError, console: Console) -> None:
    """What was wrong, where, and what to do."""
    if isinstance(error, ConfigErrors):
        for problem in error.problems:
            _show_problem(problem, console)
    else:
        _show_problem(error, console)


def _show_problem(problem: SbiwbError, console: Console) -> None:
    head = "[red]error[/]  "
    if problem.where:
        head += f"[bold]{escape(problem.where)}[/]  "
    console.print(f"{head}{escape(problem.what)}")
    if problem.todo:
        console.print(f"       [dim]{escape(problem.todo)}[/]")


def show_bug(error: BaseException, folder: Path) -> None:
    """Our own failure: the traceback goes to a file."""
    path = folder / f"sbiwb-traceback-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    text = "".join([f"{' '.join(sys.argv)}\n", *traceback.format_exception(error)])
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError:
        err.print(escape(text))
        return
    err.print(f"[red]bug[/]  {escape(type(error).__name__)}: {escape(str(error))}")
    err.print(f"       The traceback is in {escape(str(path))}; please report it.")


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; – where there is none."""
    return "–" if value is None else f"{value:.{digits}g}"
