"""One network input: the user's variables, by chains of transforms, to float32 and a mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict, cast

import numpy as np

from sbiwb.adapters._chain import (
    BuiltChain,
    apply_chain,
    build_chain,
    learn_chain,
    without_empty_channels,
)
from sbiwb.adapters._flat import Flat, cells
from sbiwb.adapters._outside import lengths_outside, missing_values, values_outside
from sbiwb.adapters._plan import InputPlan
from sbiwb.adapters._precision import lost_in_float32, lost_in_own_digits
from sbiwb.contracts import InputShape, Measured
from sbiwb.errors import DataError
from sbiwb.records import Ragged, Variable


class SourceState(TypedDict):
    """What was learned of one variable.

    Attributes:
        low: Smallest training value of each channel, (C,).
        high: Largest training value of each channel, (C,).
        missing: Whether a value was ever missing.
        measured: Statistics of each transform.
    """

    low: list[float]
    high: list[float]
    missing: bool
    measured: list[Measured]


class InputState(TypedDict):
    """What was learned of one input, as JSON can hold it.

    Attributes:
        sources: Of each variable.
        tail: Statistics of each transform of the joined channels.
        channels: Of what comes out.
        lengths: Fewest and most members or steps; None for a vector and a grid.
        grid: Sizes of a grid's axes; older checkpoints have none.
        warnings: Sentences on spreads that are lost in rounding, where there are any.
    """

    sources: dict[str, SourceState]
    tail: list[Measured]
    channels: int
    lengths: list[int] | None
    grid: NotRequired[list[int]]
    warnings: NotRequired[list[str]]


@dataclass(frozen=True)
class InputAdapter:
    """One input of the network; made by `fit` on training data, or by `restore` from a checkpoint.

    Statistics are shared over members, time and cells, and learned on training data only. Padding
    is zero after the transforms.

    Args:
        plan: What it is made of.
        chains: Transforms of each variable.
        tail: Transforms of the joined channels.
        learned: Everything learned, as plain Python.

    Example:
        >>> adapter = InputAdapter.fit(InputPlan("vector", ("x",)), {"x": np.zeros((5, 2))})
        >>> adapter.shape
        InputShape(kind='vector', channels=2, length=None, varies=False, grid=())
    """

    plan: InputPlan
    chains: Mapping[str, BuiltChain]
    tail: BuiltChain
    learned: InputState

    @classmethod
    def fit(cls, plan: InputPlan, variables: Mapping[str, Variable]) -> InputAdapter:
        """Learns all statistics on training data.

        Args:
            plan: What it is made of.
            variables: Training data by name; others than those of the plan are ignored.

        Raises:
            DataError: If a variable has the wrong shape or a value that cannot be transformed.
        """
        flats = plan.read(variables)
        main = flats[plan.sources[0]]
        parts, sources, warnings = {}, {}, list[str]()
        for name, flat in flats.items():
            chain = plan.chain(name)
            parts[name], measured = learn_chain(name, chain, flat.values, flat.lengths)
            sources[name] = _source_state(flat, measured)
            warnings += _rounded_away(name, flat, variables[name])
        joined = _joined(plan, main, parts)
        values, tail = learn_chain(plan.label, plan.joined_chain, joined, main.lengths)
        warnings += lost_in_float32(plan.label, values, _single(plan.label, values))
        state: InputState = {
            "sources": sources,
            "tail": tail,
            "channels": values.shape[1],
            "lengths": _span(main.lengths),
            "grid": list(main.grid),
        }
        if warnings:
            state["warnings"] = warnings
        return cls.restore(plan, state)

    @classmethod
    def restore(cls, plan: InputPlan, state: InputState) -> InputAdapter:
        """The adapter whose `state` was saved; the plan as given to `fit`."""
        chains = {}
        for name in plan.variables:
            chains[name] = build_chain(plan.chain(name), state["sources"][name]["measured"])
        return cls(plan, chains, build_chain(plan.joined_chain, state["tail"]), state)

    def state(self) -> InputState:
        """Everything learned, as plain Python that JSON can hold."""
        return cast(InputState, dict(self.learned))

    @property
    def warnings(self) -> list[str]:
        """Sentences on training values whose spread is lost in rounding."""
        return self.learned.get("warnings", [])

    @property
    def lengths(self) -> tuple[int, int] | None:
        """Fewest and most members or steps of the training data; None for a vector and a grid."""
        if self.learned["lengths"] is None:
            return None
        low, high = self.learned["lengths"]
        return low, high

    @property
    def shape(self) -> InputShape:
        """What the network will be given."""
        low, high = self.lengths or (None, None)
        return InputShape(self.plan.kind, self.learned["channels"], high, low != high, self._grid)

    @property
    def _grid(self) -> tuple[int, ...]:
        return tuple(self.learned.get("grid", ()))

    def source_channels(self, name: str) -> int:
        """Channels of one variable as it comes."""
        return len(self.learned["sources"][name]["low"])

    def apply(self, variables: Mapping[str, Variable]) -> tuple[np.ndarray, np.ndarray | None]:
        """Transforms N data sets.

        Args:
            variables: Data by name; others than those of the plan are ignored.

        Returns:
            Values (N, C), (N, M, C) or (N, *grid, C), float32, finite, M the longest of these data
            sets; and the mask of real members (N, M), or None where training data had one length
            (all data sets then have it).

        Raises:
            DataError: If a value cannot be transformed, or a length or a size cannot occur.
        """
        main, exact = self._exact(variables)
        values = _single(self.plan.label, exact)
        channels = values.shape[1]
        if main.lengths is None:
            return values.reshape(main.count, *main.grid, channels), None
        if not self.shape.varies:
            self._check_length(main.lengths)
            return values.reshape(main.count, self.shape.length or 0, channels), None
        ragged = Ragged(values, np.concatenate([[0], np.cumsum(main.lengths)]).astype(np.int64))
        return ragged.padded(max(1, int(main.lengths.max(initial=0))))

    def exact(self, variables: Mapping[str, Variable]) -> np.ndarray:
        """Channels (rows, C) in float64, as `apply` has them before they are rounded to float32;
        see there."""
        return self._exact(variables)[1]

    def _exact(self, variables: Mapping[str, Variable]) -> tuple[Flat, np.ndarray]:
        """The first source as it comes, and all channels (rows, C)."""
        flats = self.plan.read(variables)
        main = flats[self.plan.sources[0]]
        parts = {name: self._transformed(name, flat) for name, flat in flats.items()}
        joined = _joined(self.plan, main, parts)
        return main, apply_chain(self.plan.label, self.tail, joined, main.lengths)

    def outside(self, variables: Mapping[str, Variable]) -> list[str]:
        """Sentences on values, gaps and lengths that no training simulation ever had."""
        flats = self.plan.read(variables)
        sentences = list[str]()
        for name, flat in flats.items():
            source = self.learned["sources"][name]
            if not source["missing"]:
                sentences += missing_values(name, flat.values)
            sentences += values_outside(name, flat.values, source["low"], source["high"])
        lengths = flats[self.plan.sources[0]].lengths
        if lengths is not None and self.lengths is not None:
            sentences += lengths_outside(", ".join(self.plan.sources), lengths, self.lengths)
        return sentences

    def _transformed(self, name: str, flat: Flat) -> np.ndarray:
        """One variable by its own chain, (rows, C'), after comparing its sizes with training."""
        channels, expected = flat.values.shape[1], self.source_channels(name)
        if channels != expected:
            raise DataError(
                f"has {channels} channels, but the training data had {expected}",
                where=name,
                todo="Give as many columns as the simulator returns.",
            )
        if name in self.plan.sources and flat.grid != self._grid:
            raise DataError(
                f"has {cells(flat.grid)} cells, but all training data had {cells(self._grid)}",
                where=name,
                todo="Give data on the grid of the simulator.",
            )
        return apply_chain(name, self.chains[name], flat.values, flat.lengths)

    def _check_length(self, lengths: np.ndarray) -> None:
        other = np.flatnonzero(lengths != self.shape.length)
        if other.size:
            raise DataError(
                f"has {lengths[other[0]]} members in data set {other[0]}, "
                f"but all training data had {self.shape.length}",
                where=", ".join(self.plan.sources),
                todo="Give data of that length, or let the simulator vary it.",
            )


def _source_state(flat: Flat, measured: list[Measured]) -> SourceState:
    observed = without_empty_channels(flat.values)
    return {
        "low": np.nanmin(observed, 0).tolist(),
        "high": np.nanmax(observed, 0).tolist(),
        "missing": bool(np.isnan(flat.values).any()),
        "measured": measured,
    }


def _rounded_away(name: str, flat: Flat, variable: Variable) -> list[str]:
    """Sentences on channels that the simulator itself has rounded."""
    values = variable
    if isinstance(variable, Ragged):
        values = variable.values
    complete = flat.values[~np.isnan(flat.values).any(axis=1)]
    if not len(complete):
        return []
    return lost_in_own_digits(name, complete, np.asarray(values).dtype)


def _span(lengths: np.ndarray | None) -> list[int] | None:
    if lengths is None:
        return None
    return [int(lengths.min()), int(lengths.max())]


def _joined(plan: InputPlan, main: Flat, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """All channels of an input, (rows, C): broadcast ones once a row of the sources."""
    joined = [parts[name] for name in plan.sources]
    joined += [main.spread(parts[name]) for name in plan.broadcast]
    return np.concatenate(joined, axis=1)


def _single(where: str, values: np.ndarray) -> np.ndarray:
    """As float32, all finite."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if np.isfinite(single).all():
        return single
    bad = values[~np.isfinite(values)]
    if bad.size:
        raise DataError(
            f"{bad.size} of {values.size} values are not finite after the transforms, "
            f"the first one {bad[0]}",
            where=where,
            todo="Change the order of the transforms, or put clip in front of the one that makes "
            "them.",
        )
    raise DataError(
        f"{np.abs(values).max():g} is too large for float32",
        where=where,
        todo="Add the transform log or standardize.",
    )
