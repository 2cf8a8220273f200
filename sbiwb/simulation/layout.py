"""What a simulator returns, found on a few pairs: the form that every later row must have.

The shape of a row is a promise, its type is none. A layout notes the narrowest type that its few
pairs need; numbers that this type cannot hold later on are promoted to a wider one and never cut,
and no row fails for the type of its numbers. So a shard holds whole numbers as int64 where the
first simulations gave whole numbers, and as float64 if one of its rows has a fraction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np

from sbiwb.records import Columns, Ragged, Variable, as_ragged


class ObservableJson(TypedDict):
    """An observable as the plan of a run has it."""

    dtype: str
    shape: list[int]
    ragged: bool
    missing: NotRequired[bool]


class Misfit(NamedTuple):
    """Why a row is no valid one."""

    kind: str
    text: str


_NOT_FINITE = {False: "is not finite", True: "is infinite"}  # by whether NaN is a value


@dataclass(frozen=True)
class Observable:
    """One observable.

    Args:
        dtype: Of its numbers, unless a later one needs a wider type.
        shape: Of one row; 0 stands for a first axis that varies.
        ragged: Whether the first axis varies: a set or a series of any length, also an empty one.
        missing: Whether NaN is a value: a missing one.
    """

    dtype: str
    shape: tuple[int, ...]
    ragged: bool
    missing: bool = False

    @classmethod
    def of(cls, variable: Variable, *, missing: bool = False) -> Observable:
        """The form of these rows, (N, ...) or ragged.

        Example:
            >>> Observable.of(np.zeros((4, 3)))
            Observable(dtype='float64', shape=(3,), ragged=False, missing=False)
        """
        values = values_of(variable)
        dtype = _narrowest(values.dtype, missing)
        if isinstance(variable, Ragged):
            return cls(dtype, (0, *values.shape[1:]), True, missing)
        shape = values.shape[1:]
        all_empty = shape[:1] == (0,)
        return cls(dtype, shape, all_empty, missing)

    @classmethod
    def of_rows(cls, rows: Sequence[np.ndarray], *, missing: bool = False) -> Observable:
        """The form of most of these rows, of any length; single numbers and empty sets count less.

        A simulator that did not converge often returns one number in place of its array, and where
        nothing happened an empty list has no further axes.
        """
        arrays = list(filter(np.ndim, rows))
        if not arrays:
            return cls("float64", (), False, missing)
        filled = list(filter(np.size, arrays))
        forms = Counter(row.shape[1:] for row in filled or arrays)
        item, _ = forms.most_common(1)[0]
        return cls("float64", (0, *item), True, missing)

    def any_length(self) -> Observable:
        """The same where the first axis may vary, if there is one."""
        if not self.shape:
            return self
        return replace(self, shape=(0, *self.shape[1:]), ragged=True)

    def problem(self, row: np.ndarray) -> Misfit | None:
        """Why one row does not fit, or None."""
        if not self._fits(row.shape):
            return Misfit("shape", self._misshapen(row.shape))
        if not self.is_valued(row):
            return Misfit("not finite", _NOT_FINITE[self.missing])
        return None

    def _fits(self, shape: tuple[int, ...]) -> bool:
        same_axes = len(shape) == len(self.shape)
        return same_axes and shape[self.ragged :] == self.shape[self.ragged :]

    def _misshapen(self, shape: tuple[int, ...]) -> str:
        text = f"has shape {shape}, not {self._expected_shape()}"
        if self.any_length()._fits(shape):
            text += (
                " as in the first simulations; if its length varies, choose a simulate.seed with"
                " which theirs do"
            )
        return text

    def _expected_shape(self) -> str:
        if self.ragged:
            return str(self.shape).replace("0", "n", 1)
        return str(self.shape)

    def is_valued(self, values: np.ndarray) -> bool:
        """Whether all are finite, or missing where they may be."""
        if self.missing:
            return not np.isinf(values).any()
        return bool(np.isfinite(values).all())

    def accepts(self, variable: Variable) -> bool:
        """Whether no row of a variable has a problem; quick."""
        values = values_of(variable)
        shape = values.shape[1:]
        if isinstance(variable, Ragged):
            shape = (0, *shape)
            if not self.ragged:
                return False
        return self._fits(shape) and self.is_valued(values)

    def reshaped(self, row: np.ndarray) -> np.ndarray:
        """The row; an empty set in the shape of a set, whatever shape it came in."""
        if self.ragged and row.ndim and row.size == 0:
            return np.zeros((0, *self.shape[1:]), row.dtype)
        return row

    def cast(self, variable: Variable) -> Variable:
        """The variable in this form: ragged if this is, of its type if that holds all values.

        Args:
            variable: Rows that have no problem.

        Returns:
            The rows; in a wider type where a value would not stay what it is in this one.
        """
        if self.ragged:
            ragged = as_ragged(variable)
            return Ragged(self._promoted(ragged.values), ragged.offsets)
        if isinstance(variable, Ragged):
            variable = variable.values.reshape(len(variable), *self.shape)
        return self._promoted(variable)

    def _promoted(self, values: np.ndarray) -> np.ndarray:
        if np.can_cast(values.dtype, self.dtype, "safe"):
            return values.astype(self.dtype, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):
            narrow = values.astype(self.dtype)
        if np.array_equal(narrow, values, equal_nan=True):
            return narrow
        return values.astype(np.result_type(values.dtype, self.dtype), copy=False)


def values_of(variable: Variable) -> np.ndarray:
    """All numbers of a variable; of a ragged one end to end."""
    if isinstance(variable, Ragged):
        return variable.values
    return variable


def _narrowest(dtype: np.dtype, missing: bool) -> str:
    """Whole numbers as int64, so that a rare large count fits; NaN needs a float."""
    if dtype.kind == "f":
        return str(dtype)
    if missing:
        return "float64"
    return "int64"


Layout = dict[str, Observable]


def layout_of(x: Columns, missing: Collection[str] = ()) -> Layout:
    """What these pairs look like; `missing` names the observables in which NaN is a value."""
    return {name: Observable.of(variable, missing=name in missing) for name, variable in x.items()}


def cast_columns(layout: Layout, x: Columns) -> dict[str, Variable]:
    """Observables in the form of their layout; see `Observable.cast`."""
    return {name: layout[name].cast(variable) for name, variable in x.items()}


def to_json(layout: Layout) -> dict[str, ObservableJson]:
    """A layout as the plan of a run has it."""
    return {name: _observable_json(observable) for name, observable in layout.items()}


def _observable_json(observable: Observable) -> ObservableJson:
    entry: ObservableJson = {
        "dtype": observable.dtype,
        "shape": list(observable.shape),
        "ragged": observable.ragged,
    }
    if observable.missing:
        entry["missing"] = True
    return entry


def from_json(value: Mapping[str, ObservableJson]) -> Layout:
    """The layout that a plan of a run has."""
    layout: Layout = {}
    for name, entry in value.items():
        missing = entry.get("missing", False)
        layout[name] = Observable(entry["dtype"], tuple(entry["shape"]), entry["ragged"], missing)
    return layout
