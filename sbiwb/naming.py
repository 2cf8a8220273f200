"""Names that no variable of a problem may have: the files of a run could not hold them."""

from __future__ import annotations

import re

POSTERIOR_DIMENSIONS = ("chain", "draw", "data_set")
SEPARATOR = "/"  # of groups in HDF5 files
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


def unstorable_because(name: object) -> str | None:
    """The same of a name that a user's function returns, which may be anything.

    Example:
        >>> unstorable_because("a/b")
        "cannot be stored: the character '/' cannot stand in a name"
        >>> unstorable_because("")
        'cannot be stored under that name'
    """
    if not isinstance(name, str) or not name.strip(". "):
        return "cannot be stored under that name"
    if name.isidentifier():
        return reserved_because(name)
    for letter in name:
        if letter == SEPARATOR or not letter.isprintable():
            return f"cannot be stored: the character {letter!r} cannot stand in a name"
    return reserved_because(name)


def storable_name(name: object) -> str:
    """A name like this one that can be stored.

    Example:
        >>> storable_name("a/b"), storable_name("chain"), storable_name("..")
        ('a_b', 'chain_1', 'name_1')
    """
    letters = []
    for letter in str(name).strip(". "):
        is_fine = letter != SEPARATOR and letter.isprintable()
        letters.append(letter if is_fine else "_")
    near = "".join(letters) or "name_1"
    if unstorable_because(near) is not None:
        near += "_1"
    return near
