"""One masked autoregressive (or coupling) transform: a masked network, and a spline a column.

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

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from zuko.nn import MaskedLinear

from sbiwb.networks import compiled_flow
from sbiwb.networks.inference import _spline
from sbiwb.networks.inference._fused import Fused, FusedTogether, log_noise
from sbiwb.networks.inference._masks import flow_plan, sort_units


def log_prob(
    transforms: Sequence[MaskedTransform], z: Tensor, features: Tensor, log_scale: Tensor
) -> Tensor:
    """log q(z | features) (B,) of z (B, D) and features (B, H).

    Args:
        transforms: From z to noise.
        z: Where.
        features: Given what.
        log_scale: Logarithm of the noise's standard deviation, () or of each column (D,).
    """
    native = _native_flow(transforms, z, features)
    if native:
        return Fused.apply(z, features, log_scale, native.kernels, native.plans, *native.layers)
    x, log_det = noise(transforms, z, features)
    return log_det + log_noise(x, log_scale)


def noise(
    transforms: Sequence[MaskedTransform], z: Tensor, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Noise (D, B) and the log-determinant (B,) of z (B, D) given features (B, H)."""
    native = None if torch.is_grad_enabled() else _native_flow(transforms, z, features)
    if native:
        return native.forward(z.t(), features.t(), keep=False)[:2]
    x, given, total = z.t().contiguous(), _with_ones(features), z.new_zeros(len(z))
    for transform in transforms:
        x, log_det = transform(x, given)
        total = total + log_det
    return x, total


def side_by_side(
    flows: Sequence[Sequence[MaskedTransform]],
    z: Tensor,
    features: Tensor,
    log_scales: Sequence[Tensor],
) -> Tensor:
    """log q_m(z_m | features_m) of M flows, (M, B); in C on as many cores as there are.

    Args:
        flows: M of them.
        z: (M, B, D), to each its own.
        features: (M, B, H).
        log_scales: Of each, the logarithm of its noise's standard deviation, () or (D,).
    """
    rows = list(zip(flows, z, features, log_scales, strict=True))
    native = [_native_flow(flow, own_z, own) for flow, own_z, own, _ in rows]
    ready = [flow for flow in native if flow is not None]
    if len(ready) < len(flows) or any(scale.any() for scale in log_scales):
        return torch.stack([log_prob(*row) for row in rows])
    layers = [layer for flow in ready for layer in flow.layers]
    return FusedTogether.apply(z, features, ready, *layers)


def transport(transforms: Sequence[MaskedTransform], noise: Tensor, features: Tensor) -> Tensor:
    """z (N, S, D) of noise (N, S, D), given features (N, H)."""
    y = noise.flatten(0, 1).t()
    native = None if torch.is_grad_enabled() else _native_flow(transforms, noise, features)
    if native:
        return native.inverse(y, features.t()).t().unflatten(0, noise.shape[:2])
    given = _with_ones(features.repeat_interleave(noise.shape[1], dim=0))
    for transform in reversed(transforms):
        y = transform.inverse(y, given)
    return y.t().unflatten(0, noise.shape[:2])


def _with_ones(features: Tensor) -> Tensor:
    """Features (B, H) as rows, after one of ones that meets the biases, (1 + H, B)."""
    return torch.cat([features.new_ones(1, len(features)), features.t()])


def _native_flow(
    transforms: Sequence[MaskedTransform], z: Tensor, features: Tensor
) -> compiled_flow.CompiledFlow | None:
    """The flow in C, or None where it cannot be evaluated there.

    C checks nothing, so whatever is unusual is left to torch.
    """
    first = transforms[0]
    plans = [transform.plan for transform in transforms if transform.plan]
    if len(plans) < len(transforms):
        return None
    kernels = compiled_flow.flows(z, first.rows)
    if kernels is None or not first.fits(z, features) or not _is_plain(features):
        return None
    layers = _layers_of(transforms)
    if not all(_is_plain(layer) and layer.is_contiguous() for layer in layers):
        return None
    return compiled_flow.CompiledFlow(kernels, plans, layers)


def _layers_of(transforms: Sequence[MaskedTransform]) -> list[Tensor]:
    """The layers of all; a ParameterList's own iterator takes a tenth of a small evaluation."""
    layers: list[Tensor] = []
    for transform in transforms:
        for layer in transform.layers._parameters.values():
            assert layer is not None
            layers.append(layer)
    return layers


def _is_plain(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.is_cpu


class MaskedTransform(nn.Module):
    """y (D, B) of x (D, B), with what is given, (1 + H, B): a row of ones, then the features.

    Args:
        layers: zuko's masked layers for [x, features]; the last has R rows for each of D columns.
        order: The pass in which each column is computed, (D,).
        activation: Function after each hidden layer.
    """

    def __init__(
        self, layers: Sequence[MaskedLinear], order: Tensor, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.columns, self.activation = len(order), activation
        self.rows = len(layers[-1].weight) // self.columns
        self.features = layers[0].weight.shape[1] - self.columns
        weights, masks, self.passes = sort_units(layers, order)
        self.plan = flow_plan(masks, order, self.passes) if activation is torch.relu else None
        self.layers = nn.ParameterList(weights)
        for depth, mask in enumerate(masks):
            self.register_buffer(f"mask_{depth}", mask, persistent=False)

    def fits(self, z: Tensor, features: Tensor) -> bool:
        """Whether z (N, ..., D) and features (N, H) are of its sizes."""
        sizes = (z.shape[0], z.shape[-1], self.features)
        return sizes == (features.shape[0], self.columns, features.shape[-1])

    def forward(self, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """y (D, B) and the log-determinant (B,), by operations of torch."""
        return _spline.forward(x, self._phi(x, given))

    def inverse(self, y: Tensor, given: Tensor) -> Tensor:
        """x (D, B) of y (D, B), by operations of torch: the whole network once a pass."""
        x = torch.zeros_like(y)
        for each in self.passes:
            phi = self._phi(x, given)[each.columns]
            x = x.index_copy(0, each.columns.to(y.device), _spline.inverse(y[each.columns], phi))
        return x

    def _masks(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, f"mask_{depth}") for depth in range(len(self.layers)))

    def _weights(self) -> list[Tensor]:
        return [weight * mask for weight, mask in zip(self.layers, self._masks(), strict=True)]

    def _phi(self, x: Tensor, given: Tensor) -> Tensor:
        """phi (D, R, B), by operations that autograd and compilers know; never less precise than
        float32.
        """
        *body, last = self._weights()
        hidden = torch.cat([given, x])
        for weight in body:
            hidden = torch.cat([given[:1], self.activation(weight @ hidden).to(given.dtype)])
        return (last @ hidden).to(x.dtype).unflatten(0, (self.columns, self.rows))
