"""Plain values that cross the borders between rooms: variables and pairs. numpy only.

Shapes: N simulations, M set members or time steps, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """N arrays of different length, end to end.

    Args:
        values: All members, shape (total, *item).
        offsets: Where each array begins and the last ends, shape (N + 1,), from 0 to total.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, arrays: Iterable[np.ndarray]) -> Ragged:
        """Joins a list of arrays (M_i, *item)."""
        parts = [np.asarray(array) for array in arrays]
        lengths = [len(part) for part in parts]
        return cls(
            np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Members of each array, shape (N,)."""
        return np.diff(self.offsets)

    def take(self, rows: Sequence[int] | np.ndarray) -> Ragged:
        """The arrays at `rows`, in that order."""
        return (
            Ragged.of([self[int(row)] for row in rows])
            if len(rows)
            else Ragged(self.values[:0], np.zeros(1, np.int64))
        )

    def padded(self, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Zero-padded values (N, M, *item) and the mask of true members (N, M)."""
        longest = int(self.lengths.max(initial=0)) if length is None else length
        mask = np.arange(longest) < self.lengths[:, None]
        padded = np.zeros((len(self), longest, *self.values.shape[1:]), self.values.dtype)
        padded[mask] = self.values
        return padded, mask


Variable = np.ndarray | Ragged


def take(variable: Variable, rows: np.ndarray) -> Variable:
    """Rows of a variable, ragged or not."""
    return variable.take(rows) if isinstance(variable, Ragged) else variable[rows]


def as_ragged(variable: Variable) -> Ragged:
    """A dense variable (N, M, *item) as N arrays of equal length."""
    if isinstance(variable, Ragged):
        return variable
    n, m = variable.shape[:2]
    return Ragged(
        variable.reshape(n * m, *variable.shape[2:]), np.arange(n + 1, dtype=np.int64) * m
    )


def join(parts: Sequence[Variable]) -> Variable:
    """Variables end to end; ragged where a part is, or where their lengths differ."""
    dense = [part for part in parts if not isinstance(part, Ragged)]
    if len(dense) == len(parts) and len({part.shape[1:] for part in dense}) == 1:
        return np.concatenate(dense)
    ragged = [as_ragged(part) for part in parts]
    starts = np.cumsum([0, *(len(part.values) for part in ragged)])
    offsets = [part.offsets[:-1] + start for part, start in zip(ragged, starts, strict=False)]
    return Ragged(
        np.concatenate([part.values for part in ragged]),
        np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
    )


Columns = Mapping[str, Variable]


@dataclass(frozen=True)
class Pairs:
    """N simulated pairs.

    Args:
        theta: Parameters by name, (N,) or (N, k), float64.
        context: Known design variables by name, (N,) or (N, k).
        x: Observables by name, (N, ...) or `Ragged`.
    """

    theta: Columns
    context: Columns
    x: Columns

    def __len__(self) -> int:
        return len(next(iter(self.theta.values())))

    def take(self, rows: np.ndarray) -> Pairs:
        """The pairs at `rows`, in that order."""
        return Pairs(
            *(
                {name: take(column, rows) for name, column in part.items()}
                for part in (self.theta, self.context, self.x)
            )
        )

    def first(self, count: int) -> Pairs:
        """The first pairs, all where there are no more."""
        if len(self) <= count:
            return self
        return self.take(np.arange(count))

    @staticmethod
    def join(parts: Sequence[Pairs]) -> Pairs:
        """Pairs end to end."""
        first = parts[0]
        return Pairs(
            {name: join([part.theta[name] for part in parts]) for name in first.theta},
            {name: join([part.context[name] for part in parts]) for name in first.context},
            {name: join([part.x[name] for part in parts]) for name in first.x},
        )

    @property
    def variables(self) -> dict[str, Variable]:
        """Everything the network may see: observables and context by name."""
        return {**self.x, **self.context}
