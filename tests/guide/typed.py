"""Commands that a page shows, held against the real command line: read by it, never run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from sbiwb.cli.app import app
from sbiwb.config import BenchmarkConfig
from sbiwb.config.loading import parse
from sbiwb.document import Document, read
from sbiwb.executors import STEPS
from sbiwb.steps.tune.space import check_space, parse_space
from sbiwb.workflow.guide import chapter_on
from sbiwb.workflow.parts import parts
from sbiwb.workflow.reference_options import method_of
from tests.guide.texts import REPOSITORY
from tests.tiny import CONFIG

GROUP: Any = typer.main.get_command(app)
STAND_INS = {"INDEX": "0", "COUNT": "4", "N": "1000"}
OPTIONS = {
    option
    for command in (GROUP, *GROUP.commands.values())
    for parameter in command.params
    for option in (*parameter.opts, *parameter.secondary_opts)
}


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """What the command line makes of the words behind `sbiwb`.

    Raises:
        AssertionError: With what it says of mistakes.
    """
    verb, *rest = [STAND_INS.get(word, word) for word in arguments]
    assert verb in GROUP.commands, f"no verb {verb}"
    try:
        context = GROUP.commands[verb].make_context(verb, rest)
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("click", "typer"):  # the one or the other
            raise AssertionError(str(error)) from error
        raise
    return {"verb": verb, **context.params}


def check_typed(arguments: Sequence[str]) -> None:
    """Refuses a command that would fail for what it says: words, keys, kinds, files of ours."""
    options = parsed(arguments)
    verb = options["verb"]
    for word in arguments:
        assert not word.startswith("configs/") or (REPOSITORY / word).is_file(), word
    check_settings(options.get("settings", ()), is_benchmark=verb == "benchmark")
    if verb == "tune":
        check_space(minimal(), parse_space(options["vary"]), Path())
    if verb == "reference":
        method_of(options["method"], options["option"])
    if verb == "submit":
        assert options["what"] in (*STEPS, "all")
    if verb == "parts":
        assert parts(options["family"], options["kind"])
    if verb == "guide" and options["topic"] != "TOPIC":
        chapter_on(options["topic"])


def check_settings(settings: Sequence[str], *, is_benchmark: bool = False) -> None:
    if is_benchmark:
        document = read(REPOSITORY / "configs" / "benchmark.yaml")
        document.override(settings)
        parse(document, BenchmarkConfig)
    else:
        minimal(settings)


def minimal(settings: Sequence[str] = ()):
    document = Document(Path("a.yaml"), copy.deepcopy(CONFIG))
    document.override(settings)
    return parse(document)
