"""Sizes with which no inference network can work."""

from __future__ import annotations

from collections.abc import Sequence

from sbiwb.errors import ConfigError


def require_context(context: int) -> None:
    """Refuses H = 0 features.

    Raises:
        ConfigError: There is none.
    """
    if context < 1:
        raise ConfigError(
            "an inference network needs at least one feature",
            where="inference",
            todo="Use at least one input.",
        )


def require_width(hidden: Sequence[int], groups: int) -> None:
    """Refuses a masked layer narrower than its groups of columns: it would drop dependences without
    a word.

    Raises:
        ConfigError: One is.
    """
    if min(hidden) < groups:
        what = f"a hidden layer of width {min(hidden)} cannot hold {groups} columns of theta apart"
        raise ConfigError(
            what, where="inference.hidden", todo=f"Use at least {groups}; 64 or more is usual."
        )
