"""Rows of a shard, put into place block by block.

So they are held once, and not a second time while they are joined.
"""

from __future__ import annotations

import numpy as np

from sbiwb.records import Pairs, Ragged, Variable, join
from sbiwb.store.arrays import GROUPS, groups_of


class RowBuffer:
    """Pairs end to end, of a number of rows that is known before the first of them.

    Args:
        count: Rows in all.

    Example:
        >>> rows = RowBuffer(2)
        >>> for value in (1.0, 2.0):
        ...     rows.add(Pairs({"a": np.array([value])}, {}, {}))
        >>> rows.pairs().theta["a"]
        array([1., 2.])
    """

    def __init__(self, count: int) -> None:
        self.count, self.done = count, 0
        self._held: dict[tuple[str, str], np.ndarray | list[Variable]] = {}

    def add(self, pairs: Pairs) -> None:
        """The next rows."""
        for group, columns in groups_of(pairs).items():
            for name, variable in columns.items():
                self._add((group, name), variable)
        self.done += len(pairs)

    def _add(self, key: tuple[str, str], variable: Variable) -> None:
        place = self._held.get(key)
        if place is None:
            place = self._room(variable)
        if isinstance(place, np.ndarray) and not _fits(variable, place):
            place = [place[: self.done]]  # lengths vary after all
        if isinstance(place, list):
            place.append(variable)
        else:
            place = place.astype(np.result_type(place, np.asarray(variable)), copy=False)
            place[self.done : self.done + len(variable)] = variable
        self._held[key] = place

    def _room(self, variable: Variable) -> np.ndarray | list[Variable]:
        if isinstance(variable, Ragged):
            return []
        return np.empty((self.count, *variable.shape[1:]), variable.dtype)

    def pairs(self) -> Pairs:
        """All of them; the rows added must be as many as were announced."""
        if self.done != self.count:
            raise ValueError(f"{self.done} rows of {self.count}")
        groups: dict[str, dict[str, Variable]] = {group: {} for group in GROUPS}
        for (group, name), held in self._held.items():
            groups[group][name] = join(held) if isinstance(held, list) else held
        return Pairs(**groups)


def _fits(variable: Variable, place: np.ndarray) -> bool:
    return not isinstance(variable, Ragged) and variable.shape[1:] == place.shape[1:]
