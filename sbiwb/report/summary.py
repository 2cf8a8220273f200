"""Summary of draws: one row a quantity and data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LEVELS = {"q2.5": 2.5, "q5": 5.0, "q25": 25.0, "median": 50.0, "q75": 75.0, "q95": 95.0, "q97.5": 97.5}


@dataclass(frozen=True)
class Row:
    """Posterior of one quantity for one data set.

    Args:
        data_set: Its label.
        name: Parameter column or derived quantity.
        mean: Mean of the draws.
        sd: Standard deviation, ddof 1.
        quantiles: By name: q2.5, q5, q25, median, q75, q95, q97.5.
    """

    data_set: str
    name: str
    mean: float
    sd: float
    quantiles: dict[str, float]


def summarise(label: str, draws: Mapping[str, np.ndarray]) -> list[Row]:
    """Rows for one data set.

    Args:
        label: Of the data set.
        draws: Draws (S,) of each quantity.
    """
    return [_row(label, name, values) for name, values in draws.items()]


def _row(label: str, name: str, values: np.ndarray) -> Row:
    quantiles = np.percentile(values, list(LEVELS.values()))
    return Row(label, name, float(values.mean()), float(values.std(ddof=1)), dict(zip(LEVELS, quantiles.tolist(), strict=True)))
