"""What a simulator returns, seen on a few pairs: the shape that every later row must have."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbiwb.records import Columns, Ragged, Variable, as_ragged


@dataclass(frozen=True)
class Observable:
    """One observable: dtype, shape of one row, whether the first axis of that shape varies, and whether NaN is a value: a missing one."""

    dtype: str
    shape: tuple[int, ...]
    ragged: bool
    missing: bool = False

    @classmethod
    def of(cls, variable: Variable, *, missing: bool = False) -> Observable:
        if isinstance(variable, Ragged):
            return cls(
                _dtype(variable.values, missing), (0, *variable.values.shape[1:]), True, missing
            )
        return cls(_dtype(variable, missing), variable.shape[1:], False, missing)

    def problem(self, row: np.ndarray) -> str | None:
        """Why one row does not fit, or None."""
        fits = row.ndim == len(self.shape) and row.shape[self.ragged :] == self.shape[self.ragged :]
        if not fits:
            expected = ("n", *self.shape[1:]) if self.ragged else self.shape
            return f"has shape {row.shape}, not {expected}".replace("'", "")
        if self.ragged and len(row) == 0:
            return "has no members"
        if not self.is_valued(row):
            return "is infinite" if self.missing else "is not finite"
        return (
            None
            if self.holds(row)
            else f"has type {row.dtype}, not {self.dtype} as in the first simulations"
        )

    def is_valued(self, values: np.ndarray) -> bool:
        """Whether all are finite, or missing where they may be."""
        return not np.isinf(values).any() if self.missing else bool(np.isfinite(values).all())

    def holds(self, values: np.ndarray) -> bool:
        """Whether these values stay what they are in this dtype: no fraction is cut off without a word."""
        return np.can_cast(values.dtype, self.dtype, "same_kind") or bool(
            (values == np.trunc(values)).all() and self.dtype != "bool"
        )

    def cast(self, variable: Variable) -> Variable:
        """The variable in this dtype, ragged if this is."""
        if self.ragged:
            ragged = as_ragged(variable)
            return Ragged(ragged.values.astype(self.dtype), ragged.offsets)
        assert isinstance(variable, np.ndarray)
        return variable.astype(self.dtype, copy=False)


def _dtype(values: np.ndarray, missing: bool) -> str:
    """Integers are widened, so that a rare large count later on fits; what may be missing needs a type that has NaN."""
    if values.dtype.kind == "f":
        return str(values.dtype)
    return "float64" if missing else "bool" if values.dtype.kind == "b" else "int64"


Layout = dict[str, Observable]


def layout_of(x: Columns, missing: Collection[str] = ()) -> Layout:
    """What these pairs look like; `missing` names the observables in which NaN is a value."""
    return {name: Observable.of(variable, missing=name in missing) for name, variable in x.items()}


def to_json(layout: Layout) -> dict[str, Any]:
    return {
        name: {"dtype": one.dtype, "shape": list(one.shape), "ragged": one.ragged, **_flag(one)}
        for name, one in layout.items()
    }


def _flag(one: Observable) -> dict[str, bool]:
    return {"missing": True} if one.missing else {}


def from_json(value: dict[str, Any]) -> Layout:
    return {
        name: Observable(
            one["dtype"], tuple(one["shape"]), one["ragged"], one.get("missing", False)
        )
        for name, one in value.items()
    }
