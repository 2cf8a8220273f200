"""The perceptron of C2ST as numbers: labelled draws, initial weights, constants of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

BATCH = 200
PATIENCE, TOLERANCE = 10, 1e-4  # epochs without a loss lower by so much, after which training ends
ALPHA = 1e-4  # of the squared weights in the loss


@dataclass(frozen=True)
class Labelled:
    """Rows x (n, D), float32, with labels y (n,), 0 or 1 as float32."""

    x: np.ndarray
    y: np.ndarray

    def where(self, mask: np.ndarray) -> Labelled:
        """The rows of a mask (n,)."""
        return Labelled(np.ascontiguousarray(self.x[mask]), np.ascontiguousarray(self.y[mask]))


@dataclass(frozen=True)
class Perceptron:
    """A trained network.

    Args:
        layers: (out, in + 1) each, the bias last.
        loss: Of the last epoch.
        epochs: How many there were.
    """

    layers: Sequence[np.ndarray]
    loss: float
    epochs: int

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Log-odds (n,) of label 1 at x (n, D)."""
        for layer in self.layers[:-1]:
            x = np.maximum(x @ layer[:, :-1].T + layer[:, -1], 0)
        return (x @ self.layers[-1][:, :-1].T + self.layers[-1][:, -1])[:, 0]

    def accuracy(self, test: Labelled) -> float:
        """Share of rows whose label it predicts."""
        return float(((self.logits(test.x) > 0) == test.y).mean())


def initial(inputs: int, random: np.random.RandomState) -> list[np.ndarray]:
    """The layers before training: weights, then biases, of each in turn."""
    sizes = [inputs, 10 * inputs, 10 * inputs, 1]
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        bound = np.sqrt(6 / (fan_in + fan_out))
        weight = random.uniform(-bound, bound, (fan_in, fan_out))
        bias = random.uniform(-bound, bound, fan_out)
        layers.append(np.ascontiguousarray(np.vstack([weight, bias]).T, dtype=np.float32))
    return layers
