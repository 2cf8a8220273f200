"""Numbers that torchrun and the scheduler leave in the environment."""

from __future__ import annotations

import os
import re

from sbiwb.errors import ConfigError

LONGEST_SHOWN = 60  # characters of a wrong value


def whole_number(name: str, default: int) -> int:
    """A number of processes, tasks or megabytes, at least 0.

    Args:
        name: Of the variable.
        default: Where it is unset or empty.

    Raises:
        ConfigError: It is set to something else.
    """
    text = os.environ.get(name) or str(default)
    if not re.fullmatch(r"\s*[0-9]{1,12}\s*", text):
        raise ConfigError(
            f"{name}={text[:LONGEST_SHOWN]} is not a whole number",
            where="the environment",
            todo=f"torchrun or the scheduler sets it; where neither runs, unset {name}.",
        )
    return int(text)
