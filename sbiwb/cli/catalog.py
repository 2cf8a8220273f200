"""The verbs that explain: init writes a project to start from; guide shows chapters; parts and
schema say what can stand in the YAML.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    name: Annotated[str, typer.Argument(help="Name of the project: letters, digits, underscores.")],
) -> None:
    """Write a small project that runs: simulator, YAML and data, to change into your own."""
    from sbiwb.cli import show
    from sbiwb.workflow import init

    show.written(init.init(name, Path()))
    show.next_step(f"sbiwb run {name}.yaml")


def guide(
    topic: Annotated[
        str, typer.Argument(help="A chapter, such as simulators; the list of all without it.")
    ] = "",
    plain: Annotated[
        bool,
        typer.Option("--plain", help="The Markdown as it is, as a file or pipe gets it anyway."),
    ] = False,
) -> None:
    """Read a short chapter on simulators, verdicts, likelihoods, clusters, ...; without a topic,
    list them.
    """
    from sbiwb.cli import show_guide
    from sbiwb.workflow import guide

    if topic:
        show_guide.chapter(guide.chapter_on(topic), plain=plain)
    else:
        show_guide.contents(guide.chapters())


def parts(
    family: Annotated[
        str,
        typer.Argument(
            help="priors, transforms, summary, inference, diagnostics, references, executors, ...; "
            "all without it."
        ),
    ] = "",
    kind: Annotated[str, typer.Argument(help="One part of it.")] = "",
) -> None:
    """List what can be named in the YAML, with options and defaults."""
    from sbiwb.cli import show_runs
    from sbiwb.workflow import parts

    for name, infos in parts.parts(family, kind).items():
        show_runs.parts(name, infos, full=bool(family))


def schema(
    output: Annotated[
        Path | None, typer.Argument(help="File to write; standard output without it.")
    ] = None,
) -> None:
    """Write the JSON Schema of the YAML, for completion and checking in editors."""
    from sbiwb.workflow import schema

    text = schema.schema(output)
    if output is None:
        typer.echo(text, nl=False)
