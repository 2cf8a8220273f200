"""Quantities in words, as progress lines and tables say them."""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is readable.

    Example:
        >>> duration(200)
        '3 min'
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def counted(count: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "data set"), counted(2000, "shard")
        ('1 data set', '2,000 shards')
    """
    plural = "" if count == 1 else "s"
    return f"{count:,} {noun}{plural}"
