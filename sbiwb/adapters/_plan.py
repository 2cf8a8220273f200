"""What one network input is made of, before anything is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from sbiwb.adapters._flat import Flat, check_alike, check_count, flatten
from sbiwb.adapters._transform import SeriesConfig
from sbiwb.contracts import TransformPart
from sbiwb.errors import ConfigError, DataError
from sbiwb.families import Part
from sbiwb.records import Variable

Chain = Sequence[Part]


def misfit(
    kind: str, chains: Mapping[str, Chain], tail: Chain, broadcast: Sequence[str]
) -> str | None:
    """Why such an input cannot be, or None; arguments as in `InputPlan`."""
    if broadcast and kind == "vector":
        return (
            "'broadcast' repeats variables to members, steps or cells, and a vector has none: "
            "join them with 'from'"
        )
    for part in _without_steps(kind, chains, tail, broadcast):
        if isinstance(part, SeriesConfig):
            return (
                f"{part.kind} goes along the steps of a series, and here are none: "
                "use 'as: series', or leave it out"
            )
    return None


def _without_steps(
    kind: str, chains: Mapping[str, Chain], tail: Chain, broadcast: Sequence[str]
) -> list[Part]:
    """The transforms of what is no series."""
    if kind != "series":
        return [part for chain in (*chains.values(), tail) for part in chain]
    return [part for name in broadcast for part in chains.get(name, ())]


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

    @property
    def label(self) -> str:
        """All that is read, for messages."""
        return ", ".join(self.variables)

    def chain(self, name: str) -> Sequence[TransformPart]:
        """The transforms of one variable before joining."""
        return cast(Sequence[TransformPart], self.chains.get(name, ()))

    @property
    def joined_chain(self) -> Sequence[TransformPart]:
        """The transforms after joining."""
        return cast(Sequence[TransformPart], self.tail)

    def may_miss(self, name: str) -> bool:
        """Whether a variable may hold NaN, because a transform takes it out again."""
        return any(part.fills for part in (*self.chain(name), *self.joined_chain))

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
        kind = self.kind
        if name in self.broadcast:
            kind = "vector"
        return flatten(name, kind, variable, axes=self.axes, missing=self.may_miss(name))
