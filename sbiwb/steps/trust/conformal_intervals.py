"""Conformal intervals of real data, and where they stand in the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sbiwb.report import Row


@dataclass(frozen=True)
class ConformalIntervals:
    """Of the data sets of one observation.

    Args:
        intervals: 90 % intervals of each column, (N, D, 2), within the prior's support; NaN of
            columns with levels and of angles.
        region: Share of the draws inside the 90 % region of highest density, (N,); NaN where the
            posterior has no density.
    """

    intervals: np.ndarray
    region: np.ndarray


def with_conformal(
    rows: Sequence[Row],
    labels: Sequence[str],
    columns: Sequence[str],
    conformal: ConformalIntervals | None,
) -> list[Row]:
    """The rows of the table, those of theta's columns with their conformal interval."""
    if conformal is None:
        return list(rows)
    places = {label: place for place, label in enumerate(labels)}
    numbers = {name: number for number, name in enumerate(columns)}
    result = []
    for row in rows:
        if row.name in numbers:
            low, high = conformal.intervals[places[row.data_set], numbers[row.name]].tolist()
            if not np.isnan(low):
                row = replace(row, conformal=(low, high))
        result.append(row)
    return result


def regions_of(labels: Sequence[str], conformal: ConformalIntervals | None) -> dict[str, float]:
    """Share of the draws in the 90 % region of highest density, by data set; none where unknown."""
    if conformal is None:
        return {}
    regions = zip(labels, conformal.region.tolist(), strict=True)
    return {label: share for label, share in regions if not np.isnan(share)}
