"""Plain values that cross the borders between rooms: variables, pairs, draws. numpy only.

Shapes: N simulations, D parameter columns, S draws, M set members or time steps, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
        return cls(np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

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
        return Ragged.of([self[int(row)] for row in rows]) if len(rows) else Ragged(self.values[:0], np.zeros(1, np.int64))

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
    return Ragged(variable.reshape(n * m, *variable.shape[2:]), np.arange(n + 1, dtype=np.int64) * m)


def join(parts: Sequence[Variable]) -> Variable:
    """Variables end to end; ragged where a part is, or where their lengths differ."""
    dense = [part for part in parts if not isinstance(part, Ragged)]
    if len(dense) == len(parts) and len({part.shape[1:] for part in dense}) == 1:
        return np.concatenate(dense)
    ragged = [as_ragged(part) for part in parts]
    starts = np.cumsum([0, *(len(part.values) for part in ragged)])
    offsets = [part.offsets[:-1] + start for part, start in zip(ragged, starts, strict=False)]
    return Ragged(np.concatenate([part.values for part in ragged]), np.concatenate([*offsets, starts[-1:]]).astype(np.int64))


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
        return Pairs(*({name: take(column, rows) for name, column in part.items()} for part in (self.theta, self.context, self.x)))

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


@dataclass(frozen=True)
class Draws:
    """Posterior draws for N test pairs, in the user's units.

    Args:
        names: Columns of theta, D names.
        theta: What generated the data, (N, D).
        draws: (N, S, D).
        log_prob_theta: log q(theta | x) at `theta`, (N,).
        log_prob_draws: log q(theta | x) at the draws, (N, S), where it was worth its cost.
        prior_var: Var of each column under the prior, (D,).
        prior_var_source: `prior` where it is the prior's own variance, else `test set`.
        context: Design variables of each pair, each (N,).
        leaked: Share of draws outside the prior's support, per column, (D,).
        seed: Root of the random ties.
    """

    names: tuple[str, ...]
    theta: np.ndarray
    draws: np.ndarray
    prior_var: np.ndarray
    prior_var_source: str = "prior"
    log_prob_theta: np.ndarray | None = None
    context: Mapping[str, np.ndarray] = field(default_factory=dict)
    leaked: np.ndarray | None = None
    seed: int = 0
    log_prob_draws: np.ndarray | None = None

    @property
    def n(self) -> int:
        return self.draws.shape[0]

    @property
    def s(self) -> int:
        return self.draws.shape[1]

    def at(self, rows: np.ndarray) -> Draws:
        """The test pairs at `rows`."""
        theta, draws = self.log_prob_theta, self.log_prob_draws
        return replace(
            self,
            theta=self.theta[rows],
            draws=self.draws[rows],
            log_prob_theta=None if theta is None else theta[rows],
            log_prob_draws=None if draws is None else draws[rows],
            context={name: column[rows] for name, column in self.context.items()},
        )


@dataclass(frozen=True)
class Value:
    """One number of a diagnostic, for one parameter (or test quantity).

    Args:
        name: What was measured, by the name of its definition.
        parameter: Column of theta, or the test quantity.
        value: The number; None where it cannot be had, with the reason.
        p: p-value of a calibration check, before Holm.
        effect: Effect size of a calibration check: max |ECDF - z|.
        effect_interval: Its 95 % interval.
        warning: A named rule of a descriptive check that holds, such as "unidentified".
        reason: In words: what the number says, or why there is none.
    """

    name: str
    parameter: str
    value: float | None
    p: float | None = None
    effect: float | None = None
    effect_interval: tuple[float, float] | None = None
    warning: str | None = None
    reason: str = ""
