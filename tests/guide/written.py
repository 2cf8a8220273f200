"""YAML that a page shows, held against the config's models: whole, or merged into a small one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sbiwb.config.loading import parse
from sbiwb.config.model import RunConfig
from sbiwb.document import Document, read
from tests.tiny import CONFIG, merged

SECTIONS = tuple(RunConfig.model_fields)
HOMES = {  # of keys that the text names without their section
    **dict.fromkeys(SECTIONS, ()),
    **dict.fromkeys(("simulator", "batched"), ("problem",)),
    **dict.fromkeys(("inputs", "theta", "uncertainty", "inference"), ("model",)),
    **dict.fromkeys(("passes", "temperature", "linear"), ("model", "inference")),
    "summary": ("model", "inputs", "y"),
    "equivariant": ("model", "inputs", "y", "summary"),
    "include_params": ("model", "uncertainty"),
    "kind": ("problem", "parameters", "mu"),
    "by": ("diagnose",),
    "executor": ("machine",),
}
KINDS = {"equivariant": "deepset", "include_params": "bayesian"}  # of what has the key
SPAN = re.compile(r"([a-z_]+(?:\.[a-z_]+)*): \S")
COMMENTED = re.compile(r"( *)# ((\w+): .*)")


def config_of(text: str, folder: Path) -> RunConfig:
    """The config of a block.

    Raises:
        ConfigErrors: It has a key or a value that no config has.
    """
    path = folder / "shown.yaml"
    path.write_text(text)
    document = read(path)
    if not {"name", "problem"} <= document.data.keys():
        document = Document(path, merged(CONFIG, document.data))
    return parse(document)


def versions(text: str) -> Iterator[str]:
    """A block as it stands, and with each line that is commented out in the place of its like."""
    yield text
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if match := COMMENTED.fullmatch(line):
            indent, said, key = match.groups()
            others = [
                other
                for place, other in enumerate(lines)
                if place == number or not re.match(rf"{indent}{key}:", other)
            ]
            yield "\n".join(indent + said if other is line else other for other in others)


def document_of(span: str) -> str | None:
    """A key with its value, named in the text, as a block; None where it is no YAML of ours."""
    match = SPAN.match(span)
    if match is None:
        return None
    *named, key = match[1].split(".")
    root = named[0] if named else key
    if root not in HOMES:
        return None
    home = [*HOMES[root], *named]
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(home)]
    indent = "  " * len(home)
    if key in KINDS:
        lines.append(f"{indent}kind: {KINDS[key]}")
    if home[-1:] == ["y"]:
        lines.append(f"{indent}as: set")
    return "\n".join([*lines, indent + span[len(match[1]) - len(key) :]])
