"""Quantities in words, as progress lines and tables say them."""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is readable.

    Example:
        >>> duration(200)
        '3 min'
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
