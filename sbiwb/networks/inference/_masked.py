"""One masked autoregressive (or coupling) transform: a network whose masks say which columns may know which, and a spline a column.

The masks and the initial weights are zuko's; the evaluation is our own, feature-first and with few operations:

- a layer is one matrix (out, 1 + in), its bias the first column, so that a layer is one matrix product each way;
- with ReLU the whole transform is one node of autograd, whose gradient is written out below;
- hidden units are sorted by the pass that first needs them, so that the inverse computes each unit once, in the pass of its degree:
  D passes cost about one evaluation. What depends on the features alone is computed once for all draws of an observation.

References:
    Germain et al. (2015), MADE: Masked Autoencoder for Distribution Estimation, https://arxiv.org/abs/1502.03509
    Papamakarios et al. (2017), Masked Autoregressive Flow, https://arxiv.org/abs/1705.07057
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from zuko.nn import MaskedLinear

from sbiwb.networks.inference import _native, _spline


@dataclass(frozen=True)
class Pass:
    """One pass of the inverse: the columns it computes, and how many units of each hidden layer are known by then."""

    columns: Tensor
    units: tuple[int, ...]


class MaskedTransform(nn.Module):
    """y (D, B) of x (D, B), given what is known, (1 + H, B): a row of ones, then the features.

    Args:
        layers: zuko's masked layers for [x, features]; the last has R rows for each of D columns.
        order: The pass in which each column is computed, (D,).
        activation: Function after each hidden layer.
    """

    def __init__(self, layers: Sequence[MaskedLinear], order: Tensor, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.columns, self.rows, self.activation = len(order), len(layers[-1].weight) // len(order), activation
        weights, masks, self.passes = _sorted(layers, order)
        self.layers = nn.ParameterList(weights)
        for depth, mask in enumerate(masks):
            self.register_buffer(f"mask_{depth}", mask, persistent=False)

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """y (D, B) and the log-determinant (B,)."""
        if self.activation is torch.relu and _native.kernels(x, self.rows):
            return _Fused.apply(x, known, self._masks(), *self.layers)
        return _spline.forward(x, self._phi(x, known))

    def inverse(self, y: Tensor, known: Tensor) -> Tensor:
        """x (D, N, S) of y (D, N, S), with S draws for each of N observations of which `known` (1 + H, N) holds."""
        if torch.is_grad_enabled():
            return self._inverse_with_gradients(y, known)
        weights, shape = self._weights(), y.shape
        few = self._blank(weights, known)
        self._fill(weights, few, (0,) * (len(weights) - 1), self.passes[0].units)
        many = [_spread(buffer, shape[2]) for buffer in few]
        for p, one in enumerate(self.passes):
            if p:
                self._fill(weights, many, self.passes[p - 1].units, one.units)
            last = weights[-1].view(self.columns, self.rows, -1)[one.columns, :, : 1 + one.units[-1]].flatten(0, 1)
            hidden = (many if p else few)[-1][: 1 + one.units[-1]]
            phi = (last @ hidden).view(len(one.columns), self.rows, -1)
            phi = phi if p else _spread(phi.flatten(0, 1), shape[2]).view(len(one.columns), self.rows, -1)
            many[0][len(known) + one.columns] = _spline.inverse(y[one.columns].flatten(1), phi)
        return many[0][len(known) :].view(shape)

    def _masks(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, f"mask_{depth}") for depth in range(len(self.layers)))

    def _weights(self) -> list[Tensor]:
        return [weight * mask for weight, mask in zip(self.layers, self._masks(), strict=True)]

    def _phi(self, x: Tensor, known: Tensor) -> Tensor:
        """phi (D, R, B), by operations that autograd and compilers know; never less precise than float32."""
        *body, last = self._weights()
        hidden = torch.cat([known, x])
        for weight in body:
            hidden = torch.cat([known[:1], self.activation(weight @ hidden).to(known.dtype)])
        return (last @ hidden).to(x.dtype).unflatten(0, (self.columns, self.rows))

    def _inverse_with_gradients(self, y: Tensor, known: Tensor) -> Tensor:
        """The whole network once a pass, nothing in place."""
        flat, known = y.flatten(1), known.repeat_interleave(y.shape[2], dim=1)
        x = torch.zeros_like(flat)
        for one in self.passes:
            phi = self._phi(x, known)[one.columns]
            x = x.index_copy(0, one.columns, _spline.inverse(flat[one.columns], phi))
        return x.view(y.shape)

    def _blank(self, weights: Sequence[Tensor], known: Tensor) -> list[Tensor]:
        """Inputs and hidden layers of N observations, all rows of ones in place and all columns of x zero."""
        inputs = torch.cat([known, known.new_zeros(self.columns, known.shape[1])])
        return [inputs, *(known.new_ones(1 + len(weight), known.shape[1]) for weight in weights[:-1])]

    def _fill(self, weights: Sequence[Tensor], buffers: Sequence[Tensor], done: Sequence[int], units: Sequence[int]) -> None:
        """Computes the units of each hidden layer from the first that is not done to the last that can be known."""
        width = len(buffers[0])
        for depth, (weight, start, end) in enumerate(zip(weights[:-1], done, units, strict=True)):
            if start < end:
                buffers[depth + 1][1 + start : 1 + end] = self.activation(weight[start:end, :width] @ buffers[depth][:width])
            width = 1 + end


def _spread(few: Tensor, draws: int) -> Tensor:
    """Rows of N observations (rows, N) to rows of all their draws (rows, N S)."""
    return few[:, :, None].expand(-1, -1, draws).flatten(1).contiguous()


class _Fused(torch.autograd.Function):
    """The network with ReLU and its splines as one node: a third of the operations that autograd would record."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, known: Tensor, masks: Sequence[Tensor], *layers: Tensor) -> tuple[Tensor, Tensor]:
        weights = [layer * mask for layer, mask in zip(layers, masks, strict=True)]
        hidden = [torch.cat([known, x])]
        for weight in weights[:-1]:
            units = x.new_empty(1 + len(weight), x.shape[1])
            units[0] = 1
            torch.mm(weight, hidden[-1], out=units[1:]).relu_()
            hidden.append(units)
        phi = torch.mm(weights[-1], hidden[-1]).view(len(x), -1, x.shape[1])
        ctx.kernels, ctx.masks = _native.kernels(x, phi.shape[1]), masks
        ctx.save_for_backward(x, phi, *weights, *hidden)
        return ctx.kernels.forward(x, phi)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, phi, *rest = ctx.saved_tensors
        weights, hidden = rest[: len(ctx.masks)], rest[len(ctx.masks) :]
        g_x, g = ctx.kernels.backward(x, phi, *(grad.contiguous() for grad in grads))
        g, g_layers = g.flatten(0, 1), []
        for depth in reversed(range(len(weights))):
            g_layers.append(torch.mm(g, hidden[depth].t()).mul_(ctx.masks[depth]))
            if depth:
                g = torch.ops.aten.threshold_backward(torch.mm(weights[depth][:, 1:].t(), g), hidden[depth][1:], 0)
        g_known = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            g_known, more = torch.mm(weights[0].t(), g).split([len(weights[0][0]) - len(x), len(x)])
            g_x += more
        return g_x, g_known, None, *reversed(g_layers)


def _sorted(layers: Sequence[MaskedLinear], order: Tensor) -> tuple[list[nn.Parameter], list[Tensor], list[Pass]]:
    """Weights (out, 1 + in) and masks with hidden units sorted by the pass that first can compute them, and the passes."""
    columns = len(order)
    features = layers[0].weight.shape[1] - columns
    first = torch.cat([torch.zeros(features, dtype=torch.long), order + 1])  # the pass in which each input is known
    inputs = torch.cat([torch.arange(columns, columns + features), torch.arange(columns)])
    weights, masks, known_in = [], [], []
    for depth, layer in enumerate(layers):
        mask = layer.mask[:, inputs].bool()
        needed = torch.where(mask, first, 0).amax(1)
        units = torch.argsort(needed, stable=True) if depth < len(layers) - 1 else torch.arange(len(needed))
        mask = torch.cat([torch.ones(len(units), 1, dtype=torch.bool), mask[units]], 1)
        weight = torch.cat([layer.bias[units, None], layer.weight[units][:, inputs]], 1)
        weights.append(nn.Parameter((weight * mask).detach().clone()))
        masks.append(mask.to(weight.dtype))
        first, inputs = needed[units], units
        known_in.append(first)
    passes = [
        Pass(torch.nonzero(order == p)[:, 0], tuple(int((first <= p).sum()) for first in known_in[:-1]))
        for p in range(int(order.max()) + 1)
    ]
    return weights, masks, passes
