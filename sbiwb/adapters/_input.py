"""One network input: from the user's variables, by their chains of transforms, to float32 values and a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from sbiwb.adapters._flat import Flat, check_alike, flatten
from sbiwb.adapters._transform import Measured, TransformConfig
from sbiwb.contracts import InputShape, Transform
from sbiwb.errors import DataError
from sbiwb.families import Part
from sbiwb.records import Ragged, Variable


@dataclass(frozen=True)
class InputAdapter:
    """One input of the network; made by `fit` on training data, or by `restore` from a checkpoint.

    Statistics are shared over members and time, and learned on training data only. Padding is zero after the transforms.

    Args:
        kind: `vector`, `set` or `series`.
        sources: Variables it is joined from, channel by channel.
        chains: Transforms of each source.
        tail: Transforms of the joined channels.
        learned: Everything learned, as plain Python.

    Example:
        >>> adapter = InputAdapter.fit("vector", ("x",), {}, (), {"x": np.zeros((5, 2))})
        >>> adapter.shape
        InputShape(kind='vector', channels=2, length=None, varies=False)
    """

    kind: str
    sources: tuple[str, ...]
    chains: Mapping[str, tuple[Transform, ...]]
    tail: tuple[Transform, ...]
    learned: Mapping[str, Any]

    @classmethod
    def fit(
        cls,
        kind: str,
        sources: Sequence[str],
        chains: Mapping[str, Sequence[Part]],
        tail: Sequence[Part],
        variables: Mapping[str, Variable],
    ) -> InputAdapter:
        """Learns all statistics on training data.

        Args:
            kind: `vector`, `set` or `series`.
            sources: Names of the variables to join by channels.
            chains: Transforms of each source before joining; a source without any may be left out.
            tail: Transforms after joining.
            variables: Training data by name; others than the sources are ignored.

        Raises:
            DataError: If a variable has the wrong shape or a value that cannot be transformed.
        """
        flats = _read(kind, sources, variables)
        joined, learned = [], {}
        for name, flat in flats.items():
            values, measured = _learn(name, chains.get(name, ()), flat.values)
            joined.append(values)
            learned[name] = {"low": flat.values.min(0).tolist(), "high": flat.values.max(0).tolist(), "measured": measured}
        values, measured = _learn(", ".join(sources), tail, np.concatenate(joined, axis=1))
        lengths = next(iter(flats.values())).lengths
        span = None if lengths is None else [int(lengths.min()), int(lengths.max())]
        state = {"sources": learned, "tail": measured, "channels": values.shape[1], "lengths": span}
        return cls.restore(kind, sources, chains, tail, state)

    @classmethod
    def restore(
        cls, kind: str, sources: Sequence[str], chains: Mapping[str, Sequence[Part]], tail: Sequence[Part], state: Mapping[str, Any]
    ) -> InputAdapter:
        """The adapter whose `state` was saved; the other arguments as given to `fit`."""
        built = {name: _build(chains.get(name, ()), state["sources"][name]["measured"]) for name in sources}
        return cls(kind, tuple(sources), built, _build(tail, state["tail"]), state)

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain Python that JSON can hold."""
        return dict(self.learned)

    @property
    def shape(self) -> InputShape:
        """What the network will be given."""
        low, high = self.learned["lengths"] or (None, None)
        return InputShape(self.kind, self.learned["channels"], high, low != high)

    def apply(self, variables: Mapping[str, Variable]) -> tuple[np.ndarray, np.ndarray | None]:
        """Transforms N data sets.

        Args:
            variables: Data by name; others than the sources are ignored.

        Returns:
            Values (N, C) or (N, M, C), float32, M the longest of these data sets; and the mask of real members (N, M), or None
            where training data had one length (all data sets then have it).

        Raises:
            DataError: If a value cannot be transformed, or a length cannot occur.
        """
        flats = _read(self.kind, self.sources, variables)
        parts = [self._source(name, flat) for name, flat in flats.items()]
        values = _single(self.sources, _forward(", ".join(self.sources), self.tail, np.concatenate(parts, axis=1)))
        lengths = next(iter(flats.values())).lengths
        if lengths is None:
            return values, None
        if not self.shape.varies:
            self._check_length(lengths)
            return values.reshape(len(lengths), self.shape.length or 0, values.shape[1]), None
        ragged = Ragged(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        return ragged.padded(max(1, int(lengths.max(initial=0))))

    def outside(self, variables: Mapping[str, Variable]) -> list[str]:
        """Sentences on values and lengths that no training simulation ever had; empty where all is well."""
        flats = _read(self.kind, self.sources, variables)
        sentences = [sentence for name, flat in flats.items() for sentence in self._strange_values(name, flat.values)]
        lengths = next(iter(flats.values())).lengths
        return sentences + ([] if lengths is None else self._strange_lengths(lengths))

    def _source(self, name: str, flat: Flat) -> np.ndarray:
        known = len(self.learned["sources"][name]["low"])
        if flat.values.shape[1] != known:
            what = f"has {flat.values.shape[1]} channels, but the training data had {known}"
            raise DataError(what, where=name, todo="Give as many columns as the simulator returns.")
        return _forward(name, self.chains[name], flat.values)

    def _check_length(self, lengths: np.ndarray) -> None:
        other = np.flatnonzero(lengths != self.shape.length)
        if other.size:
            what = f"has {lengths[other[0]]} members in data set {other[0]}, but all training data had {self.shape.length}"
            todo = "Give data of that length, or let the simulator vary it."
            raise DataError(what, where=", ".join(self.sources), todo=todo)

    def _strange_values(self, name: str, values: np.ndarray) -> Iterator[str]:
        learned = self.learned["sources"][name]
        for channel, (low, high) in enumerate(zip(learned["low"], learned["high"], strict=True)):
            label = name if len(learned["low"]) == 1 else f"{name}[{channel}]"
            yield from _strange(label, values[:, channel], (low, high), "values lie outside the simulated range")

    def _strange_lengths(self, lengths: np.ndarray) -> list[str]:
        low, high = self.learned["lengths"]
        return list(_strange(", ".join(self.sources), lengths, (low, high), "data sets have a length outside the simulated range"))


def _strange(name: str, values: np.ndarray, span: tuple[float, float], noun: str) -> Iterator[str]:
    below, above = values < span[0], values > span[1]
    ends = ((below, f"smallest {values.min():g}"), (above, f"largest {values.max():g}")) if values.size else ()
    worst = [end for side, end in ends if side.any()]
    if worst:
        count = int((below | above).sum())
        yield f"{name}: {count} of {values.size} {noun} [{span[0]:g}, {span[1]:g}] ({', '.join(worst)})"


def _read(kind: str, sources: Sequence[str], variables: Mapping[str, Variable]) -> dict[str, Flat]:
    missing = [name for name in sources if name not in variables]
    if missing:
        raise DataError(f"no variable {', '.join(missing)}", todo=f"There are: {', '.join(variables)}.")
    flats = {name: flatten(name, kind, variables[name]) for name in sources}
    check_alike(flats)
    return flats


def _learn(where: str, chain: Sequence[Part], values: np.ndarray) -> tuple[np.ndarray, list[Measured]]:
    """Passes training values through a chain, learning each transform's statistics on what reaches it."""
    if not values.size:
        raise DataError("has no values to learn from", where=where, todo="Simulate more training data.")
    measured = []
    for part in cast(Sequence[TransformConfig], chain):
        with _named(where):
            measured.append(part.measure(values))
            values = part.build(measured[-1]).forward(values)
    return values, measured


def _build(chain: Sequence[Part], measured: Sequence[Measured]) -> tuple[Transform, ...]:
    return tuple(part.build(learned) for part, learned in zip(cast(Sequence[TransformConfig], chain), measured, strict=True))


def _forward(where: str, chain: Sequence[Transform], values: np.ndarray) -> np.ndarray:
    with _named(where):
        for transform in chain:
            values = transform.forward(values)
    return values


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Says which variable a transform refused."""
    try:
        yield
    except DataError as error:
        raise DataError(error.what, where=where, todo=error.todo) from error


def _single(sources: Sequence[str], values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        what = f"{np.abs(values).max():g} is too large for float32"
        raise DataError(what, where=", ".join(sources), todo="Add the transform log or standardize.")
    return single
