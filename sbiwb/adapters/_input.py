"""One network input: from the user's variables, by their chains of transforms, to float32 values and a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from sbiwb.adapters._flat import Flat, cells, check_alike, check_count, flatten
from sbiwb.adapters._transform import Measured, SeriesConfig, TransformConfig
from sbiwb.contracts import InputShape, SeriesTransform, Transform
from sbiwb.errors import ConfigError, DataError
from sbiwb.families import Part
from sbiwb.records import Ragged, Variable

Chain = Sequence[Part]
Built = tuple[Transform | SeriesTransform, ...]


def misfit(
    kind: str, chains: Mapping[str, Chain], tail: Chain, broadcast: Sequence[str]
) -> str | None:
    """Why such an input cannot be, or None; arguments as in `InputPlan`."""
    if broadcast and kind == "vector":
        return "'broadcast' repeats variables to members, steps or cells, and a vector has none: join them with 'from'"
    parts = [
        part
        for name, chain in chains.items()
        if kind != "series" or name in broadcast
        for part in chain
    ]
    parts += [part for part in tail if kind != "series"]
    odd = next((part.kind for part in parts if isinstance(part, SeriesConfig)), None)
    return (
        f"{odd} goes along the steps of a series, and here are none: use 'as: series', or leave it out"
        if odd
        else None
    )


@dataclass(frozen=True)
class InputPlan:
    """What one input is made of, before anything is learned.

    Args:
        kind: `vector`, `set`, `series` or `grid`.
        sources: Variables to join by channels.
        chains: Transforms of each variable before joining; a variable without any may be left out.
        tail: Transforms after joining.
        broadcast: Vectors that are repeated to every member, step or cell, as further channels.
        axes: Axes of a grid.

    Raises:
        ConfigError: If the kind has no members, steps or cells for a transform or a broadcast.
    """

    kind: str
    sources: tuple[str, ...]
    chains: Mapping[str, Chain] = field(default_factory=dict)
    tail: Chain = ()
    broadcast: tuple[str, ...] = ()
    axes: int = 2

    def __post_init__(self) -> None:
        trouble = misfit(self.kind, self.chains, self.tail, self.broadcast)
        if trouble:
            raise ConfigError(trouble, where=", ".join(self.variables))

    @property
    def variables(self) -> tuple[str, ...]:
        """All that is read, in the order of the channels."""
        return (*self.sources, *self.broadcast)

    def may_miss(self, name: str) -> bool:
        """Whether a variable may hold NaN, because a transform takes it out again."""
        parts = cast(Sequence[TransformConfig], (*self.chains.get(name, ()), *self.tail))
        return any(part.fills for part in parts)

    def read(self, variables: Mapping[str, Variable]) -> dict[str, Flat]:
        """The variables of this input as rows of channels, after comparing their sizes.

        Raises:
            DataError: One is missing, of another shape or size, or holds what it may not.
        """
        missing = [name for name in self.variables if name not in variables]
        if missing:
            raise DataError(
                f"no variable {', '.join(missing)}", todo=f"There are: {', '.join(variables)}."
            )
        flats = {name: self._flat(name, variables[name]) for name in self.variables}
        check_alike({name: flats[name] for name in self.sources})
        for name in self.broadcast:
            check_count(self.sources[0], flats[self.sources[0]], name, flats[name])
        return flats

    def _flat(self, name: str, variable: Variable) -> Flat:
        kind = "vector" if name in self.broadcast else self.kind
        return flatten(name, kind, variable, axes=self.axes, missing=self.may_miss(name))


@dataclass(frozen=True)
class InputAdapter:
    """One input of the network; made by `fit` on training data, or by `restore` from a checkpoint.

    Statistics are shared over members, time and cells, and learned on training data only. Padding is zero after the transforms.

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
    chains: Mapping[str, Built]
    tail: Built
    learned: Mapping[str, Any]

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
        parts, learned = {}, {}
        for name, flat in flats.items():
            parts[name], measured = _learn(
                name, plan.chains.get(name, ()), flat.values, flat.lengths
            )
            known = _known(flat.values)
            learned[name] = {
                "low": np.nanmin(known, 0).tolist(),
                "high": np.nanmax(known, 0).tolist(),
                "missing": bool(np.isnan(flat.values).any()),
                "measured": measured,
            }
        values, measured = _learn(
            ", ".join(plan.variables), plan.tail, _joined(plan, main, parts), main.lengths
        )
        span = None if main.lengths is None else [int(main.lengths.min()), int(main.lengths.max())]
        state = {
            "sources": learned,
            "tail": measured,
            "channels": values.shape[1],
            "lengths": span,
            "grid": list(main.grid),
        }
        return cls.restore(plan, state)

    @classmethod
    def restore(cls, plan: InputPlan, state: Mapping[str, Any]) -> InputAdapter:
        """The adapter whose `state` was saved; the plan as given to `fit`."""
        built = {
            name: _build(plan.chains.get(name, ()), state["sources"][name]["measured"])
            for name in plan.variables
        }
        return cls(plan, built, _build(plan.tail, state["tail"]), state)

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain Python that JSON can hold."""
        return dict(self.learned)

    @property
    def shape(self) -> InputShape:
        """What the network will be given."""
        low, high = self.learned["lengths"] or (None, None)
        return InputShape(self.plan.kind, self.learned["channels"], high, low != high, self._grid)

    @property
    def _grid(self) -> tuple[int, ...]:
        return tuple(self.learned.get("grid", ()))  # checkpoints older than grids have none

    def apply(self, variables: Mapping[str, Variable]) -> tuple[np.ndarray, np.ndarray | None]:
        """Transforms N data sets.

        Args:
            variables: Data by name; others than those of the plan are ignored.

        Returns:
            Values (N, C), (N, M, C) or (N, *grid, C), float32, finite, M the longest of these data sets; and the mask of real members
            (N, M), or None where training data had one length (all data sets then have it).

        Raises:
            DataError: If a value cannot be transformed, or a length or a size cannot occur.
        """
        flats = self.plan.read(variables)
        main = flats[self.plan.sources[0]]
        joined = _joined(
            self.plan, main, {name: self._source(name, flat) for name, flat in flats.items()}
        )
        where = ", ".join(self.plan.variables)
        values = _single(where, _forward(where, self.tail, joined, main.lengths))
        if main.lengths is None:
            return values.reshape(main.count, *main.grid, values.shape[1]), None
        if not self.shape.varies:
            self._check_length(main.lengths)
            return values.reshape(main.count, self.shape.length or 0, values.shape[1]), None
        ragged = Ragged(values, np.concatenate([[0], np.cumsum(main.lengths)]).astype(np.int64))
        return ragged.padded(max(1, int(main.lengths.max(initial=0))))

    def outside(self, variables: Mapping[str, Variable]) -> list[str]:
        """Sentences on values, gaps and lengths that no training simulation ever had; empty where all is well."""
        flats = self.plan.read(variables)
        sentences = [
            sentence
            for name, flat in flats.items()
            for sentence in self._strange_values(name, flat.values)
        ]
        lengths = flats[self.plan.sources[0]].lengths
        return sentences + ([] if lengths is None else self._strange_lengths(lengths))

    def _source(self, name: str, flat: Flat) -> np.ndarray:
        known = len(self.learned["sources"][name]["low"])
        if flat.values.shape[1] != known:
            what = f"has {flat.values.shape[1]} channels, but the training data had {known}"
            raise DataError(what, where=name, todo="Give as many columns as the simulator returns.")
        if name in self.plan.sources and flat.grid != self._grid:
            what = f"has {cells(flat.grid)} cells, but all training data had {cells(self._grid)}"
            raise DataError(what, where=name, todo="Give data on the grid of the simulator.")
        return _forward(name, self.chains[name], flat.values, flat.lengths)

    def _check_length(self, lengths: np.ndarray) -> None:
        other = np.flatnonzero(lengths != self.shape.length)
        if other.size:
            what = f"has {lengths[other[0]]} members in data set {other[0]}, but all training data had {self.shape.length}"
            todo = "Give data of that length, or let the simulator vary it."
            raise DataError(what, where=", ".join(self.plan.sources), todo=todo)

    def _strange_values(self, name: str, values: np.ndarray) -> Iterator[str]:
        learned = self.learned["sources"][name]
        missing = int(np.isnan(values).sum())
        if missing and not learned["missing"]:
            yield f"{name}: {missing} of {values.size} values are missing, which never happened in the simulations"
        for channel, (low, high) in enumerate(zip(learned["low"], learned["high"], strict=True)):
            label = name if len(learned["low"]) == 1 else f"{name}[{channel}]"
            yield from _strange(
                label, values[:, channel], (low, high), "values lie outside the simulated range"
            )

    def _strange_lengths(self, lengths: np.ndarray) -> list[str]:
        low, high = self.learned["lengths"]
        return list(
            _strange(
                ", ".join(self.plan.sources),
                lengths,
                (low, high),
                "data sets have a length outside the simulated range",
            )
        )


def _strange(name: str, values: np.ndarray, span: tuple[float, float], noun: str) -> Iterator[str]:
    values = values[~np.isnan(values)]
    below, above = values < span[0], values > span[1]
    ends = (
        ((below, f"smallest {values.min():g}"), (above, f"largest {values.max():g}"))
        if values.size
        else ()
    )
    worst = [end for side, end in ends if side.any()]
    if worst:
        count = int((below | above).sum())
        yield f"{name}: {count} of {values.size} {noun} [{span[0]:g}, {span[1]:g}] ({', '.join(worst)})"


def _joined(plan: InputPlan, main: Flat, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """All channels of an input, (rows, C): broadcast ones once a row of the sources."""
    return np.concatenate(
        [
            main.spread(values) if name in plan.broadcast else values
            for name, values in parts.items()
        ],
        axis=1,
    )


def _learn(
    where: str, chain: Chain, values: np.ndarray, lengths: np.ndarray | None
) -> tuple[np.ndarray, list[Measured]]:
    """Passes training values through a chain, learning each transform's statistics on what reaches it."""
    if not values.size:
        raise DataError(
            "has no values to learn from", where=where, todo="Simulate more training data."
        )
    measured = []
    for part in cast(Sequence[TransformConfig], chain):
        with _named(where):
            measured.append(_measured(part, _known(values), lengths))
            values = _step(part.build(measured[-1]), values, lengths)
    return values, measured


def _known(values: np.ndarray) -> np.ndarray:
    """The same with 0 in a channel that was never observed: nothing can be learned of it, and few pairs may just have missed it."""
    never = np.isnan(values).all(axis=0)
    return np.where(never, 0.0, values) if never.any() else values


def _measured(part: TransformConfig, values: np.ndarray, lengths: np.ndarray | None) -> Measured:
    if isinstance(part, SeriesConfig):
        assert lengths is not None  # else the plan would have been refused
        return part.measure_series(values, lengths)
    return part.measure(values)


def _build(chain: Chain, measured: Sequence[Measured]) -> Built:
    return tuple(
        part.build(learned)
        for part, learned in zip(cast(Sequence[TransformConfig], chain), measured, strict=True)
    )


def _forward(
    where: str, chain: Built, values: np.ndarray, lengths: np.ndarray | None
) -> np.ndarray:
    with _named(where):
        for transform in chain:
            values = _step(transform, values, lengths)
    return values


def _step(
    transform: Transform | SeriesTransform, values: np.ndarray, lengths: np.ndarray | None
) -> np.ndarray:
    if isinstance(transform, SeriesTransform):
        assert lengths is not None
        return transform.forward(values, lengths)
    return transform.forward(values)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Says which variable a transform refused."""
    try:
        yield
    except DataError as error:
        raise DataError(error.what, where=where, todo=error.todo) from error


def _single(where: str, values: np.ndarray) -> np.ndarray:
    """As float32, all finite."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if np.isfinite(single).all():
        return single
    bad = values[~np.isfinite(values)]
    if bad.size:
        what = f"{bad.size} of {values.size} values are not finite after the transforms, the first one {bad[0]}"
        raise DataError(
            what,
            where=where,
            todo="Change the order of the transforms, or put clip in front of the one that makes them.",
        )
    raise DataError(
        f"{np.abs(values).max():g} is too large for float32",
        where=where,
        todo="Add the transform log or standardize.",
    )
