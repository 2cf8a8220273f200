"""What a simulator returns, seen on a few pairs: the shape that every later row must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sbiwb.records import Columns, Ragged, Variable, as_ragged


@dataclass(frozen=True)
class Observable:
    """One observable: dtype, shape of one row, and whether the first axis of that shape varies."""

    dtype: str
    shape: tuple[int, ...]
    ragged: bool

    @classmethod
    def of(cls, variable: Variable) -> Observable:
        if isinstance(variable, Ragged):
            return cls(_dtype(variable.values), (0, *variable.values.shape[1:]), True)
        return cls(_dtype(variable), variable.shape[1:], False)

    def problem(self, row: np.ndarray) -> str | None:
        """Why one row does not fit, or None."""
        fits = row.ndim == len(self.shape) and row.shape[self.ragged :] == self.shape[self.ragged :]
        if not fits:
            expected = ("n", *self.shape[1:]) if self.ragged else self.shape
            return f"has shape {row.shape}, not {expected}".replace("'", "")
        if self.ragged and len(row) == 0:
            return "has no members"
        if not self.holds(row) and np.isfinite(row).all():
            return f"has type {row.dtype}, not {self.dtype} as in the first simulations"
        return None if np.isfinite(row).all() else "is not finite"

    def holds(self, values: np.ndarray) -> bool:
        """Whether these values stay what they are in this dtype: no fraction is cut off without a word."""
        return np.can_cast(values.dtype, self.dtype, "same_kind") or bool((values == np.trunc(values)).all() and self.dtype != "bool")

    def cast(self, variable: Variable) -> Variable:
        """The variable in this dtype, ragged if this is."""
        if self.ragged:
            ragged = as_ragged(variable)
            return Ragged(ragged.values.astype(self.dtype), ragged.offsets)
        assert isinstance(variable, np.ndarray)
        return variable.astype(self.dtype, copy=False)


def _dtype(values: np.ndarray) -> str:
    """Integers are widened, so that a rare large count later on fits."""
    return {"f": str(values.dtype), "b": "bool"}.get(values.dtype.kind, "int64")


Layout = dict[str, Observable]


def layout_of(x: Columns) -> Layout:
    return {name: Observable.of(variable) for name, variable in x.items()}


def to_json(layout: Layout) -> dict[str, Any]:
    return {name: {"dtype": one.dtype, "shape": list(one.shape), "ragged": one.ragged} for name, one in layout.items()}


def from_json(value: dict[str, Any]) -> Layout:
    return {name: Observable(one["dtype"], tuple(one["shape"]), one["ragged"]) for name, one in value.items()}
