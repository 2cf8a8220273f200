"""`simulate --more`: how many further pairs are asked for."""

from __future__ import annotations

from sbiwb.errors import ConfigError
from sbiwb.rundir import SPLITS

WHERE = "sbiwb simulate --more"


def parse_more(asked: str) -> dict[str, int]:
    """Further pairs by split.

    Example:
        >>> parse_more("500"), parse_more("train=500,test=100")
        ({'train': 500}, {'train': 500, 'test': 100})

    Args:
        asked: `500`: training pairs; or `train=500,test=100`.

    Raises:
        ConfigError: It is neither.
    """
    if "=" not in asked:
        return {"train": _count(asked, asked)}
    counts: dict[str, int] = {}
    for part in asked.split(","):
        split, _, number = part.partition("=")
        split = split.strip()
        if split not in SPLITS or split in counts:
            raise _unreadable(asked)
        counts[split] = _count(number, asked)
    return counts


def _count(number: str, asked: str) -> int:
    digits = number.strip().replace("_", "")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 18 or int(digits) == 0:
        raise _unreadable(asked)
    return int(digits)


def _unreadable(asked: str) -> ConfigError:
    todo = "Write --more 500, or --more train=500,test=100."
    return ConfigError(f"cannot read '{asked}'", where=WHERE, todo=todo)
