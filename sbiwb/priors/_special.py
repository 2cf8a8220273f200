"""`scipy.special`, imported at its first use.

Importing it takes half a second, which `--help` should not pay.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith(
        "__"
    ):  # asked by the import system and by doctest; no function of scipy.special
        raise AttributeError(name)
    import scipy.special

    return getattr(scipy.special, name)
