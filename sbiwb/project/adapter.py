"""The adapter from the user's variables to the network: learned on pairs, or restored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from sbiwb.adapters import InputAdapter, InputState, ThetaMap, ThetaState
from sbiwb.config.model import Input, Model
from sbiwb.contracts import Distribution, InputShape
from sbiwb.errors import ConfigError
from sbiwb.priors import Prior
from sbiwb.records import Pairs


class AdapterState(TypedDict):
    """Everything learned, as JSON can hold it."""

    theta: ThetaState
    inputs: dict[str, InputState]


@dataclass(frozen=True)
class Adapter:
    """All that stands between the user's variables and the network."""

    theta_map: ThetaMap
    inputs: Mapping[str, InputAdapter]

    def state(self) -> AdapterState:
        """Everything learned, as plain values."""
        inputs = {name: adapter.state() for name, adapter in self.inputs.items()}
        return {"theta": self.theta_map.state(), "inputs": inputs}

    @property
    def warnings(self) -> list[str]:
        """Sentences on training data whose spread is lost in rounding, each once."""
        sentences = [line for adapter in self.inputs.values() for line in adapter.warnings]
        return list(dict.fromkeys(sentences))

    @property
    def shapes(self) -> dict[str, InputShape]:
        """What the network is given, by input."""
        return {name: adapter.shape for name, adapter in self.inputs.items()}

    def z(self, theta: np.ndarray) -> np.ndarray:
        """Unconstrained parameters, (N, D), of theta (N, D)."""
        return self.theta_map.forward(theta)

    def arrays(self, pairs: Pairs) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Values and mask of each input."""
        return {name: adapter.apply(pairs.variables) for name, adapter in self.inputs.items()}


def fit_adapter(model: Model, prior: Prior, pairs: Pairs) -> Adapter:
    """Learns all statistics on training pairs.

    Raises:
        ConfigError: An observable or context variable is neither used nor dropped, or an input
            names one that does not exist.
        DataError: A transform cannot take the values.
    """
    check_variables(model, set(pairs.x), set(pairs.context))
    _check_all_used(model, set(pairs.variables))
    inputs = {}
    for name, section in model.inputs.items():
        inputs[name] = InputAdapter.fit(section.plan(name), pairs.variables)
    theta = prior.stack(pairs.theta)
    return Adapter(ThetaMap.fit(prior.columns, _maps_of(model, prior), theta), inputs)


def restore_adapter(model: Model, prior: Prior, state: AdapterState) -> Adapter:
    """The adapter whose state is in a checkpoint."""
    inputs = {}
    for name, section in model.inputs.items():
        inputs[name] = InputAdapter.restore(section.plan(name), state["inputs"][name])
    theta_map = ThetaMap.restore(prior.columns, _maps_of(model, prior), state["theta"])
    return Adapter(theta_map, inputs)


def _maps_of(model: Model, prior: Prior) -> list[tuple[slice, Distribution, str]]:
    """Columns, distribution and kind of map of each parameter."""
    _check_theta(model, prior)
    maps = []
    for name in prior.names:
        kind = model.theta_kind(name)
        if kind == "prior":
            kind = model.inference.theta_map
        maps.append((prior.slices[name], prior.distributions[name], kind))
    return maps


def _check_theta(model: Model, prior: Prior) -> None:
    if not isinstance(model.theta, dict):
        return
    unknown = sorted(set(model.theta) - set(prior.names))
    if unknown:
        raise ConfigError(
            f"model.theta  {', '.join(unknown)} is no parameter",
            todo=f"There are: {', '.join(prior.names)}.",
        )


def check_variables(model: Model, x: set[str], context: set[str]) -> None:
    """No input and no `drop` names what the simulator does not return, or names it twice.

    Raises:
        ConfigError: With the names on either side.
    """
    returned = x | context
    for name, section in model.inputs.items():
        variables = (*section.sources(name), *section.broadcast)
        _check_known(name, variables, returned, unnamed=x == {"x"})
        _check_once(name, variables)
        _check_chains(name, section, variables)
    unknown = sorted(set(model.drop) - returned)
    if unknown:
        raise ConfigError(
            f"model.drop  {', '.join(unknown)} does not exist",
            todo=f"There are: {', '.join(sorted(returned))}.",
        )


def _check_known(
    name: str, variables: tuple[str, ...], returned: Collection[str], *, unnamed: bool
) -> None:
    unknown = [variable for variable in variables if variable not in returned]
    if not unknown:
        return
    todo = f"There are: {', '.join(sorted(returned))}. Join several with from: [a, b]."
    if unnamed:
        todo += f" An array without a name is called x: return {{'{unknown[0]}': array}}."
    raise ConfigError(
        f"model.inputs.{name}  uses {', '.join(unknown)}, which the simulator does not return",
        todo=todo,
    )


def _check_once(name: str, variables: tuple[str, ...]) -> None:
    twice = sorted({variable for variable in variables if variables.count(variable) > 1})
    if twice:
        raise ConfigError(
            f"model.inputs.{name}  uses {', '.join(twice)} twice",
            todo="Name it under 'from' or 'broadcast', once.",
        )


def _check_chains(name: str, section: Input, variables: tuple[str, ...]) -> None:
    if not isinstance(section.transforms, dict):
        return
    stray = sorted(set(section.transforms) - set(variables))
    if stray:
        raise ConfigError(
            f"model.inputs.{name}.transforms  names {', '.join(stray)}, which is not joined here"
        )


def _check_all_used(model: Model, returned: set[str]) -> None:
    """Nothing is forgotten where the inputs are complete."""
    used = set(model.drop)
    for name, section in model.inputs.items():
        used.update(section.sources(name), section.broadcast)
    forgotten = sorted(returned - used)
    if forgotten:
        raise ConfigError(
            f"model.inputs  {', '.join(forgotten)} is neither used nor dropped",
            todo=f"Use it as an input, or write drop: [{', '.join(forgotten)}].",
        )
