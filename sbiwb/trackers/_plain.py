"""Configs as trackers show them: one level of dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def dotted(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf; a list is a leaf.

    Example:
        >>> dict(dotted({"train": {"steps": 5}}))
        {'train.steps': 5}
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
