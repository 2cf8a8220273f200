"""Flows in C as nodes of autograd: log q of one, and of several side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sbiwb.networks import compiled_flow
from sbiwb.networks.autograd import NodeContext


def log_normal(noise: Tensor) -> Tensor:
    """The standard normal's log-density (B,) at noise (D, B)."""
    return -0.5 * (noise.square().sum(0) + len(noise) * math.log(2 * math.pi))


def log_noise(noise: Tensor, log_scale: Tensor) -> Tensor:
    """The log-density (B,) at noise (D, B) of normals with standard deviation exp(log_scale), one
    for all columns () or one for each (D,).
    """
    log_scales = log_scale.expand(len(noise))
    return log_normal(noise * (-log_scales).exp()[:, None]) - log_scales.sum()


class _FusedContext(NodeContext):
    precision: Tensor
    kernels: compiled_flow.Kernels
    plans: Sequence[compiled_flow.FlowPlan]


class Fused(torch.autograd.Function):
    """log q of transforms with ReLU as one node, nearly all of it in C."""

    @staticmethod
    def forward(
        ctx: _FusedContext,
        z: Tensor,
        features: Tensor,
        log_scale: Tensor,
        kernels: compiled_flow.Kernels,
        plans: Sequence[compiled_flow.FlowPlan],
        *layers: Tensor,
    ) -> Tensor:
        flow = compiled_flow.CompiledFlow(kernels, plans, layers)
        keep = any(ctx.needs_input_grad)
        noise, log_det, kept = flow.forward(z.t(), features.t(), keep=keep)
        ctx.kernels, ctx.plans = kernels, plans
        ctx.precision = (-2 * log_scale).exp().expand(len(noise))[:, None]
        ctx.save_for_backward(noise, features, kept, *layers)
        return log_det + log_noise(noise, log_scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _FusedContext, grad: Tensor) -> tuple[Tensor | None, ...]:
        noise, features, kept, *layers = ctx.saved_tensors
        flow = compiled_flow.CompiledFlow(ctx.kernels, ctx.plans, layers)
        g_z = -grad * ctx.precision * noise
        if not ctx.needs_input_grad[1]:
            g_layers = flow.backward(kept, g_z, grad.contiguous(), None)
            return g_z.t(), None, None, None, None, *g_layers
        g_features = features.new_zeros(features.shape[::-1])
        g_layers = flow.backward(kept, g_z, grad.contiguous(), g_features)
        return g_z.t(), g_features.t(), None, None, None, *g_layers


@dataclass(frozen=True)
class _Gradients:
    """Gradients of a flow's log q, summed over the batch: z (B, D), features (B, H), each layer."""

    z: Tensor
    features: Tensor
    layers: Sequence[Tensor]


class _TogetherContext(NodeContext):
    flows: Sequence[compiled_flow.CompiledFlow]
    usual: Tensor
    gradients: Sequence[_Gradients] | None


class FusedTogether(torch.autograd.Function):
    """log q of M flows as one node, the members side by side in C.

    Each member's gradients are made right after its density, while its activations lie in the
    cache: all members' together would not fit, and each would take twice the time. They are those
    of the mean of -log q; another loss pays for them again.
    """

    @staticmethod
    def forward(
        ctx: _TogetherContext,
        z: Tensor,
        features: Tensor,
        flows: Sequence[compiled_flow.CompiledFlow],
        *layers: Tensor,
    ) -> Tensor:
        if not any(ctx.needs_input_grad):
            return _densities(flows, z, features)
        usual = z.new_full((z.shape[1],), -1 / z.shape[1])
        log_q, gradients = _with_gradients(flows, z, features, usual.expand(len(flows), -1))
        ctx.flows, ctx.usual, ctx.gradients = flows, usual, gradients
        ctx.save_for_backward(z, features, *layers)
        return log_q

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _TogetherContext, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        z, features, *layers = ctx.saved_tensors
        if gradients is None or not torch.equal(grad, ctx.usual.expand_as(grad)):
            flows = _with_layers(ctx.flows, layers)
            _, gradients = _with_gradients(flows, z, features, grad.contiguous())
        g_z = torch.stack([member.z for member in gradients])
        g_features = torch.stack([member.features for member in gradients])
        g_layers = [layer for member in gradients for layer in member.layers]
        return g_z, g_features, None, *g_layers


def _densities(flows: Sequence[compiled_flow.CompiledFlow], z: Tensor, features: Tensor) -> Tensor:
    """log q of each of M flows, (M, B)."""

    def density(m: int) -> Tensor:
        noise, log_det, _ = flows[m].forward(z[m].t(), features[m].t(), keep=False)
        return log_det + log_normal(noise)

    return torch.stack(compiled_flow.side_by_side(density, len(flows)))


def _with_gradients(
    flows: Sequence[compiled_flow.CompiledFlow], z: Tensor, features: Tensor, grad: Tensor
) -> tuple[Tensor, list[_Gradients]]:
    """log q of each of M flows, (M, B), and gradients of its sum weighed by `grad` (M, B)."""

    def density(m: int) -> tuple[Tensor, _Gradients]:
        flow, own = flows[m], grad[m]
        noise, log_det, kept = flow.forward(z[m].t(), features[m].t(), keep=True)
        g_z, g_features = -own * noise, features.new_zeros(features[m].shape[::-1])
        g_layers = flow.backward(kept, g_z, own, g_features)
        return log_det + log_normal(noise), _Gradients(g_z.t(), g_features.t(), g_layers)

    log_q, gradients = zip(*compiled_flow.side_by_side(density, len(flows)), strict=True)
    return torch.stack(log_q), list(gradients)


def _with_layers(
    flows: Sequence[compiled_flow.CompiledFlow], layers: Sequence[Tensor]
) -> list[compiled_flow.CompiledFlow]:
    """The same flows with these layers, as many for each, end to end."""
    each = len(layers) // len(flows)
    changed = []
    for m, flow in enumerate(flows):
        own = layers[m * each : (m + 1) * each]
        changed.append(compiled_flow.CompiledFlow(flow.kernels, flow.plans, own))
    return changed
