"""One channel for each category: 1 at the category that occurred, 0 elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sbiwb.contracts import Measured, TransformPart
from sbiwb.errors import DataError

MAX_CATEGORIES = 1000
MAX_SHOWN = 10
Count = Annotated[int, Field(ge=2, le=MAX_CATEGORIES)]
Levels = Annotated[list[float], Field(min_length=2, max_length=MAX_CATEGORIES)]


@dataclass(frozen=True)
class OneHot:
    """Each channel c of (rows, C) becomes as many channels as it has levels.

    Args:
        levels: The categories of each channel, C arrays in ascending order.
    """

    levels: tuple[np.ndarray, ...]

    def forward(self, values: np.ndarray) -> np.ndarray:
        channels = zip(values.T, self.levels, strict=True)
        return np.concatenate([_one_hot(column, levels) for column, levels in channels], axis=1)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        borders = np.cumsum(list(map(len, self.levels)))[:-1]
        columns = []
        for block, levels in zip(np.split(values, borders, axis=1), self.levels, strict=True):
            columns.append(np.where(np.isnan(block[:, 0]), np.nan, levels[block.argmax(1)]))
        return np.stack(columns, axis=1)


def _one_hot(column: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(rows,) to (rows, K): 1 at the level of each value, NaN where it is missing."""
    at = np.minimum(np.searchsorted(levels, column), len(levels) - 1)
    missing = np.isnan(column)
    unknown = column[(levels[at] != column) & ~missing]
    if unknown.size:
        raise DataError(
            f"unknown category {unknown[0]:g} ({unknown.size} of {column.size} values)",
            todo=f"Known categories: {_listed(levels)}. "
            "List them all under 'categories' if more can occur.",
        )
    return np.where(missing[:, None], np.nan, np.eye(len(levels))[at])


def _listed(levels: np.ndarray) -> str:
    """The first levels, for messages."""
    words = [f"{level:g}" for level in levels[:MAX_SHOWN]]
    if len(levels) > MAX_SHOWN:
        words.append("...")
    return ", ".join(words)


class Config(TransformPart):
    """Which categories there are."""

    categories: Count | Levels | None = Field(
        None,
        description="Number k of categories 0 to k-1, or the list of all, or null to learn them "
        "from the training data.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if isinstance(self.categories, list) and len(set(self.categories)) < len(self.categories):
            raise PydanticCustomError(
                "twice", "'categories' names one category twice: name each once"
            )
        return self

    def measure(self, values: np.ndarray) -> Measured:
        return {"levels": [self._levels(column).tolist() for column in values.T]}

    def _levels(self, column: np.ndarray) -> np.ndarray:
        if isinstance(self.categories, list):
            return np.sort(np.asarray(self.categories, np.float64))
        levels = np.unique(column[~np.isnan(column)])
        if self.categories is not None:
            levels = np.arange(self.categories, dtype=np.float64)
        if len(levels) > MAX_CATEGORIES:
            raise DataError(
                f"{len(levels)} different values are too many for one_hot",
                todo="Is this a continuous variable?",
            )
        return levels

    def build(self, measured: Measured) -> OneHot:
        return OneHot(tuple(np.asarray(levels, np.float64) for levels in measured["levels"]))
