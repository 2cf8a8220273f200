"""Names that no variable of a problem may have: the format of the posterior file uses them."""

from __future__ import annotations

import re

POSTERIOR_DIMENSIONS = ("chain", "draw", "data_set")
_INNER_DIMENSION = re.compile(r".+_dim_[0-9]+")


def reserved_because(name: str) -> str | None:
    """Why no parameter, context variable, observable or derived quantity can have this name; None
    where one can.

    Example:
        >>> reserved_because("rate") is None
        True
        >>> reserved_because("chain")
        'is the name of a dimension of the posterior file (netCDF)'
    """
    if name in POSTERIOR_DIMENSIONS or _INNER_DIMENSION.fullmatch(name):
        return "is the name of a dimension of the posterior file (netCDF)"
    return None
