"""From config and training pairs to the objects that learn: theta's map, input adapters, the estimator; and back from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbiwb.adapters import InputAdapter, ThetaMap
from sbiwb.config.model import Input, Model
from sbiwb.errors import ConfigError
from sbiwb.priors import Prior
from sbiwb.records import Pairs


@dataclass(frozen=True)
class Adapter:
    """All that stands between the user's variables and the network."""

    theta_map: ThetaMap
    inputs: Mapping[str, InputAdapter]

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain values."""
        return {
            "theta": self.theta_map.state(),
            "inputs": {name: one.state() for name, one in self.inputs.items()},
        }

    def z(self, theta: np.ndarray) -> np.ndarray:
        return self.theta_map.forward(theta)

    def arrays(self, pairs: Pairs) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Values and mask of each input."""
        return {name: one.apply(pairs.variables) for name, one in self.inputs.items()}


def fit_adapter(model: Model, prior: Prior, pairs: Pairs) -> Adapter:
    """Learns all statistics on training pairs.

    Raises:
        ConfigError: An observable or context variable is neither used nor dropped, or an input names one that does not exist.
        DataError: A transform cannot take the values.
    """
    check_variables(model, set(pairs.x), set(pairs.context))
    inputs = {
        name: InputAdapter.fit(one.plan(name), pairs.variables)
        for name, one in model.inputs.items()
    }
    return Adapter(
        ThetaMap.fit(prior.columns, _kinds(model, prior), prior.stack(pairs.theta)), inputs
    )


def restore_adapter(model: Model, prior: Prior, state: Mapping[str, Any]) -> Adapter:
    """The adapter whose state is in a checkpoint."""
    inputs = {
        name: InputAdapter.restore(one.plan(name), state["inputs"][name])
        for name, one in model.inputs.items()
    }
    return Adapter(ThetaMap.restore(prior.columns, _kinds(model, prior), state["theta"]), inputs)


def sources_of(name: str, one: Input) -> tuple[str, ...]:
    """The variables that an input joins, but for those it broadcasts."""
    return one.plan(name).sources


def _kinds(model: Model, prior: Prior) -> list[tuple[slice, Any, str]]:
    stray = sorted(set(model.theta) - set(prior.names)) if isinstance(model.theta, dict) else []
    if stray:
        raise ConfigError(
            f"model.theta  {', '.join(stray)} is no parameter",
            todo=f"There are: {', '.join(prior.names)}.",
        )
    chosen = (
        model.theta if isinstance(model.theta, dict) else dict.fromkeys(prior.names, model.theta)
    )
    usual = "standardize" if getattr(model.inference, "straight", False) else "prior"
    kinds = [
        usual if chosen.get(name, "prior") == "prior" else chosen[name] for name in prior.names
    ]
    return [
        (prior.slices[name], prior.distributions[name], kind)
        for name, kind in zip(prior.names, kinds, strict=True)
    ]


def check_variables(model: Model, x: set[str], context: set[str]) -> None:
    """Every observable and context variable is used or dropped, and nothing else is named.

    Raises:
        ConfigError: With the names on either side.
    """
    known = x | context
    read = {name: one.plan(name).variables for name, one in model.inputs.items()}
    used = {source for sources in read.values() for source in sources}
    for name, one in model.inputs.items():
        unknown = [source for source in read[name] if source not in known]
        if unknown:
            raise ConfigError(
                f"model.inputs.{name}  uses {', '.join(unknown)}, which the simulator does not return",
                todo=f"There are: {', '.join(sorted(known))}. Join several with from: [a, b]."
                + f" An array without a name is called x: return {{'{unknown[0]}': array}}."
                * (x == {"x"}),
            )
        twice = sorted({source for source in read[name] if read[name].count(source) > 1})
        if twice:
            raise ConfigError(
                f"model.inputs.{name}  uses {', '.join(twice)} twice",
                todo="Name it under 'from' or 'broadcast', once.",
            )
        if isinstance(one.transforms, dict) and set(one.transforms) - set(read[name]):
            stray = set(one.transforms) - set(read[name])
            raise ConfigError(
                f"model.inputs.{name}.transforms  names {', '.join(sorted(stray))}, which is not joined here"
            )
    forgotten = sorted(known - used - set(model.drop))
    if forgotten:
        raise ConfigError(
            f"model.inputs  {', '.join(forgotten)} is neither used nor dropped",
            todo=f"Use it as an input, or write drop: [{', '.join(forgotten)}].",
        )
    stray_drop = sorted(set(model.drop) - known)
    if stray_drop:
        raise ConfigError(
            f"model.drop  {', '.join(stray_drop)} does not exist",
            todo=f"There are: {', '.join(sorted(known))}.",
        )
