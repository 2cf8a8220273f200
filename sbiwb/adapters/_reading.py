"""What a caller gives as x, in whatever form, as the variables that the network reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

    def __str__(self) -> str:
        numbers = "one number" if self.channels == 1 else f"{self.channels} numbers"
        numbers += " (NaN where one is missing)" * self.missing
        if self.grid:
            return f"a grid of {' x '.join(map(str, self.grid))} cells of {numbers}"
        if self.lengths is None:
            return numbers
        low, high = self.lengths
        members = "steps" if self.kind == "series" else "members"
        return (
            f"a {self.kind} of {low if low == high else f'{low} to {high}'} {members} of {numbers}"
        )


def read(observables: Mapping[str, ExpectedInput], x: Any) -> dict[str, Variable]:
    """The variables that the network reads, N data sets each, from whatever form x has."""
    given = _by_variable(x, observables)
    arrays = {name: _array(name, given[name]) for name in observables}
    whole = {name: _whole(name, array, observables[name]) for name, array in arrays.items()}
    numbers = {
        name for name, array in arrays.items() if not isinstance(array, Ragged) and array.ndim == 0
    }
    counts = {name: len(variable) for name, variable in whole.items() if name not in numbers}
    n = max(counts.values(), default=1)
    if n == 0 or set(counts.values()) - {n}:
        found = ", ".join(f"{name} has {count}" for name, count in counts.items())
        what = f"the numbers of data sets do not agree: {found}" if n else "holds no data sets"
        raise DataError(what, where="x", todo=_expectation(observables))
    return {
        name: take(variable, np.zeros(n, int)) if name in numbers else variable
        for name, variable in whole.items()
    }


def _by_variable(x: Any, observables: Mapping[str, ExpectedInput]) -> Mapping[str, Any]:
    if not hasattr(x, "keys"):
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


def _expectation(observables: Mapping[str, ExpectedInput]) -> str:
    """What to give instead, in words."""
    return (
        "Give "
        + "; ".join(f"{name}: {one}" for name, one in observables.items())
        + "; for each of N data sets, or for one."
    )


def _array(name: str, value: Any) -> Variable:
    """A dense array, or `Ragged` where a list holds arrays of different length."""
    if isinstance(value, Ragged):
        return value
    if not isinstance(value, list | tuple) and getattr(value, "dtype", None) is not np.dtype(
        object
    ):
        return _numbers(name, value)
    parts = [_numbers(name, part) for part in value]
    if not parts:
        raise DataError("is empty", where=name, todo="Give at least one data set.")
    if len({part.shape for part in parts}) == 1:
        return np.stack(parts)
    if 0 in {part.ndim for part in parts} or len({part.shape[1:] for part in parts}) > 1:
        shapes = ", ".join(str(shape) for shape in dict.fromkeys(part.shape for part in parts))
        raise DataError(
            f"is a list of arrays of shapes {shapes}",
            where=name,
            todo="Only the first axis, members or steps, may differ.",
        )
    return Ragged.of(parts)


def _numbers(name: str, value: Any) -> np.ndarray:
    """An array of numpy, torch, pandas, xarray or nested lists.

    What is masked, or None, becomes NaN.
    """
    try:
        if isinstance(value, np.ma.MaskedArray):
            return np.ma.filled(value.astype(np.float64), np.nan)
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        array = array.astype(np.float64) if array.dtype == object else array
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


def _whole(name: str, variable: Variable, expected: ExpectedInput) -> Variable:
    """The variable with its N data sets in front."""
    if isinstance(variable, Ragged):
        return variable
    extra = variable.ndim - expected.axes
    single = expected.channels == 1 and extra > 0 and variable.shape[-1] == 1
    if single and variable.shape[:-1] == expected.grid != variable.shape[1:]:
        return variable[None]
    if extra not in (0, 1) and not (extra == 2 and single):
        raise DataError(
            f"has the shape {variable.shape}", where=name, todo=_expectation({name: expected})
        )
    if (
        extra == 1
        and single
        and expected.lengths is not None
        and not expected.lengths[0] <= 1 <= expected.lengths[1]
    ):
        raise DataError(
            f"has the shape {variable.shape}: {len(variable)} data sets of one member, which "
            "training never had",
            where=name,
            todo=f"One data set of {len(variable)} members has the shape {variable.shape[:1]} or "
            f"{(1, *variable.shape)}.",
        )
    return variable if extra else variable[None]
