"""The perceptrons of C2ST as batched torch operations, for machines without a C compiler: all
networks of one shape in step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sbiwb.distances._classifier import (
    ALPHA,
    BATCH,
    PATIENCE,
    TOLERANCE,
    Labelled,
    Perceptron,
    initial,
)


def train_together(sets: Sequence[Labelled], seed: int, most_epochs: int) -> list[Perceptron]:
    """A network for each of K sets of the same n rows; all have the same initial weights and
    orders, and leave when they stop.
    """
    random = np.random.RandomState(seed)
    x, y = (
        torch.from_numpy(np.stack(each))
        for each in ([one.x for one in sets], [one.y for one in sets])
    )  # (K, n, D), (K, n)
    state = _Networks(
        [
            torch.from_numpy(layer).expand(len(sets), -1, -1).clone()
            for layer in initial(x.shape[2], random)
        ]
    )
    alive, order = torch.arange(len(sets)), np.arange(x.shape[1])
    best, idle = torch.full((len(sets),), torch.inf, dtype=torch.float64), torch.zeros(len(sets))
    found: dict[int, Perceptron] = {}
    for epoch in range(1, most_epochs + 1):
        fresh = np.arange(len(order))
        random.shuffle(fresh)
        order = order[fresh]
        loss = state.epoch(x, y, torch.from_numpy(order))
        idle = torch.where(loss > best - TOLERANCE, idle + 1, 0)
        best = torch.minimum(loss, best)
        ended = (idle > PATIENCE) | torch.tensor(epoch == most_epochs)
        for k in ended.nonzero()[:, 0].tolist():
            found[int(alive[k])] = Perceptron(
                [layer[k].numpy().copy() for layer in state.layers], float(loss[k]), epoch
            )
        if ended.any():
            x, y, alive, best, idle = (each[~ended] for each in (x, y, alive, best, idle))
            state.keep(~ended)
        if not len(alive):
            break
    return [found[k] for k in range(len(sets))]


class _Networks:
    """K networks and the state of their Adam; layers (K, out, in + 1), the bias last."""

    def __init__(self, layers: list[Tensor]) -> None:
        self.layers = layers
        self.means, self.squares = ([torch.zeros_like(layer) for layer in layers] for _ in range(2))
        self.steps = 0

    def keep(self, mask: Tensor) -> None:
        """Goes on with the networks of a mask (K,)."""
        self.layers, self.means, self.squares = (
            [each[mask] for each in kind] for kind in (self.layers, self.means, self.squares)
        )

    def epoch(self, x: Tensor, y: Tensor, order: Tensor) -> Tensor:
        """Trains on x (K, n, D) and y (K, n) in this order; the loss over the epoch (K,), float64."""
        loss = torch.zeros(len(x), dtype=torch.float64)
        for places in order.split(BATCH):
            loss += len(places) * self._step(x[:, places], y[:, places])
        return loss / len(order)

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        """One step of Adam on a batch of B; the loss before it (K,)."""
        first = _with_ones(x)
        second = _with_ones((first @ self.layers[0].mT).relu_())
        third = _with_ones((second @ self.layers[1].mT).relu_())
        logits = (third @ self.layers[2].mT)[:, :, 0]
        most = -float(np.log(np.finfo(np.float32).eps))
        loss = (torch.nn.functional.softplus(logits) - logits * y).clamp(max=most).mean(1).double()
        for layer in self.layers:
            loss += 0.5 * ALPHA * layer[:, :, :-1].square().sum((1, 2)) / y.shape[1]
        delta = (logits.sigmoid() - y)[:, :, None]
        below = (delta @ self.layers[2][:, :, :-1]) * (third[:, :, :-1] > 0)
        lowest = (below @ self.layers[1][:, :, :-1]) * (second[:, :, :-1] > 0)
        self.steps += 1
        for k, (change, inputs) in enumerate(((lowest, first), (below, second), (delta, third))):
            self._move(k, change.mT @ inputs, y.shape[1])
        return loss

    def _move(self, k: int, slope: Tensor, batch: int) -> None:
        layer, mean, square = self.layers[k], self.means[k], self.squares[k]
        slope[:, :, :-1].add_(layer[:, :, :-1], alpha=ALPHA)
        slope.div_(batch)
        mean.mul_(0.9).add_(slope, alpha=0.1)
        square.mul_(0.999).addcmul_(slope, slope, value=0.001)
        rate = 1e-3 * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        layer.addcdiv_(mean, square.sqrt().add_(1e-8), value=-float(rate))


def _with_ones(x: Tensor) -> Tensor:
    """x (K, B, H) with a last column of ones, for the bias."""
    return torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2)
