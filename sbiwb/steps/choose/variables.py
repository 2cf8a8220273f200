"""What the variables of a problem are: numbers, lists, members, cells; constant, or in order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from sbiwb import adapters
from sbiwb.config.model import ProblemSection
from sbiwb.errors import ConfigError
from sbiwb.records import Pairs, Ragged, Variable, take
from sbiwb.steps.choose import neighbours

MAX_ROWS = 200_000  # members or cells that a chain is chosen from
MIN_ORDERED = 8  # columns of a list whose order is looked at
MIN_CORRELATION = 0.1  # of neighbours in a list that is taken for a series
MAX_CHANNELS = 3  # of a series in an array of two axes; a picture has more


@dataclass(frozen=True)
class SeenVariables:
    """The variables that a network may see, by name.

    Args:
        problem: Says which may miss values, and which context is categorical.
        pairs: Some training pairs.
    """

    problem: ProblemSection
    pairs: Pairs
    _ordered: dict[str, bool] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Variable:
        return self.pairs.variables[name]

    def is_ragged(self, name: str) -> bool:
        return isinstance(self[name], Ragged)

    def kind(self, name: str) -> str:
        """What its shape says.

        Raises:
            ConfigError: Its length varies, which does not say whether it is a set or a series.
        """
        variable, said = self[name], self._said(name)
        if isinstance(variable, Ragged):
            if said is None:
                raise self._ambiguous(name)
            return said
        if variable.ndim <= 2:
            return "vector"
        if said is not None:
            return said
        if variable.ndim == 3 and variable.shape[2] <= MAX_CHANNELS:
            return "series"
        return "grid"

    def _said(self, name: str) -> str | None:
        """Whether its structure makes it a set or a series; None where nothing is said."""
        for label, structure in self.problem.structure.items():
            if name in structure.sources(label) and structure.as_ != "joint":
                return "series" if structure.is_ordered else "set"
        return None

    def joined(self, name: str) -> list[str]:
        """The observables that a structure says belong together, this one among them."""
        for label, structure in self.problem.structure.items():
            if name in structure.sources(label):
                return list(structure.sources(label))
        return [name]

    def _ambiguous(self, name: str) -> ConfigError:
        resemblance = neighbours.of_members(self[name])
        kind, how = "set", "neighbours are no more alike than other members"
        if resemblance.is_ordered:
            kind, how = "series", f"neighbours are correlated ({resemblance.correlation:.2f})"
        alike = self.of_the_same_lengths(name)
        line = f"{name}: {{as: {kind}}}"
        if len(alike) > 1:
            line = f"{'_'.join(alike)}: {{from: [{', '.join(alike)}], as: {kind}}}"
        return ConfigError(
            f"model.inputs  {name} has a length of its own in each data set: is it a set or a "
            f"series? In these simulations {how} (p = {resemblance.p:.3f})",
            todo=f"Write model: {{inputs: {{{line}}}}}, or as: {_other(kind)} if you know better.",
        )

    def of_the_same_lengths(self, name: str) -> list[str]:
        """The observables whose members belong to those of a ragged one, itself among them."""
        lengths = self._lengths(name)
        alike = []
        for other in self.pairs.x:
            if self.is_ragged(other) and np.array_equal(self._lengths(other), lengths):
                alike.append(other)
        return alike

    def _lengths(self, name: str) -> np.ndarray:
        variable = self[name]
        assert isinstance(variable, Ragged)
        return variable.lengths

    def is_constant(self, name: str) -> bool:
        """Whether all its numbers are one."""
        values = _numbers(self[name])
        return values.size > 0 and bool((values == values.flat[0]).all())

    def is_ordered_list(self, name: str) -> bool:
        """Whether it is a list of numbers in which those side by side move together."""
        if name not in self._ordered:
            self._ordered[name] = self._look_at_order(name)
        return self._ordered[name]

    def _look_at_order(self, name: str) -> bool:
        variable = self[name]
        if isinstance(variable, Ragged) or variable.ndim != 2 or variable.shape[1] < MIN_ORDERED:
            return False
        resemblance = neighbours.of_columns(np.asarray(variable, np.float64))
        return resemblance.is_ordered and resemblance.correlation >= MIN_CORRELATION

    def width(self, name: str) -> int:
        """Numbers of a variable of one size, a data set."""
        return math.prod(self.sizes(name))

    def longest(self, name: str) -> int:
        """Members or steps of the longest data set."""
        variable = self[name]
        if isinstance(variable, Ragged):
            return int(variable.lengths.max(initial=0))
        return variable.shape[1]

    def sizes(self, name: str) -> tuple[int, ...]:
        """Of the axes of a data set of one size."""
        variable = self[name]
        assert not isinstance(variable, Ragged)
        return variable.shape[1:]

    def members(self, name: str, kind: str, axes: int) -> int:
        """Members, steps or cells of the largest data set; 1 of a vector."""
        if kind == "vector":
            return 1
        if kind == "grid":
            return math.prod(self.sizes(name)[:axes])
        return self.longest(name)

    def is_size(self, name: str) -> bool:
        """Whether a context variable is the number of members of a set or a series."""
        values = np.asarray(self[name])
        sizes = [self._lengths(other) for other in self.pairs.x if self.is_ragged(other)]
        return any(values.ndim == 1 and np.array_equal(values, lengths) for lengths in sizes)

    def may_miss(self, name: str) -> bool:
        return name in self.problem.missing

    def levels(self, name: str) -> int | None:
        """Categories of a categorical context variable; None of any other."""
        part = self.problem.context.get(name)
        if part is None or part.kind != "categorical":
            return None
        return len(part.model_dump()["probabilities"])

    def rows(self, name: str, kind: str, axes: int) -> np.ndarray:
        """Its numbers as an input of this kind reads them, (rows, C)."""
        variable, missing = self._few(self[name], kind), self.may_miss(name)
        return adapters.flatten(name, kind, variable, axes=axes, missing=missing).values

    def _few(self, variable: Variable, kind: str) -> Variable:
        """As many data sets as keep to `MAX_ROWS`."""
        if kind == "vector":
            return variable
        members = _numbers(variable).size // max(1, len(variable))
        count = min(len(variable), max(1, MAX_ROWS // max(1, members)))
        return take(variable, np.arange(count))


def _numbers(variable: Variable) -> np.ndarray:
    if isinstance(variable, Ragged):
        return variable.values
    return variable


def _other(kind: str) -> str:
    if kind == "set":
        return "series"
    return "set"
