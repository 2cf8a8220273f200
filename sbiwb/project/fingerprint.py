"""What decides a row or a network, as plain values and hashes, and how two of them differ."""

from __future__ import annotations

from typing import Any

from sbiwb.files import sha256
from sbiwb.rundir import RunDir

Plain = dict[str, Any]  # what JSON can hold
Identity = Plain


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Keys on which two plain values differ, as `train.steps: 100 -> 200`."""
    if old != new and _is_ordered(old) and _is_ordered(new):
        changed = differences(dict(old), dict(new), place)
        return changed or [f"{place}: order {', '.join(dict(old))} -> {', '.join(dict(new))}"]
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in differences(
                old.get(key), new.get(key), f"{place}.{key}" if place else str(key)
            )
        ]
    if old == new:
        return []
    if isinstance(old, str) and len(old) == 64:
        return [f"{place} changed"]
    return [f"{place}: {_short(old)} -> {_short(new)}"]


def _is_ordered(value: Any) -> bool:
    """Whether this is a list of [name, options], a mapping whose order counts."""
    return isinstance(value, list) and all(
        isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) for one in value
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def weights_hash(run: RunDir) -> str:
    """sha256 of the best weights' file, which draws and samples remember."""
    return sha256(run.best.read_bytes())
