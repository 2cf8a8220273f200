"""One masked autoregressive (or coupling) transform: a network whose masks say which columns may
know which, and a spline a column.

The masks and the initial weights are zuko's; the evaluation is our own, feature-first and with few
operations:

- a layer is one matrix (out, 1 + in), its bias the first column, so that a layer is one matrix
  product each way;
- with ReLU, on the CPU, a whole flow is one node of autograd, in C (`flow.c`);
- hidden units are sorted by the pass that first needs them, so that the inverse in C computes each
  unit once, in the pass of its degree: D passes cost about one evaluation. What depends on the
  features alone is computed once for all draws of an observation.

References:
    Germain et al. (2015), MADE: Masked Autoencoder for Distribution Estimation,
    https://arxiv.org/abs/1502.03509
    Papamakarios et al. (2017), Masked Autoregressive Flow, https://arxiv.org/abs/1705.07057
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from zuko.nn import MaskedLinear

from sbiwb.networks import compiled_flow
from sbiwb.networks.inference import _spline


@dataclass(frozen=True)
class Pass:
    """One pass of the inverse: the columns it computes, and how many units of each hidden layer are
    known by then.
    """

    columns: Tensor
    units: tuple[int, ...]


def log_prob(transforms: Sequence[MaskedTransform], z: Tensor, features: Tensor) -> Tensor:
    """log q(z | features) (B,) of z (B, D) and features (B, H): noise is standard normal."""
    native = _native_flow(transforms, z, features)
    if native:
        return _Fused.apply(z, features, native.kernels, native.plans, *native.layers)
    x, known, total = z.t().contiguous(), _known(features), z.new_zeros(len(z))
    for transform in transforms:
        x, log_det = transform(x, known)
        total = total + log_det
    return total + _log_normal(x)


def side_by_side(flows: Sequence[Sequence[MaskedTransform]], z: Tensor, features: Tensor) -> Tensor:
    """log q_m(z_m | features_m) of M flows (M, B), of z (M, B, D) and features (M, B, H); in C on
    as many cores as there are.
    """
    native = [_native_flow(flow, *pair) for flow, *pair in zip(flows, z, features, strict=True)]
    if not all(native):
        return torch.stack(
            [log_prob(flow, *pair) for flow, *pair in zip(flows, z, features, strict=True)]
        )
    ready = [flow for flow in native if flow]
    return _FusedTogether.apply(
        z, features, ready, *(layer for flow in ready for layer in flow.layers)
    )


def transport(transforms: Sequence[MaskedTransform], noise: Tensor, features: Tensor) -> Tensor:
    """z (N, S, D) of noise (N, S, D), given features (N, H)."""
    native = None if torch.is_grad_enabled() else _native_flow(transforms, noise, features)
    if native:
        return (
            native.inverse(noise.flatten(0, 1).t(), features.t()).t().unflatten(0, noise.shape[:2])
        )
    y, known = noise.flatten(0, 1).t(), _known(features.repeat_interleave(noise.shape[1], dim=0))
    for transform in reversed(transforms):
        y = transform.inverse(y, known)
    return y.t().unflatten(0, noise.shape[:2])


def _known(features: Tensor) -> Tensor:
    """Features (B, H) as rows, after one of ones that meets the biases, (1 + H, B)."""
    return torch.cat([features.new_ones(1, len(features)), features.t()])


def _log_normal(noise: Tensor) -> Tensor:
    """The standard normal's log-density (B,) at noise (D, B)."""
    return -0.5 * (noise.square().sum(0) + len(noise) * math.log(2 * math.pi))


def _native_flow(
    transforms: Sequence[MaskedTransform], z: Tensor, features: Tensor
) -> compiled_flow.CompiledFlow | None:
    """The flow in C, or None where it cannot be evaluated there: C checks nothing, so whatever is
    unusual is left to torch.
    """
    first, plans = transforms[0], [transform.plan for transform in transforms if transform.plan]
    kernels = compiled_flow.flows(z, first.rows) if len(plans) == len(transforms) else None
    if not kernels or (z.shape[0], z.shape[-1], first.features) != (
        features.shape[0],
        first.columns,
        features.shape[-1],
    ):
        return None
    # a ParameterList's own iterator would take a tenth of a small evaluation
    layers = [
        layer
        for transform in transforms
        for layer in transform.layers._parameters.values()
        if layer is not None
    ]
    plain = all(
        tensor.dtype == torch.float32 and tensor.is_cpu and tensor.is_contiguous()
        for tensor in layers
    )
    return (
        compiled_flow.CompiledFlow(kernels, plans, layers)
        if plain and features.dtype == torch.float32 and features.is_cpu
        else None
    )


class MaskedTransform(nn.Module):
    """y (D, B) of x (D, B), given what is known, (1 + H, B): a row of ones, then the features.

    Args:
        layers: zuko's masked layers for [x, features]; the last has R rows for each of D columns.
        order: The pass in which each column is computed, (D,).
        activation: Function after each hidden layer.
    """

    def __init__(
        self, layers: Sequence[MaskedLinear], order: Tensor, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.columns, self.rows, self.activation = (
            len(order),
            len(layers[-1].weight) // len(order),
            activation,
        )
        self.features = layers[0].weight.shape[1] - self.columns
        weights, masks, self.passes = _sorted(layers, order)
        self.plan = _plan(masks, order, self.passes) if activation is torch.relu else None
        self.layers = nn.ParameterList(weights)
        for depth, mask in enumerate(masks):
            self.register_buffer(f"mask_{depth}", mask, persistent=False)

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """y (D, B) and the log-determinant (B,), by operations of torch."""
        return _spline.forward(x, self._phi(x, known))

    def inverse(self, y: Tensor, known: Tensor) -> Tensor:
        """x (D, B) of y (D, B), by operations of torch: the whole network once a pass, nothing in
        place.
        """
        x = torch.zeros_like(y)
        for one in self.passes:
            phi = self._phi(x, known)[one.columns]
            x = x.index_copy(0, one.columns.to(y.device), _spline.inverse(y[one.columns], phi))
        return x

    def _masks(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, f"mask_{depth}") for depth in range(len(self.layers)))

    def _weights(self) -> list[Tensor]:
        return [weight * mask for weight, mask in zip(self.layers, self._masks(), strict=True)]

    def _phi(self, x: Tensor, known: Tensor) -> Tensor:
        """phi (D, R, B), by operations that autograd and compilers know; never less precise than
        float32.
        """
        *body, last = self._weights()
        hidden = torch.cat([known, x])
        for weight in body:
            hidden = torch.cat([known[:1], self.activation(weight @ hidden).to(known.dtype)])
        return (last @ hidden).to(x.dtype).unflatten(0, (self.columns, self.rows))


class _Fused(torch.autograd.Function):
    """log q of transforms with ReLU as one node, nearly all of it in C."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        features: Tensor,
        kernels: compiled_flow.Kernels,
        plans: Sequence[compiled_flow.FlowPlan],
        *layers: Tensor,
    ) -> Tensor:
        noise, log_det, kept = compiled_flow.CompiledFlow(kernels, plans, layers).forward(
            z.t(), features.t(), keep=any(ctx.needs_input_grad)
        )
        ctx.kernels, ctx.plans = kernels, plans
        ctx.save_for_backward(noise, features, kept, *layers)
        return log_det + _log_normal(noise)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        noise, features, kept, *layers = ctx.saved_tensors
        g_z, g_features = (
            -grad * noise,
            features.new_zeros(features.shape[::-1]) if ctx.needs_input_grad[1] else None,
        )
        g_layers = compiled_flow.CompiledFlow(ctx.kernels, ctx.plans, layers).backward(
            kept, g_z, grad.contiguous(), g_features
        )
        return g_z.t(), None if g_features is None else g_features.t(), None, None, *g_layers


class _FusedTogether(torch.autograd.Function):
    """log q of M flows as one node, the members side by side in C.

    Each member's gradients are made right after its density, while its activations lie in the
    cache: all members' together would not fit, and each would take twice the time. They are those
    of the mean of -log q; another loss pays for them again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        features: Tensor,
        flows: Sequence[compiled_flow.CompiledFlow],
        *layers: Tensor,
    ) -> Tensor:
        if not any(ctx.needs_input_grad):
            done = compiled_flow.side_by_side(
                lambda m: flows[m].forward(z[m].t(), features[m].t(), keep=False), len(flows)
            )
            return torch.stack([log_det + _log_normal(noise) for noise, log_det, _ in done])
        usual = z.new_full((z.shape[1],), -1 / z.shape[1])
        found = compiled_flow.side_by_side(
            lambda m: _with_gradients(flows[m], z[m], features[m], usual), len(flows)
        )
        ctx.flows, ctx.usual, ctx.found = flows, usual, [gradients for _, gradients in found]
        ctx.save_for_backward(z, features, *layers)
        return torch.stack([log_q for log_q, _ in found])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (found, ctx.found), (z, features, *layers) = (ctx.found, None), ctx.saved_tensors
        if found is None or not torch.equal(grad, ctx.usual.expand_as(grad)):
            each = len(layers) // len(ctx.flows)
            flows = [
                compiled_flow.CompiledFlow(
                    one.kernels, one.plans, layers[m * each : (m + 1) * each]
                )
                for m, one in enumerate(ctx.flows)
            ]
            again = compiled_flow.side_by_side(
                lambda m: _with_gradients(flows[m], z[m], features[m], grad[m].contiguous()),
                len(flows),
            )
            found = [gradients for _, gradients in again]
        g_layers = (layer for _, _, *own in found for layer in own)
        return (
            torch.stack([g_z for g_z, *_ in found]),
            torch.stack([known for _, known, *_ in found]),
            None,
            *g_layers,
        )


def _with_gradients(
    flow: compiled_flow.CompiledFlow, z: Tensor, features: Tensor, grad: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """log q (B,), and gradients of its sum weighed by `grad` (B,): of z (B, D), of the features (B,
    H), and of each layer.
    """
    noise, log_det, kept = flow.forward(z.t(), features.t(), keep=True)
    g_z, g_features = -grad * noise, features.new_zeros(features.shape[::-1])
    g_layers = flow.backward(kept, g_z, grad, g_features)
    return log_det + _log_normal(noise), [g_z.t(), g_features.t(), *g_layers]


def _plan(
    masks: Sequence[Tensor], order: Tensor, passes: Sequence[Pass]
) -> compiled_flow.FlowPlan | None:
    """The masks as `flow.c` wants them, or None where they are no staircase once rows and columns
    are sorted by pass.
    """
    columns, turn = len(order), torch.argsort(order, stable=True)
    steps = [
        turn,
        torch.tensor([len(passes)]),
        torch.stack([(order <= p).sum() for p in range(len(passes))]),
    ]
    steps += [torch.tensor([one.units[depth] for one in passes]) for depth in range(len(masks) - 1)]
    for depth, mask in enumerate(masks):
        open_ = mask[:, 1:].bool()
        if depth == 0:
            known = open_.shape[1] - columns
            open_ = torch.cat([open_[:, :known], open_[:, known:][:, turn]], 1)
        if depth == len(masks) - 1:
            open_ = open_.unflatten(0, (columns, -1))[turn].flatten(0, 1)
        count = open_.sum(1)
        if (
            not torch.equal(open_, torch.arange(open_.shape[1]) < count[:, None])
            or (count.diff() < 0).any()
        ):
            return None
        steps += [count, (~open_).sum(0)]
    widths = [len(mask) for mask in masks[:-1]]
    sizes = torch.tensor([columns, masks[0].shape[1] - 1 - columns, len(masks), *widths])
    return (
        compiled_flow.FlowPlan(sizes, torch.cat(steps))
        if 2 <= len(masks) <= compiled_flow.MOST_LAYERS
        else None
    )


def _sorted(
    layers: Sequence[MaskedLinear], order: Tensor
) -> tuple[list[nn.Parameter], list[Tensor], list[Pass]]:
    """Weights (out, 1 + in) and masks with hidden units sorted by the pass that first can compute
    them, and the passes.
    """
    columns = len(order)
    features = layers[0].weight.shape[1] - columns
    first = torch.cat(
        [torch.zeros(features, dtype=torch.long), order + 1]
    )  # the pass in which each input is known
    inputs = torch.cat([torch.arange(columns, columns + features), torch.arange(columns)])
    weights, masks, known_in = [], [], []
    for depth, layer in enumerate(layers):
        mask = layer.mask[:, inputs].bool()
        needed = torch.where(mask, first, 0).amax(1)
        units = (
            torch.argsort(needed, stable=True)
            if depth < len(layers) - 1
            else torch.arange(len(needed))
        )
        mask = torch.cat([torch.ones(len(units), 1, dtype=torch.bool), mask[units]], 1)
        weight = torch.cat([layer.bias[units, None], layer.weight[units][:, inputs]], 1)
        weights.append(nn.Parameter((weight * mask).detach().clone()))
        masks.append(mask.to(weight.dtype))
        first, inputs = needed[units], units
        known_in.append(first)
    passes = [
        Pass(
            torch.nonzero(order == p)[:, 0],
            tuple(int((first <= p).sum()) for first in known_in[:-1]),
        )
        for p in range(int(order.max()) + 1)
    ]
    return weights, masks, passes
