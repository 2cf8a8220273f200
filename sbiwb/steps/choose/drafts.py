"""The inputs of the network as the data decide them, with the networks that may suit each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sbiwb.config.model import Input, Model
from sbiwb.steps.choose import candidates
from sbiwb.steps.choose.candidates import Candidate
from sbiwb.steps.choose.chains import ChosenChain, chain_of
from sbiwb.steps.choose.variables import SeenVariables

Plain = dict[str, object]
MAX_BROADCAST = 4  # context variables that every member sees too


@dataclass(frozen=True)
class Option:
    """One way to read an input.

    Args:
        candidate: The summary network and what goes with it.
        section: The input's section of the YAML.
        whys: Of each key that was chosen, why.
        members: Members, steps or cells of the largest data set; 1 of a vector.
    """

    candidate: Candidate
    section: Plain
    whys: dict[str, str]
    members: int


@dataclass(frozen=True)
class Draft:
    """One input.

    Args:
        name: Its name.
        options: The ways to read it, the likeliest first.
    """

    name: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Drafter:
    """Makes the drafts of all inputs.

    Args:
        model: The section `model` as far as the YAML says it.
        variables: What may be seen.
        parameters: D.
    """

    model: Model
    variables: SeenVariables
    parameters: int

    def drafts(self) -> list[Draft]:
        """One for each input.

        Raises:
            ConfigError: A variable of varying length is neither called a set nor a series.
        """
        drafts = [self._given(name, section) for name, section in self.model.inputs.items()]
        for names in self._groups():
            drafts.append(self._draft("_".join(names), names, {}))
        return drafts

    def constants(self) -> list[str]:
        """Observables that the YAML does not mention and that never change."""
        unmentioned = [name for name in self._unmentioned() if name in self.variables.pairs.x]
        return [name for name in unmentioned if self.variables.is_constant(name)]

    def _given(self, name: str, section: Input) -> Draft:
        plain = section.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return self._draft(name, section.from_ or [name], plain)

    def _groups(self) -> Iterator[list[str]]:
        """The variables that the YAML does not mention; lists in order of one length together."""
        constants, ordered = self.constants(), dict[int, list[str]]()
        left = [name for name in self._unmentioned() if name not in constants]
        while left:
            name = left.pop(0)
            together = self.variables.joined(name)
            others = [other for other in left if other in together]
            if others:
                left = [other for other in left if other not in others]
                yield [name, *others]
                continue
            if self.variables.is_ordered_list(name):
                ordered.setdefault(self.variables.width(name), []).append(name)
            else:
                yield [name]
        yield from ordered.values()

    def _unmentioned(self) -> list[str]:
        used = set(self.model.drop)
        for name, section in self.model.inputs.items():
            used.update(section.from_ or [name], section.broadcast)
        return [name for name in self.variables.pairs.variables if name not in used]

    def _draft(self, name: str, sources: list[str], given: Plain) -> Draft:
        ways = list(self._ways(sources, given))
        if "summary" in given:
            ways = ways[:1]
        return Draft(name, tuple(self._option(name, sources, given, way) for way in ways))

    def _ways(self, sources: list[str], given: Plain) -> Iterator[Candidate]:
        """The ways to read these variables."""
        first = sources[0]
        kind = given.get("as") or self.variables.kind(first)
        if kind == "vector":
            yield from self._vector_ways(sources, given)
        elif kind == "grid":
            axes = 1 if given.get("axes") == 1 else 2
            yield from candidates.of_grid(self.variables.sizes(first)[:axes])
        elif kind == "set":
            yield from candidates.of_set(self.variables.longest(first))
        else:
            yield from candidates.of_series(self.variables.longest(first))

    def _vector_ways(self, sources: list[str], given: Plain) -> Iterator[Candidate]:
        if not all(map(self.variables.is_ordered_list, sources)):
            yield from candidates.of_vector(sum(map(self.variables.width, sources)))
            return
        may_be_series = not {"as", "transforms"} & set(given)
        for way in candidates.of_ordered_list(self.variables.width(sources[0])):
            if way.as_ == "vector" or may_be_series:
                yield way

    def _option(self, name: str, sources: list[str], given: Plain, way: Candidate) -> Option:
        section: Plain = {"as": way.as_}
        whys = {"as": _why_kind(way)}
        if way.as_ == "grid":
            section["axes"] = way.axes
        if sources != [name]:
            section["from"] = sources
            whys["from"] = "lists in order, of one length"
        broadcast = self._broadcast(way, given)
        if broadcast:
            section["broadcast"] = broadcast
            whys["broadcast"] = "known of the whole data set"
        chains = self._chains(sources, broadcast, way, given)
        if chains:
            section["transforms"] = _short(
                {key: list(chain.parts) for key, chain in chains.items()}
            )
            whys["transforms"] = _joined({key: chain.why for key, chain in chains.items()})
        section["summary"] = way.summary
        whys["summary"] = way.why
        if way.name != "identity" and "summary" not in given:
            section["features"] = candidates.features(self.parameters)
            whys["features"] = f"for {self.parameters} columns of parameters"
        chosen = {key: why for key, why in whys.items() if key not in given}
        members = self.variables.members(sources[0], way.as_, way.axes)
        return Option(way, {**section, **given}, chosen, members)

    def _broadcast(self, way: Candidate, given: Plain) -> list[str]:
        """Context variables that every member sees too: numbers that are not its set's size."""
        if way.as_ not in ("set", "series") or {"broadcast", "transforms"} & set(given):
            return []
        context = [name for name in self.variables.pairs.context if name not in self.model.drop]
        wanted = [name for name in context if not self.variables.is_size(name)]
        if sum(map(self.variables.width, wanted)) > MAX_BROADCAST:
            return []
        return wanted

    def _chains(
        self, sources: Sequence[str], broadcast: Sequence[str], way: Candidate, given: Plain
    ) -> dict[str, ChosenChain]:
        """The chain of each variable, unless the YAML says them."""
        if "transforms" in given:
            return {}
        chains = {name: self._chain(name, way.as_, way.axes) for name in sources}
        for name in broadcast or given.get("broadcast", ()):  # type: ignore[attr-defined]
            chains[name] = self._chain(name, "vector", 2)
        return chains

    def _chain(self, name: str, as_: str, axes: int) -> ChosenChain:
        rows = self.variables.rows(name, as_, axes)
        levels, missing = self.variables.levels(name), self.variables.may_miss(name)
        return chain_of(rows, levels=levels, missing=missing)


def _why_kind(way: Candidate) -> str:
    if way.as_ == "vector":
        return "a fixed list of numbers"
    if way.as_ == "grid":
        return "cells in a fixed array"
    return "members side by side"


def _short(chains: dict[str, list[str | Plain]]) -> object:
    """A list where there is one variable."""
    if len(chains) == 1:
        return next(iter(chains.values()))
    return chains


def _joined(whys: dict[str, str]) -> str:
    if len(set(whys.values())) == 1:
        return next(iter(whys.values()))
    return "; ".join(f"{name}: {why}" for name, why in whys.items())
