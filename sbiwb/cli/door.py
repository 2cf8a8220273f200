"""The door of the command line: the app, where every failure becomes a message and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sbiwb import __version__
from sbiwb.errors import SbiwbError


class Verbs(TyperGroup):
    """The verbs behind one door, where every failure becomes a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (SbiwbError, KeyboardInterrupt, BrokenPipeError) as error:
            code = _told(error)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            code = _bug(error)
        raise typer.Exit(code)


def _told(error: BaseException) -> int:
    """Says what happened; 2 mendable, 3 gate, 75 stopped, 130 interrupted."""
    if isinstance(error, SbiwbError):
        from sbiwb.cli.console import show_error

        if os.environ.get("SBIWB_DEBUG"):
            traceback.print_exception(error)
        show_error(error)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    typer.echo(
        "Interrupted. What is finished is kept; run the same command again to continue.", err=True
    )
    return 130


def _bug(error: Exception) -> int:
    """Our own failure: its traceback goes to a file; 1. Mistakes in the command itself are typer's to tell."""
    if type(error).__module__.split(".")[0] in ("typer", "click"):
        raise error
    from sbiwb.cli.console import show_bug

    if os.environ.get("SBIWB_DEBUG"):
        traceback.print_exception(error)
    show_bug(error, Path())
    return 1


app = typer.Typer(
    name="sbiwb",
    cls=Verbs,
    help="Amortized simulation-based inference: from one YAML file to a posterior that can be trusted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sbiwb {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Say the version and end."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Amortized simulation-based inference: from one YAML file to a posterior that can be trusted."""
    if debug:
        os.environ["SBIWB_DEBUG"] = "1"
