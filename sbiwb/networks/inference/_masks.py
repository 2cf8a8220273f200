"""Masks of autoregressive networks: units sorted by pass, and the plan that `flow.c` needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from zuko.nn import MaskedLinear

from sbiwb.networks import compiled_flow


@dataclass(frozen=True)
class Pass:
    """One pass of the inverse.

    Args:
        columns: Those that it computes.
        units: How many of each hidden layer are known by then.
    """

    columns: Tensor
    units: tuple[int, ...]


def sort_units(
    layers: Sequence[MaskedLinear], order: Tensor
) -> tuple[list[nn.Parameter], list[Tensor], list[Pass]]:
    """Weights (out, 1 + in) and masks, and the passes.

    Hidden units are sorted by the pass that first can compute them.
    """
    columns = len(order)
    features = layers[0].weight.shape[1] - columns
    # the pass in which each input is known
    first = torch.cat([torch.zeros(features, dtype=torch.long), order + 1])
    inputs = torch.cat([torch.arange(columns, columns + features), torch.arange(columns)])
    weights, masks, hidden = [], [], []
    for layer in layers:
        mask = layer.mask[:, inputs].bool()
        needed = torch.where(mask, first, 0).amax(1)
        units = torch.argsort(needed, stable=True)
        if layer is layers[-1]:
            units = torch.arange(len(needed))
        mask = torch.cat([torch.ones(len(units), 1, dtype=torch.bool), mask[units]], 1)
        weight = torch.cat([layer.bias[units, None], layer.weight[units][:, inputs]], 1)
        weights.append(nn.Parameter((weight * mask).detach().clone()))
        masks.append(mask.to(weight.dtype))
        first, inputs = needed[units], units
        hidden.append(first)
    return weights, masks, _passes(order, hidden[:-1])


def _passes(order: Tensor, hidden: Sequence[Tensor]) -> list[Pass]:
    """The passes in their order.

    Args:
        order: The pass in which each column is computed, (D,).
        hidden: The pass that first can compute each unit of each hidden layer.
    """
    passes = []
    for p in range(int(order.max()) + 1):
        units = tuple(int((first <= p).sum()) for first in hidden)
        passes.append(Pass(torch.nonzero(order == p)[:, 0], units))
    return passes


def flow_plan(
    masks: Sequence[Tensor], order: Tensor, passes: Sequence[Pass]
) -> compiled_flow.FlowPlan | None:
    """The masks as `flow.c` wants them, or None where they are no staircase once sorted by pass."""
    if not 2 <= len(masks) <= compiled_flow.MAX_LAYERS:
        return None
    columns, turn = len(order), torch.argsort(order, stable=True)
    computed = [(order <= p).sum() for p in range(len(passes))]
    steps = [turn, torch.tensor([len(passes)]), torch.stack(computed)]
    for depth in range(len(masks) - 1):
        steps.append(torch.tensor([each.units[depth] for each in passes]))
    for is_open in _turned(masks, turn):
        count = is_open.sum(1)
        if not _is_staircase(is_open, count):
            return None
        steps += [count, (~is_open).sum(0)]
    widths = [len(mask) for mask in masks[:-1]]
    sizes = torch.tensor([columns, masks[0].shape[1] - 1 - columns, len(masks), *widths])
    return compiled_flow.FlowPlan(sizes, torch.cat(steps))


def _turned(masks: Sequence[Tensor], turn: Tensor) -> list[Tensor]:
    """The masks without their biases, columns of theta in the order in which they are computed."""
    first, *middle, last = [mask[:, 1:].bool() for mask in masks]
    features = first.shape[1] - len(turn)
    first = torch.cat([first[:, :features], first[:, features:][:, turn]], 1)
    last = last.unflatten(0, (len(turn), -1))[turn].flatten(0, 1)
    return [first, *middle, last]


def _is_staircase(is_open: Tensor, count: Tensor) -> bool:
    """Whether each row is open up to its count, and the counts rise."""
    stairs = torch.arange(is_open.shape[1]) < count[:, None]
    return torch.equal(is_open, stairs) and bool((count.diff() >= 0).all())
