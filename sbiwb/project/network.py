"""From config and shapes to the network that is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from sbiwb.adapters import ThetaMap
from sbiwb.config.model import Input, Model
from sbiwb.contracts import InputShape, SummaryPart
from sbiwb.contracts.network_modules import SummaryModule, TrainableModule
from sbiwb.networks import mixed
from sbiwb.networks import summary as summaries
from sbiwb.networks.estimator import Estimator
from sbiwb.seeds import generator, torch_seed

DEFAULT_SUMMARY = {"vector": "identity", "set": "deepset", "series": "lstm", "grid": "conv2d"}
MIN_FEATURES = 8  # of a summary that is given no size


def build_network(
    model: Model, theta_map: ThetaMap, shapes: Mapping[str, InputShape], *, seed: int, pairs: int
) -> TrainableModule:
    """What is trained, untrained as yet; its weights depend on the seed alone.

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
    """The seed of one of the networks that train together.

    With it as `train.seed`, a network alone takes the same steps.
    """
    if model.uncertainty.seeds_each_member:
        return torch_seed(generator(seed, "member", member))
    return seed


def _estimator(model: Model, theta_map: ThetaMap, shapes: Mapping[str, InputShape]) -> Estimator:
    size = len(theta_map.columns)
    networks = {name: _summary(model.inputs[name], shape, size) for name, shape in shapes.items()}
    features = sum(network.features for network in networks.values())
    fusion = None
    if model.fusion:
        fusion = model.fusion.build(InputShape("vector", features), _default_features(size))
        features = fusion.features
    inference = mixed.build(
        model.inference, size, features, discrete=theta_map.discrete, circular=theta_map.circular
    )
    return Estimator(
        networks,
        inference,
        fusion=fusion,
        mmd_weights=_mmd_weights(model, shapes),
        fused_mmd_weight=_mmd_weight(model.fusion),
    )


def _summary(section: Input, shape: InputShape, size: int) -> SummaryModule:
    part = section.summary or summaries.family.parse(_default_kind(shape))
    return part.build(shape, section.features or _default_features(size))


def _default_kind(shape: InputShape) -> str:
    if len(shape.grid) == 1:
        return "conv1d"
    return DEFAULT_SUMMARY[shape.kind]


def _default_features(size: int) -> int:
    return max(2 * size, MIN_FEATURES)


def _mmd_weights(model: Model, names: Iterable[str]) -> dict[str, float]:
    """Of the inputs whose summaries the loss draws to N(0, I)."""
    weights = {name: _mmd_weight(model.inputs[name].summary) for name in names}
    return {name: weight for name, weight in weights.items() if weight}


def _mmd_weight(part: SummaryPart | None) -> float:
    """Of the squared MMD between summaries and N(0, I) in the loss."""
    if part is None:
        return 0.0
    return part.penalty_weight
