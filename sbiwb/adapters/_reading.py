"""What a caller gives as x, in whatever form, as the variables that the network reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard, cast

import numpy as np

from sbiwb.errors import DataError
from sbiwb.records import Ragged, Variable, take


@dataclass(frozen=True)
class ExpectedInput:
    """What the network reads as one variable.

    Args:
        kind: `vector`, `set`, `series` or `grid`.
        channels: Numbers of a data set (vector), of a member, of a step or of a cell.
        lengths: Fewest and most members or steps that training had; None for a vector and a grid.
        grid: Sizes of a grid's axes; empty for the others.
        missing: Whether a number may be missing.
    """

    kind: str
    channels: int
    lengths: tuple[int, int] | None = None
    grid: tuple[int, ...] = ()
    missing: bool = False

    @property
    def axes(self) -> int:
        """Axes of the array of one data set.

        () or (C,) for a vector, (M,) or (M, C) for a set or a series, the grid's or one more.
        """
        return (self.lengths is not None) + len(self.grid) + (self.channels > 1)

    @property
    def may_have_one_member(self) -> bool:
        """Whether training had data sets of one member or step, or has none at all."""
        return self.lengths is None or self.lengths[0] <= 1 <= self.lengths[1]

    def __str__(self) -> str:
        numbers = "one number"
        if self.channels > 1:
            numbers = f"{self.channels} numbers"
        if self.missing:
            numbers += " (NaN where one is missing)"
        if self.grid:
            return f"a grid of {' x '.join(map(str, self.grid))} cells of {numbers}"
        if self.lengths is None:
            return numbers
        members = {"series": "steps"}.get(self.kind, "members")
        count = " to ".join(map(str, dict.fromkeys(self.lengths)))
        return f"a {self.kind} of {count} {members} of {numbers}"


def read(observables: Mapping[str, ExpectedInput], x: object) -> dict[str, Variable]:
    """The variables that the network reads, N data sets each, from whatever form x has.

    Raises:
        DataError: A variable is missing, is no array of numbers, or has another shape.
    """
    given = _by_variable(x, observables)
    variables, for_all = {}, set[str]()
    for name, expected in observables.items():
        array = _array(name, given[name])
        if isinstance(array, np.ndarray) and array.ndim == 0:
            for_all.add(name)
        variables[name] = _with_data_sets(name, array, expected)
    count = _common_count(variables, for_all, observables)
    for name in for_all:
        variables[name] = take(variables[name], np.zeros(count, int))
    return variables


def _common_count(
    variables: Mapping[str, Variable],
    for_all: set[str],
    observables: Mapping[str, ExpectedInput],
) -> int:
    """N, which all variables have, but for plain numbers, which hold for all data sets."""
    counts = {name: len(values) for name, values in variables.items() if name not in for_all}
    distinct = set(counts.values()) or {1}
    if len(distinct) == 1 and 0 not in distinct:
        return distinct.pop()
    what = "holds no data sets"
    if max(distinct):
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        what = f"the numbers of data sets do not agree: {listed}"
    raise DataError(what, where="x", todo=_expectation(observables))


def _by_variable(x: object, observables: Mapping[str, ExpectedInput]) -> Mapping[str, object]:
    if not _has_names(x):
        if len(observables) == 1:
            return dict.fromkeys(observables, x)
        raise DataError(
            f"is of type {type(x).__name__}, where variables are read by name",
            where="x",
            todo=_expectation(observables),
        )
    missing = [name for name in observables if name not in x]
    if missing:
        raise DataError(
            f"no variable {', '.join(missing)} among {', '.join(map(str, x)) or 'none'}",
            where="x",
            todo=_expectation(observables),
        )
    return x


def _has_names(x: object) -> TypeGuard[Mapping[str, object]]:
    """Whether it is a dict, a data frame, a Dataset or the like."""
    return hasattr(x, "keys")


def _expectation(observables: Mapping[str, ExpectedInput]) -> str:
    """What to give instead, in words."""
    listed = "; ".join(f"{name}: {expected}" for name, expected in observables.items())
    return f"Give {listed}; for each of N data sets, or for one."


def _array(name: str, value: object) -> Variable:
    """A dense array, or `Ragged` where a list holds arrays of different length."""
    if isinstance(value, Ragged):
        return value
    if not _is_list(value):
        return _numbers(name, value)
    parts = [_numbers(name, part) for part in value]
    if not parts:
        raise DataError("is empty", where=name, todo="Give at least one data set.")
    shapes = list(dict.fromkeys(part.shape for part in parts))
    if len(shapes) == 1:
        return np.stack(parts)
    if () in shapes or len({shape[1:] for shape in shapes}) > 1:
        raise DataError(
            f"is a list of arrays of shapes {', '.join(map(str, shapes))}",
            where=name,
            todo="Only the first axis, members or steps, may differ.",
        )
    return Ragged.of(parts)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Whether it is a list, or an array or a column of objects."""
    if isinstance(value, list | tuple):
        return True
    return hasattr(value, "dtype") and value.dtype is np.dtype(object)


def _numbers(name: str, value: object) -> np.ndarray:
    """An array of numpy, torch, pandas, xarray or nested lists.

    What is masked, or None, becomes NaN.
    """
    try:
        array = _as_array(value)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"is no array: {error}",
            where=name,
            todo="Give numbers; data sets of different length as a list of arrays.",
        ) from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"holds {array.dtype} instead of numbers",
            where=name,
            todo="Give each category a number.",
        )
    return array


def _as_array(value: object) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):
        return np.ma.filled(value.astype(np.float64), np.nan)
    if hasattr(value, "detach"):
        return cast(np.ndarray, value.detach().cpu().numpy())
    array = np.asarray(value)
    if array.dtype == object:
        return array.astype(np.float64)
    return array


def _with_data_sets(name: str, variable: Variable, expected: ExpectedInput) -> Variable:
    """The variable with its N data sets in front."""
    if isinstance(variable, Ragged):
        return variable
    shape = variable.shape
    extra = variable.ndim - expected.axes
    has_channel = expected.channels == 1 and extra > 0 and shape[-1] == 1
    if has_channel and shape[:-1] == expected.grid != shape[1:]:
        return variable[None]
    if extra not in (0, 1) and not (extra == 2 and has_channel):
        raise DataError(f"has the shape {shape}", where=name, todo=_expectation({name: expected}))
    if extra == 1 and has_channel and not expected.may_have_one_member:
        raise DataError(
            f"has the shape {shape}: {len(variable)} data sets of one member, "
            "which training never had",
            where=name,
            todo=f"One data set of {len(variable)} members has the shape {shape[:1]} "
            f"or {(1, *shape)}.",
        )
    if extra:
        return variable
    return variable[None]
