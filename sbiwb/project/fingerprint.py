"""What decides a row or a network, as plain values and hashes, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sbiwb.files import sha256
from sbiwb.rundir import RunDir

Plain = dict[str, Any]  # what JSON can hold
Identity = Plain
MAX_SHOWN = 60  # letters of a value
HASH_LETTERS = 64


def differences(old: object, new: object, place: str = "") -> list[str]:
    """Keys on which two plain values differ.

    Example:
        >>> differences({"train": {"steps": 100, "seed": 0}}, {"train": {"steps": 200, "seed": 0}})
        ['train.steps: 100 -> 200']
    """
    if old == new:
        return []
    before, after = _ordered(old), _ordered(new)
    if before is not None and after is not None:
        changed = differences(before, after, place)
        return changed or [f"{place}: order {', '.join(before)} -> {', '.join(after)}"]
    if isinstance(old, dict) and isinstance(new, dict):
        return _differing_keys(old, new, place)
    if isinstance(old, str) and len(old) == HASH_LETTERS:
        return [f"{place} changed"]
    return [f"{place}: {_short(old)} -> {_short(new)}"]


def _differing_keys(old: Mapping[str, object], new: Mapping[str, object], place: str) -> list[str]:
    changed = []
    for key in dict.fromkeys([*old, *new]):
        below = str(key)
        if place:
            below = f"{place}.{key}"
        changed += differences(old.get(key), new.get(key), below)
    return changed


def _ordered(value: object) -> dict[str, object] | None:
    """A list of [name, options], a mapping whose order counts, as a dict; None of all else."""
    if not isinstance(value, list):
        return None
    mapping = {}
    for item in value:
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str):
            return None
        mapping[item[0]] = item[1]
    return mapping


def _short(value: object) -> str:
    text = str(value)
    if len(text) <= MAX_SHOWN:
        return text
    return text[: MAX_SHOWN - 3] + "..."


def weights_hash(run: RunDir) -> str:
    """sha256 of the best weights' file, which draws and samples remember."""
    return sha256(run.best.read_bytes())
