"""From config and shapes to the network that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sbiwb.adapters import ThetaMap
from sbiwb.config.model import Input, Model
from sbiwb.contracts import InputShape, SummaryPart
from sbiwb.networks import mixed
from sbiwb.networks import summary as summaries
from sbiwb.networks.estimator import Estimator
from sbiwb.seeds import generator, torch_seed

DEFAULT_SUMMARY = {"vector": "identity", "set": "deepset", "series": "lstm", "grid": "conv2d"}


def build_network(
    model: Model, theta_map: ThetaMap, shapes: Mapping[str, InputShape], *, seed: int, pairs: int
) -> Any:
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

    return model.uncertainty.build(make, pairs)


def member_seed(model: Model, seed: int, member: int) -> int:
    """The seed of one of the networks that train together: with it as `train.seed`, a network alone takes the same steps."""
    alone = not model.uncertainty.seeds_each_member
    return seed if alone else torch_seed(generator(seed, "member", member))


def _estimator(model: Model, theta_map: ThetaMap, shapes: Mapping[str, InputShape]) -> Estimator:
    size = len(theta_map.columns)
    networks = {name: _summary(model.inputs[name], shape, size) for name, shape in shapes.items()}
    features = sum(network.features for network in networks.values())
    fusion: Any = None
    if model.fusion:
        fusion = model.fusion.build(InputShape("vector", features), max(2 * size, 8))
    known = fusion.features if fusion else features
    inference = mixed.build(
        model.inference, size, known, discrete=theta_map.discrete, circular=theta_map.circular
    )
    weights = {name: _mmd_weight(model.inputs[name].summary) for name in networks}
    return Estimator(
        networks,
        inference,
        fusion=fusion,
        mmd_weights={name: weight for name, weight in weights.items() if weight},
        fused_mmd_weight=_mmd_weight(model.fusion),
    )


def _summary(one: Input, shape: InputShape, size: int) -> Any:
    part = one.summary or summaries.family.parse(
        "conv1d" if len(shape.grid) == 1 else DEFAULT_SUMMARY[shape.kind]
    )
    return part.build(shape, one.features or max(2 * size, 8))


def _mmd_weight(part: SummaryPart | None) -> float:
    """Of the squared MMD between summaries and N(0, I) in the loss; 0 where the summaries may lie anywhere."""
    return part.penalty_weight if part else 0.0
