"""From config and training pairs to the objects that learn: theta's map, input adapters, the estimator; and back from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sbiwb.adapters import InputAdapter, ThetaMap
from sbiwb.config.model import Input, Model
from sbiwb.contracts import InputShape
from sbiwb.errors import ConfigError
from sbiwb.executors.pool import usable_cores
from sbiwb.families import Part
from sbiwb.networks import summary as summaries
from sbiwb.networks.estimator import Estimator
from sbiwb.networks.inference import _mixed
from sbiwb.priors import Prior
from sbiwb.records import Pairs
from sbiwb.seeds import generator, torch_seed

DEFAULT_SUMMARY = {"vector": "identity", "set": "deepset", "series": "lstm", "grid": "conv2d"}


@dataclass(frozen=True)
class Adapter:
    """All that stands between the user's variables and the network."""

    theta_map: ThetaMap
    inputs: Mapping[str, InputAdapter]

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain values."""
        return {"theta": self.theta_map.state(), "inputs": {name: one.state() for name, one in self.inputs.items()}}

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
    inputs = {name: InputAdapter.fit(one.plan(name), pairs.variables) for name, one in model.inputs.items()}
    return Adapter(ThetaMap.fit(prior.columns, _kinds(model, prior), prior.stack(pairs.theta)), inputs)


def restore_adapter(model: Model, prior: Prior, state: Mapping[str, Any]) -> Adapter:
    """The adapter whose state is in a checkpoint."""
    inputs = {name: InputAdapter.restore(one.plan(name), state["inputs"][name]) for name, one in model.inputs.items()}
    return Adapter(ThetaMap.restore(prior.columns, _kinds(model, prior), state["theta"]), inputs)


def sources_of(name: str, one: Input) -> tuple[str, ...]:
    """The variables that an input joins, but for those it broadcasts."""
    return one.plan(name).sources


def _kinds(model: Model, prior: Prior) -> list[tuple[slice, Any, str]]:
    stray = sorted(set(model.theta) - set(prior.names)) if isinstance(model.theta, dict) else []
    if stray:
        raise ConfigError(f"model.theta  {', '.join(stray)} is no parameter", todo=f"There are: {', '.join(prior.names)}.")
    chosen = model.theta if isinstance(model.theta, dict) else dict.fromkeys(prior.names, model.theta)
    usual = "standardize" if getattr(model.inference, "straight", False) else "prior"
    kinds = [usual if chosen.get(name, "prior") == "prior" else chosen[name] for name in prior.names]
    return [(prior.slices[name], prior.distributions[name], kind) for name, kind in zip(prior.names, kinds, strict=True)]


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
                + f" An array without a name is called x: return {{'{unknown[0]}': array}}." * (x == {"x"}),
            )
        twice = sorted({source for source in read[name] if read[name].count(source) > 1})
        if twice:
            raise ConfigError(f"model.inputs.{name}  uses {', '.join(twice)} twice", todo="Name it under 'from' or 'broadcast', once.")
        if isinstance(one.transforms, dict) and set(one.transforms) - set(read[name]):
            stray = set(one.transforms) - set(read[name])
            raise ConfigError(f"model.inputs.{name}.transforms  names {', '.join(sorted(stray))}, which is not joined here")
    forgotten = sorted(known - used - set(model.drop))
    if forgotten:
        raise ConfigError(
            f"model.inputs  {', '.join(forgotten)} is neither used nor dropped",
            todo=f"Use it as an input, or write drop: [{', '.join(forgotten)}].",
        )
    stray_drop = sorted(set(model.drop) - known)
    if stray_drop:
        raise ConfigError(f"model.drop  {', '.join(stray_drop)} does not exist", todo=f"There are: {', '.join(sorted(known))}.")


def build_network(model: Model, theta_map: ThetaMap, shapes: Mapping[str, InputShape], *, seed: int, pairs: int) -> Any:
    """What is trained (`sbiwb.contracts.Trained`), untrained as yet; its weights depend on the seed alone.

    Args:
        model: Which networks, and what uncertainty of their weights.
        theta_map: Tells what the columns of z are.
        shapes: Of the inputs.
        seed: `train.seed`.
        pairs: Training pairs.

    Raises:
        ConfigError: A network cannot take an input, or a parameter.
    """

    def make(member: int) -> Estimator:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(generator(member_seed(model, seed, member), "init")))
            return _estimator(model, theta_map, shapes)

    return model.uncertainty.build(make, pairs)  # type: ignore[attr-defined]


def member_seed(model: Model, seed: int, member: int) -> int:
    """The seed of one of the networks that train together: with it as `train.seed`, a network alone takes the same steps."""
    alone = model.uncertainty.kind != "ensemble"
    return seed if alone else torch_seed(generator(seed, "member", member))


def _estimator(model: Model, theta_map: ThetaMap, shapes: Mapping[str, InputShape]) -> Estimator:
    size = len(theta_map.columns)
    networks = {name: _summary(model.inputs[name], shape, size) for name, shape in shapes.items()}
    features = sum(network.features for network in networks.values())
    fusion: Any = model.fusion.build(InputShape("vector", features), max(2 * size, 8)) if model.fusion else None  # type: ignore[attr-defined]
    known = fusion.features if fusion else features
    inference = _mixed.build(model.inference, size, known, discrete=theta_map.discrete, circular=theta_map.circular)
    weights = {name: _mmd_weight(model.inputs[name].summary) for name in networks}
    return Estimator(
        networks,
        inference,
        fusion=fusion,
        mmd_weights={name: weight for name, weight in weights.items() if weight},
        fused_mmd_weight=_mmd_weight(model.fusion),
    )


def _summary(one: Input, shape: InputShape, size: int) -> Any:
    part = one.summary or summaries.family.parse("conv1d" if len(shape.grid) == 1 else DEFAULT_SUMMARY[shape.kind])
    return part.build(shape, one.features or max(2 * size, 8))  # type: ignore[attr-defined]


def _mmd_weight(part: Part | None) -> float:
    """Of the squared MMD between summaries and N(0, I) in the loss; 0 where the summaries may lie anywhere."""
    return part.mmd_weight if getattr(part, "base_distribution", None) == "normal" else 0.0  # type: ignore[union-attr]


def device_of(wanted: str) -> str:
    """The device that `machine.device` means here.

    Raises:
        ConfigError: A GPU is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("machine.device  no GPU is visible to torch", todo="Use device: auto, or run where `nvidia-smi` shows one.")
    return "cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu"


def sampling_threads(wanted: int | str) -> int:
    """Chunks of draws made at a time: as many as there are cores, unless `machine.threads` says otherwise."""
    return wanted if isinstance(wanted, int) else usable_cores()
