"""Out-of-distribution warnings of an input: data outside what training simulations had."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np


def missing_values(name: str, values: np.ndarray) -> Iterator[str]:
    """A sentence where values are missing that never were in training."""
    missing = int(np.isnan(values).sum())
    if missing:
        yield (
            f"{name}: {missing} of {values.size} values are missing, "
            "which never happened in the simulations"
        )


def values_outside(
    name: str, values: np.ndarray, low: Sequence[float], high: Sequence[float]
) -> Iterator[str]:
    """A sentence on each channel of values (rows, C) beyond its training range, low to high."""
    for channel, span in enumerate(zip(low, high, strict=True)):
        label = f"{name}[{channel}]"
        if len(low) == 1:
            label = name
        noun = "values lie outside the simulated range"
        yield from _outside(label, values[:, channel], span, noun)


def lengths_outside(name: str, lengths: np.ndarray, span: tuple[int, int]) -> Iterator[str]:
    """A sentence where data sets have fewer or more members or steps, (N,), than in training."""
    noun = "data sets have a length outside the simulated range"
    yield from _outside(name, lengths, span, noun)


def _outside(name: str, values: np.ndarray, span: tuple[float, float], noun: str) -> Iterator[str]:
    values = values[~np.isnan(values)]
    low, high = span
    worst, digits = [], _digits(low, high)
    if (values < low).any():
        worst.append(f"smallest {values.min():.{digits}g}")
    if (values > high).any():
        worst.append(f"largest {values.max():.{digits}g}")
    if worst:
        count = int(((values < low) | (values > high)).sum())
        yield (
            f"{name}: {count} of {values.size} {noun} "
            f"[{low:.{digits}g}, {high:.{digits}g}] ({', '.join(worst)})"
        )


def _digits(low: float, high: float) -> int:
    """Digits that tell a range's two ends apart, 6 at least.

    Example:
        >>> _digits(1126259462.399, 1126259462.401)
        15
    """
    largest, width = max(abs(low), abs(high)), high - low
    if not 0 < width < largest:
        return 6
    return min(17, max(6, 3 + math.ceil(math.log10(largest / width))))
