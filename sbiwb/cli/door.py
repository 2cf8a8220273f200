"""The door of the command line: the app, where every failure becomes a message and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from sbiwb import __version__
from sbiwb.errors import ConfigError, DiskError, SbiwbError

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS}


class Verbs(TyperGroup):
    """The verbs behind one door."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a verb.

        Raises:
            typer.Exit: With 0, 2 mendable, 3 gate, 75 stopped, 130 interrupted, or 1 our own bug.
        """
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            code = exit_code(error)
        raise typer.Exit(code)


def exit_code(error: BaseException) -> int:
    """Says what happened; mistakes in the command itself are typer's to tell, and rise."""
    if os.environ.get("SBIWB_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        _silence(sys.stdout)
        return 128 + signal.SIGPIPE
    if isinstance(error, KeyboardInterrupt):
        typer.echo(
            "Interrupted. What is finished is kept; run the same command again to continue.",
            err=True,
        )
        return 130
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        error = DiskError.of(error, error.filename or "standard output")
    if isinstance(error, SbiwbError):
        return _mendable(error)
    if type(error).__module__.split(".")[0] in ("typer", "click"):
        raise error
    return _bug(error)


def _mendable(error: SbiwbError) -> int:
    from sbiwb.cli.console import err, out, show_error

    try:
        show_error(error, err)
    except OSError:  # standard error is on the full device itself
        _silence(sys.stderr)
        show_error(error, out)
    return error.exit_code


def _bug(error: BaseException) -> int:
    from sbiwb.cli.console import show_bug

    show_bug(error, Path())
    return 1


def _silence(stream: TextIO | None) -> None:
    """Drops what is still to be written: the interpreter would fail to flush it at the end."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


app = typer.Typer(
    name="sbiwb",
    cls=Verbs,
    help="Amortized simulation-based inference: "
    "from one YAML file to a posterior that can be trusted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"sbiwb {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Say the version and end."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Amortized simulation-based inference: from a YAML file to a posterior one can trust."""
    if debug:
        os.environ["SBIWB_DEBUG"] = "1"


def serve(app: typer.Typer) -> None:
    """Runs the app in this process, whatever its arguments and streams are; ends with the exit
    code.
    """
    # before torch: threads that wait by spinning stop a busy machine
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ["MPLBACKEND"] = "agg"  # before matplotlib: pictures go to files
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal cannot show is written as an escape
            stream.reconfigure(errors="backslashreplace")
    code = _run(app)
    for stream in (sys.stdout, sys.stderr):
        code = _flushed(stream, code)
    raise SystemExit(code)


def _run(app: typer.Typer) -> int:
    try:
        _check_texts()
        app()
    except SystemExit as end:
        return int(end.code or 0)
    except (OSError, SbiwbError) as error:
        return exit_code(error)
    return 0


def _check_texts() -> None:
    """Paths end up in files that are UTF-8.

    Raises:
        ConfigError: An argument or the folder is not UTF-8.
    """
    texts = {text: "the command line" for text in sys.argv[1:]}
    texts[os.environ.get("SBIWB_RUNS", "")] = "environment variable SBIWB_RUNS"
    texts[_folder()] = "the folder this runs in"
    for text, where in texts.items():
        try:
            os.fsencode(text).decode()  # its bytes, whatever the locale is
        except UnicodeDecodeError as error:
            todo = "Rename the file or folder."
            raise ConfigError(f"{text!r} is not UTF-8", where=where, todo=todo) from error


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise ConfigError(
            "does not exist any more", where="the folder this runs in", todo="Go to another one."
        ) from error


def _flushed(stream: TextIO | None, code: int) -> int:
    """The exit code, after everything is written; 2 where that failed."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        _silence(stream)
        return code or 2
    return code
