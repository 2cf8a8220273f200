"""The perceptrons of C2ST as batched torch operations, for machines without a C compiler.

Shapes: K networks, n rows, D columns, B batch.
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

DECAY_MEAN, DECAY_SQUARE = 0.9, 0.999  # of Adam
RATE, EPSILON = 1e-3, 1e-8
MAX_LOSS = -float(np.log(np.finfo(np.float32).eps))  # of a row, where its probability rounds to 0


def train_together(sets: Sequence[Labelled], seed: int, max_epochs: int) -> list[Perceptron]:
    """A network for each of K sets of the same n rows, trained in step; each ends on its own.

    Args:
        sets: K of them.
        seed: Of the weights and the orders, which all networks have in common.
        max_epochs: After which training ends in any case.
    """
    random = np.random.RandomState(seed)
    training = _Training(sets, initial(sets[0].x.shape[1], random))
    order = np.arange(len(sets[0].x))
    while not training.is_over(max_epochs):
        places = np.arange(len(order))
        random.shuffle(places)
        order = order[places]
        training.epoch(torch.from_numpy(order))
    return training.result()


class _Training:
    """Networks on their data, and since when the loss of each has not gone down."""

    def __init__(self, sets: Sequence[Labelled], layers: Sequence[np.ndarray]) -> None:
        self.x = torch.from_numpy(np.stack([data.x for data in sets]))  # (K, n, D)
        self.y = torch.from_numpy(np.stack([data.y for data in sets]))
        tensors = [torch.from_numpy(layer) for layer in layers]
        self.networks = _Networks([layer.expand(len(sets), -1, -1).clone() for layer in tensors])
        self.numbers = torch.arange(len(sets))  # of the sets whose networks are still trained
        self.loss = self.best = torch.full((len(sets),), torch.inf, dtype=torch.float64)
        self.idle = torch.zeros(len(sets))
        self.epochs = 0
        self.trained: dict[int, Perceptron] = {}

    def is_over(self, max_epochs: int) -> bool:
        """Whether all networks have ended; after so many epochs all end."""
        if self.epochs >= max_epochs:
            self._end(torch.ones(len(self.numbers), dtype=torch.bool))
        return len(self.numbers) == 0

    def epoch(self, order: Tensor) -> None:
        """An epoch of every network in this order (n,); those that no longer improve end."""
        self.loss = self.networks.epoch(self.x, self.y, order)
        self.idle = torch.where(self.loss > self.best - TOLERANCE, self.idle + 1, 0)
        self.best = torch.minimum(self.loss, self.best)
        self.epochs += 1
        self._end(self.idle > PATIENCE)

    def result(self) -> list[Perceptron]:
        """The networks in the order of their sets."""
        return [self.trained[number] for number in range(len(self.trained))]

    def _end(self, ended: Tensor) -> None:
        """Ends the networks of a mask (K,)."""
        if not ended.any():
            return
        for k in ended.nonzero()[:, 0].tolist():
            network = Perceptron(self.networks.layers_of(k), float(self.loss[k]), self.epochs)
            self.trained[int(self.numbers[k])] = network
        going = ~ended
        self.networks.keep(going)
        self.x, self.y, self.numbers = self.x[going], self.y[going], self.numbers[going]
        self.loss, self.best, self.idle = self.loss[going], self.best[going], self.idle[going]


class _Networks:
    """K networks and the state of their Adam; layers (K, out, in + 1), the bias last."""

    def __init__(self, layers: list[Tensor]) -> None:
        self.layers = layers
        self.means = [torch.zeros_like(layer) for layer in layers]
        self.squares = [torch.zeros_like(layer) for layer in layers]
        self.steps = 0

    def layers_of(self, k: int) -> list[np.ndarray]:
        """The layers of one network, copied."""
        return [layer[k].numpy().copy() for layer in self.layers]

    def keep(self, mask: Tensor) -> None:
        """Goes on with the networks of a mask (K,)."""
        for tensors in (self.layers, self.means, self.squares):
            for depth, tensor in enumerate(tensors):
                tensors[depth] = tensor[mask]

    def epoch(self, x: Tensor, y: Tensor, order: Tensor) -> Tensor:
        """Trains on x (K, n, D) and y (K, n) in this order; the epoch's loss (K,), float64."""
        loss = torch.zeros(len(x), dtype=torch.float64)
        for places in order.split(BATCH):
            loss += len(places) * self._step(x[:, places], y[:, places])
        return loss / len(order)

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        """One step of Adam on a batch of B; the loss before it (K,)."""
        inputs = self._inputs(x)
        logits = (inputs[-1] @ self.layers[-1].mT)[:, :, 0]
        loss = self._loss(logits, y)
        slopes = self._slopes(inputs, (logits.sigmoid() - y)[:, :, None])
        self.steps += 1
        for depth, slope in enumerate(slopes):
            self._move(depth, slope, y.shape[1])
        return loss

    def _inputs(self, x: Tensor) -> list[Tensor]:
        """What each layer sees, with ones for the bias, (K, B, in + 1) each."""
        inputs = [_with_ones(x)]
        for layer in self.layers[:-1]:
            inputs.append(_with_ones((inputs[-1] @ layer.mT).relu_()))
        return inputs

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The log loss of a batch with the penalty of the weights, (K,), float64."""
        row = (torch.nn.functional.softplus(logits) - logits * y).clamp(max=MAX_LOSS)
        loss = row.mean(1).double()
        for layer in self.layers:
            loss += 0.5 * ALPHA * layer[:, :, :-1].square().sum((1, 2)) / y.shape[1]
        return loss

    def _slopes(self, inputs: Sequence[Tensor], delta: Tensor) -> list[Tensor]:
        """The gradient of each layer, summed over rows, from that of the logits (K, B, 1)."""
        slopes = [delta.mT @ inputs[-1]]
        for depth in range(len(self.layers) - 1, 0, -1):
            hidden = inputs[depth][:, :, :-1]
            delta = (delta @ self.layers[depth][:, :, :-1]) * (hidden > 0)
            slopes.insert(0, delta.mT @ inputs[depth - 1])
        return slopes

    def _move(self, depth: int, slope: Tensor, batch: int) -> None:
        """Moves a layer as Adam does."""
        layer, mean, square = self.layers[depth], self.means[depth], self.squares[depth]
        slope[:, :, :-1].add_(layer[:, :, :-1], alpha=ALPHA)
        slope.div_(batch)
        mean.mul_(DECAY_MEAN).add_(slope, alpha=0.1)
        square.mul_(DECAY_SQUARE).addcmul_(slope, slope, value=0.001)
        layer.addcdiv_(mean, square.sqrt().add_(EPSILON), value=-self._rate())

    def _rate(self) -> float:
        """Adam's rate, with what makes up for its averages of few steps."""
        rate = RATE * np.sqrt(1 - DECAY_SQUARE**self.steps) / (1 - DECAY_MEAN**self.steps)
        return float(rate)


def _with_ones(x: Tensor) -> Tensor:
    """x (K, B, H) with a last column of ones, for the bias."""
    return torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2)
